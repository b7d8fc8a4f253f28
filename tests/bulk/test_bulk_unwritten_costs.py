"""A ledger on a full disk: the run says at its end what is missing, and the next one adds it."""

import pytest
from bulk_rows import write_input
from click.testing import CliRunner

from callsheet.actors import StorageFull, read_sums
from callsheet.actors.ledger import unwritten
from callsheet.actors.ledger.file import LedgerFile
from callsheet.bulk.settings import Paths
from callsheet.cli import main

pytestmark = pytest.mark.sockets

NOW = 2_000_000_000.0


@pytest.fixture
def full(monkeypatch):
    """A disk that has no room for the ledger after its first transactions."""

    def fail(file, _):
        file.roll_back()
        raise StorageFull("the ledger", "database or disk is full")

    monkeypatch.setattr(LedgerFile, "commit", fail)
    return monkeypatch


def run(*arguments):
    result = CliRunner().invoke(main, [*map(str, arguments)])
    assert "Traceback" not in result.output
    return result


def calls_in(ledger):
    found = read_sums(ledger, "model", now=NOW)
    return sum(amount.calls for _, account, amount in found if account == "spent")


@pytest.mark.parametrize("has_space", [True, False], ids=["beside the ledger", "in the store"])
@pytest.mark.parametrize("keep", ["--keep", "--no-keep"])
def test_a_run_keeps_and_reports_what_its_ledger_lacks(
    quick_provider, source, full, *, has_space, keep
):
    output, ledger = source.with_name("out.jsonl"), source.with_name("ledger.sqlite3")
    write_input(source, 20)
    command = ("run", source, output, "--base-url", quick_provider, "--ledger", ledger, keep)
    if not has_space:
        full.setattr(unwritten, "_RESERVED_BYTES", 0)
    result = run(*command)
    assert result.exit_code == 0, result.output
    kept_in = f"{ledger}.unwritten-1" if has_space else Paths(output).store
    assert f"entries of the ledger {ledger} could not be written (database or disk is full)" in (
        result.stderr
    )
    assert f"They are kept in {kept_in} and written by the next run." in result.stderr
    full.undo()
    if has_space:
        assert run("costs", "--ledger", ledger).exit_code == 0
    else:
        assert calls_in(ledger) == 0
        assert run(*command).exit_code == 0
    assert calls_in(ledger) == 20
    assert not [file.name for file in source.parent.iterdir() if "unwritten" in file.name]


def test_compose_reports_it_as_well(quick_provider, tmp_path, full):
    ledger = tmp_path / "ledger.sqlite3"
    result = run("compose", "Tea", "--base-url", quick_provider, "--model", "gpt-5.4-nano",
                 "--ledger", ledger)  # fmt: skip
    assert result.exit_code == 0, result.output
    assert f"They are kept in {ledger}.unwritten-1 and written by the next run." in result.stderr
    full.undo()
    assert calls_in(ledger) == 11


def test_costs_that_are_kept_nowhere_make_the_status_1(quick_provider, tmp_path, full):
    full.setattr(unwritten, "_RESERVED_BYTES", 0)
    ledger = tmp_path / "ledger.sqlite3"
    result = run("compose", "Tea", "--base-url", quick_provider, "--model", "gpt-5.4-nano",
                 "--ledger", ledger)  # fmt: skip
    assert result.exit_code == 1, result.output
    assert "and there was no room to keep them: their costs are lost." in result.stderr
