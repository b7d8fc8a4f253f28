"""A command that is refused leaves no file that was not there before."""

import os
import sys

import pytest
from click.testing import CliRunner

from callsheet.cli import main

pytestmark = pytest.mark.sockets

ROW = '{"id": "a", "prompt": "Hi", "model": "gpt-5.4-nano"}\n'
NOWHERE = ("--base-url", "http://127.0.0.1:1/v1")
NOT_HERE = "192.0.2.1:1"  # an address for documentation (RFC 5737)
SETTINGS = """
[ledger]
path = "ledger.db"
[cache]
path = "cache.db"
[batches]
journal = "journal.db"
[endpoints.main]
provider = "openai"
[models]
"m" = "main"
[gateway]
listen = ["{listen}"]
"""
RUNS = {
    "no Batch API": ("--route", "batch"),
    "no money": ("--route", "batch", "--provider", "openai", "--max-cost", 0),
    "a shared run": (
        "--route",
        "batch",
        "--provider",
        "openai",
        "--shared",
        "valkey://127.0.0.1:1",
    ),
    "no server": ("--shared", "valkey://127.0.0.1:1"),
    "no folder for the socket": ("--route", "batch", "--provider", "openai", "--inspect", "no/s"),
    "no address for metrics": ("--metrics", NOT_HERE),
    "a damaged ledger": ("--ledger", "foreign.db"),
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Work in a folder of its own, with an input and a file of another program."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    (tmp_path / "in.jsonl").write_text(ROW)
    (tmp_path / "foreign.db").write_bytes(b"another program wrote this" * 100)
    return tmp_path


def files(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(folder, *arguments):
    before = files(folder)
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert isinstance(result.exception, SystemExit), result.exc_info
    assert result.exit_code == 2, result.output
    assert files(folder) == before
    return result.stderr


def reason_in(stderr):
    """Return the last line: the run names its provider before."""
    return stderr.splitlines()[-1]


@pytest.mark.parametrize("why", RUNS)
@pytest.mark.parametrize("output", ["out.jsonl", "out.csv"])
def test_a_run_and_its_dry_run(folder, why, output):
    files_to_write = ("--events", "events.jsonl", "--report", "report.html")
    if "--ledger" not in RUNS[why]:
        files_to_write += ("--ledger", "ledger.db")
    command = ("run", "in.jsonl", output, *NOWHERE, *files_to_write, *RUNS[why])
    reason = reason_in(refused(folder, *command))
    assert reason.startswith("Error: ")
    assert reason_in(refused(folder, *command, "--dry-run")) == reason


def test_a_dry_run_in_a_folder_that_may_not_be_written(folder, monkeypatch):
    """The words are those of the run. Root has every permission, so the check is replaced."""
    monkeypatch.setattr(os, "access", lambda *_: False)
    reason = reason_in(refused(folder, "run", "in.jsonl", "out.jsonl", *NOWHERE, "--dry-run"))
    assert reason == (
        "Error: out.jsonl cannot be written: the run store out.jsonl.callsheet cannot be used: "
        "Permission denied; give yourself the permission to write there, or give a path in "
        "another folder"
    )


def without_pyarrow(monkeypatch, folder):
    for name in ("pyarrow", "pyarrow.parquet"):  # each may have been imported
        monkeypatch.setitem(sys.modules, name, None)
    return "out.parquet", ()


def with_a_foreign_output(monkeypatch, folder):
    (folder / "out.jsonl").write_text("mine\n")
    return "out.jsonl", ()


def with_foreign_errors(monkeypatch, folder):
    (folder / "out.jsonl.errors.jsonl").write_text("mine\n")
    return "out.jsonl", ()


def with_a_damaged_store(monkeypatch, folder):
    (folder / "out.jsonl.callsheet").write_text("mine\n")
    return "out.jsonl", ()


def with_a_damaged_journal(monkeypatch, folder):
    (folder / "out.jsonl.batches").write_text("mine\n")
    return "out.jsonl", ("--provider", "openai", "--route", "batch")


def without_a_server(monkeypatch, folder):
    monkeypatch.setenv("PATH", str(folder))
    return "out.jsonl", ("--workers", 2)


def without_the_client_of_the_server(monkeypatch, folder):
    monkeypatch.setitem(sys.modules, "coredis.connection", None)
    return "out.jsonl", ("--shared", "valkey://127.0.0.1:1")


@pytest.mark.parametrize(
    "prepare",
    [
        without_pyarrow,
        with_a_foreign_output,
        with_foreign_errors,
        with_a_damaged_store,
        with_a_damaged_journal,
        without_a_server,
        without_the_client_of_the_server,
    ],
)
def test_what_is_missing_or_in_the_way(folder, monkeypatch, prepare):
    output, options = prepare(monkeypatch, folder)
    command = ("run", "in.jsonl", output, *NOWHERE, *options)
    reason = reason_in(refused(folder, *command))
    assert reason.startswith("Error: ")
    assert reason_in(refused(folder, *command, "--dry-run")) == reason


def test_a_run_with_another_provider_than_its_output(folder):
    arguments = ["run", "in.jsonl", "out.jsonl", "--max-cost", "0.0000001"]
    CliRunner().invoke(main, [*arguments, *NOWHERE])
    other = (*arguments, "--base-url", "http://127.0.0.1:2/v1")
    reason = reason_in(CliRunner().invoke(main, list(other)).stderr)
    assert "give another OUTPUT" in reason
    assert reason_in(refused(folder, *other, "--dry-run")) == reason


def test_a_run_that_has_an_earlier_store_and_no_journal(folder):
    """The journal is not made, also where OUTPUT is of an earlier run."""
    arguments = ("run", "in.jsonl", "out.jsonl", *NOWHERE)
    CliRunner().invoke(main, list(map(str, (*arguments, "--max-cost", "0.0000001"))))
    names = set(files(folder))
    assert {"out.jsonl", "out.jsonl.callsheet"} <= names
    CliRunner().invoke(main, [*arguments, "--route", "batch"])
    assert set(files(folder)) == names


def test_a_gateway(folder):
    (folder / "callsheet.toml").write_text(SETTINGS.replace("{listen}", f"unix:{folder}/no/socket"))
    assert "cannot listen at" in refused(folder, "serve", "callsheet.toml")


def test_keys(folder):
    refused(folder, "keys", "list", "--store", "keys.db")
    refused(folder, "keys", "revoke", "a", "--store", "keys.db")
    refused(folder, "keys", "create", "cs-a", "--store", "new/keys.db")
    refused(folder, "keys", "create", "a", "--budget", "x", "--store", "new/keys.db")
