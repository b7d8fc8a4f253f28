"""The command line as a process: interrupts, output that cannot be written, and internal errors."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from callsheet_process import run_callsheet

from callsheet import cli, interrupts
from callsheet.cli import entry

FULL = "/dev/full"
needs_full_device = pytest.mark.skipif(not Path(FULL).exists(), reason="needs /dev/full")


def shell(line):
    """Run a line of the shell, in which $0 is the command `callsheet`."""
    command = f"{sys.executable} -m callsheet"
    return subprocess.run(
        ["/bin/sh", "-c", line.replace("callsheet", command, 1)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@needs_full_device
@pytest.mark.parametrize(
    "arguments",
    [
        "--version",
        "compose --help",
        "costs --format csv",
        *(pytest.param(it, marks=pytest.mark.slow) for it in ("--help", "simulate --port 0")),
    ],
)
def test_output_on_a_full_disk_is_an_error_on_one_line(arguments, tmp_path, monkeypatch):
    ledger = tmp_path / "ledger.sqlite3"
    monkeypatch.setenv("CALLSHEET_LEDGER", str(ledger))
    make_ledger(ledger)
    with Path(FULL).open("w") as full:
        result = run_callsheet(*arguments.split(), stdout=full)
    assert result.returncode == 1
    assert result.stderr == "Error: cannot write the output: No space left on device\n"


def make_ledger(path):
    from callsheet.actors.ledger.file import LedgerFile

    LedgerFile(path, 0.0).close(0.0)


@pytest.mark.parametrize(
    "arguments", ["--version", pytest.param("simulate --port 0", marks=pytest.mark.slow)]
)
def test_a_closed_stdout_is_an_error_for_a_command_that_writes_to_it(arguments):
    result = shell(f"callsheet {arguments} >&-")
    assert result.returncode == 1
    assert result.stderr == "Error: cannot write the output: stdout is closed\n"


def test_compose_refuses_a_closed_stdout_before_it_sends_a_call():
    result = shell("callsheet compose Tea --provider builtin >&-")
    assert result.returncode == 1
    assert result.stderr == "Error: stdout is closed; write to a file with --output\n"


def test_a_closed_stdout_does_not_matter_to_a_command_that_does_not_write_to_it(tmp_path):
    wrong = shell(f"callsheet run {tmp_path}/none.jsonl {tmp_path}/out.jsonl >&-")
    assert wrong.returncode == 2
    assert "none.jsonl: No such file" in wrong.stderr
    assert "cannot write" not in wrong.stderr


def test_a_reader_of_the_output_that_has_ended_is_no_error_message():
    result = shell("callsheet --help | true")
    assert result.stderr == ""


@pytest.mark.parametrize("wrapped", [False, True], ids=["alone", "in a group"])
def test_an_internal_error_is_one_line_that_names_the_way_to_its_traceback(
    monkeypatch, capsys, wrapped
):
    error = LookupError("a bug")
    fail_with(monkeypatch, ExceptionGroup("of a nursery", [error]) if wrapped else error)
    assert entry.run_command_line() == 1
    assert capsys.readouterr().err == (
        "Error: internal error: LookupError: a bug; run again with CALLSHEET_DEBUG=1 in the "
        "environment for the traceback\n"
    )


def test_the_traceback_of_an_internal_error_is_shown_on_request(monkeypatch, capsys):
    fail_with(monkeypatch, LookupError("a bug"))
    monkeypatch.setenv("CALLSHEET_DEBUG", "1")
    assert entry.run_command_line() == 1
    found = capsys.readouterr().err
    assert found.startswith("Traceback (most recent call last)")
    assert found.endswith("LookupError: a bug\n")


def test_verbose_shows_the_traceback_of_an_internal_error(monkeypatch, capsys):
    fail_with(monkeypatch, LookupError("a bug"))
    monkeypatch.setattr(sys, "argv", ["callsheet", "compose", "Tea", "--verbose"])
    assert entry.run_command_line() == 1
    assert "Traceback" in capsys.readouterr().err


def fail_with(monkeypatch, error):
    def broken(name):
        raise error

    monkeypatch.setattr(cli, "import_module", broken)
    monkeypatch.setattr(sys, "argv", ["callsheet", "compose", "Tea"])


@pytest.mark.parametrize(
    "module", ["click", "rich.console", "trio", "callsheet.cli.entry", "callsheet.cli.compare"]
)
def test_an_interrupt_while_a_module_is_loaded_exits_quietly(module):
    """The interrupt comes at the import of a module, and an `except` around it ignores it."""
    program = f"""
import os, runpy, signal, sys
class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            try:
                os.kill(os.getpid(), signal.SIGINT)
            except KeyboardInterrupt:
                pass
sys.meta_path.insert(0, Interrupting())
sys.argv = ["callsheet", "compare", "--time-scale", "0.01"]
runpy.run_module("callsheet", run_name="__main__")
"""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 130
    assert result.stdout == ""
    assert result.stderr == "Interrupted.\n"


def test_an_interrupt_is_raised_again_once_a_command_runs():
    before = signal.getsignal(signal.SIGINT)
    interrupts.exit_on_interrupt()
    try:
        assert signal.getsignal(signal.SIGINT) is not before
        interrupts.raise_on_interrupt()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("handler", [signal.SIG_IGN, lambda *_: None], ids=["ignored", "own"])
def test_a_handler_that_is_set_already_is_kept(handler):
    before = signal.signal(signal.SIGINT, handler)
    try:
        interrupts.exit_on_interrupt()
        assert signal.getsignal(signal.SIGINT) is handler
        interrupts.raise_on_interrupt()
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_interrupt_that_was_handled_does_not_replace_the_exit_status(tmp_path):
    """With `-m`, Python would end by SIGINT, because the interrupt has left an `exec`."""
    (tmp_path / "program.py").write_text("""
from callsheet.interrupts import ignore_interrupts
try:
    exec("raise KeyboardInterrupt")
except KeyboardInterrupt:
    pass
ignore_interrupts()
raise SystemExit(130)
""")
    run = [sys.executable, "-m", "program"]
    assert subprocess.run(run, cwd=tmp_path, timeout=60, check=False).returncode == 130


@pytest.mark.parametrize(
    "arguments",
    ["export {} new.csv", pytest.param("export old.jsonl {}.csv", marks=pytest.mark.slow)],
)
def test_a_path_that_cannot_be_followed_is_no_internal_error(arguments, tmp_path):
    (tmp_path / "old.jsonl").touch()
    result = run_callsheet(*arguments.format("n" * 300).split(), cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr.startswith("Error: nnn")
    assert result.stderr.endswith(": File name too long; give a shorter name\n")
