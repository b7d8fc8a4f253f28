"""A file that a command cannot read or write is named, with what is wrong and the remedy."""

import os

import pytest
from click.testing import CliRunner

from callsheet.cli import main
from callsheet.gateway.keys import KeyFile

ROW = '{"id": "a", "prompt": "Hi", "model": "gpt-5.4-nano"}\n'
RUN = ("run", "in.jsonl", "out.jsonl", "--base-url", "http://127.0.0.1:1/v1", "--dry-run")
READ = {
    "prices": (*RUN, "--prices"),
    "limits": (*RUN, "--limits"),
    "settings": (*RUN, "--config"),
    "variables": (*RUN, "--env-file"),
    "input": ("run", "{}", "out.jsonl", "--dry-run"),
    "schema": (*RUN, "--schema", "@{}"),
    "template": (*RUN, "--template", "@{}"),
    "recipe": ("compose", "Trio", "--provider", "builtin", "--recipe"),
    "gateway": ("serve", "{}", "--check"),
    "run to export": ("export", "{}", "new.csv"),
    "socket": ("top", "{}", "--json"),
}
DATABASES = {
    "keys to list": ("keys", "list", "--store"),
    "keys to write": ("keys", "create", "web", "--store"),
    "keys of a gateway": ("serve", "--provider", "builtin", "--check", "--keys"),
    "costs": ("costs", "--ledger"),
    "ledger": (*RUN, "--ledger"),
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "1000")
    for name in ("CALLSHEET_CONFIG", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "in.jsonl").write_text(ROW)
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00" * 300)
    return tmp_path


def told(command, name):
    """Return what a command says that cannot use a file, on one line."""
    given = [one.format(name) for one in command]
    given += [] if any("{}" in one for one in command) else [name]
    result = CliRunner().invoke(main, given)
    assert isinstance(result.exception, SystemExit), result.exc_info
    assert result.exit_code == 2, result.output
    text = " ".join(f"{result.stdout} {result.stderr}".split())
    assert name in text
    assert "Errno" not in text
    assert "codec" not in text
    return text


@pytest.mark.parametrize("what", READ)
@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("loop", "give the path of the file itself"),
        ("missing", ""),
        ("in.jsonl/below", "a part of it is a file"),
    ],
)
def test_a_file_that_is_read(what, name, remedy):
    text = told(READ[what], name)
    assert "; " in text or what == "socket"
    assert remedy in text


def test_a_folder_that_is_exported():
    assert "folder cannot be read: it is a folder; give the OUTPUT" in told(
        READ["run to export"], "folder"
    )


@pytest.mark.parametrize("what", sorted(READ.keys() - {"input", "run to export", "socket"}))
def test_a_text_that_is_none(what):
    assert "UTF-8" in (text := told(READ[what], "binary"))
    assert "save it as UTF-8" in text


@pytest.mark.parametrize("what", DATABASES)
@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("folder", "folder"),
        ("loop", "give the path of the file itself"),
        ("in.jsonl/below", "a part of it is a file"),
        ("binary", "move the file away, or give another"),
    ],
)
def test_a_database(what, name, remedy):
    text = told(DATABASES[what], name)
    assert remedy in text or "is a directory" in text
    assert "unable to open" not in text


def test_a_key_store_that_may_not_be_written(folder, monkeypatch):
    KeyFile(folder / "keys.db", create=True).close()
    monkeypatch.setattr(os, "access", lambda *_: False)
    text = told(DATABASES["keys to write"], "keys.db")
    assert "the key store keys.db cannot be used: the file is not writable; make the" in text
