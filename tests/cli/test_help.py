"""`--help` of every command, and what the command line does before a command runs."""

import os
import pty
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from callsheet import cli
from callsheet.actors import VENDORS
from callsheet.cli import main

NAMES = main.list_commands(click.Context(main))
PATHS = [(name,) for name in NAMES] + [("keys", name) for name in ("create", "list", "revoke")]
ROOT = Path(__file__).parents[2]


def help_of(*path, **variables):
    result = CliRunner().invoke(main, [*path, "--help"], env={"COLUMNS": "80"} | variables)
    assert result.exit_code == 0
    return result.stdout


def command_of(name, *path):
    command = main.get_command(click.Context(main), name)
    for each in path:
        command = command.get_command(click.Context(command), each)
    return command


def name_of(path):
    return " ".join(path)


def test_every_summary_of_a_command_is_whole_and_on_one_line():
    lines = help_of().splitlines()
    for name in NAMES:
        summary = command_of(name).short_help
        assert summary.endswith(".")
        assert any(line.split(maxsplit=1) == [name, summary] for line in lines)


def test_the_commands_are_listed_without_importing_them():
    program = """
import sys
from callsheet.__main__ import main
try:
    main()
except SystemExit:
    loaded = [name for name in sys.modules if name.startswith("callsheet.cli.")]
    print(*sorted(loaded), "rich_click" in sys.modules, file=sys.stderr)
"""
    before = ["callsheet.cli.entry", "callsheet.cli.sections"]
    for option, loaded in (
        ("--version", [*before, "False"]),
        ("--help", [before[0], "callsheet.cli.help_page", before[1], "True"]),
    ):
        result = subprocess.run(
            [sys.executable, "-c", program, option],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert result.stderr.split() == loaded


@pytest.mark.parametrize("path", PATHS, ids=name_of)
def test_every_option_has_a_help_text_in_a_section(path):
    text = help_of(*path)
    assert "\nOptions:" not in text
    for parameter in command_of(*path).params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            assert parameter.help
            assert parameter.help.rstrip().endswith(".")
            assert max(parameter.opts, key=len) in text


@pytest.mark.parametrize("path", PATHS, ids=name_of)
def test_the_examples_are_command_lines_that_are_accepted(path, monkeypatch):
    monkeypatch.setattr("callsheet.cli.compare.load_matplotlib", lambda: None)  # it takes a second
    command = command_of(*path)
    assert command.examples
    text = help_of(*path)
    for example in command.examples:
        assert f"\n  callsheet {example}\n" in text
        arguments = shlex.split(example)
        assert tuple(arguments[: len(path)]) == path
        command.make_context(path[-1], arguments[len(path) :])


@pytest.mark.parametrize("path", [(), ("keys",), *PATHS], ids=name_of)
def test_each_page_names_a_page_of_the_documentation_and_is_80_columns_wide(path):
    text = help_of(*path)
    *_, last = text.splitlines()
    assert (ROOT / last.removeprefix("Documentation: ")).is_file()
    assert "\n\n\n" not in text
    for line in text.splitlines():
        assert len(line) <= 80 or line.startswith("  callsheet ")
        assert line == line.rstrip()


@pytest.mark.parametrize("name", ["compose", "run"])
def test_every_provider_is_listed(name):
    words = " ".join(help_of(name).split())
    assert f"The provider: {', '.join(['builtin', *VENDORS])}." in words


@pytest.mark.parametrize(
    ("variables", "is_coloured"),
    [
        ({}, True),
        ({"NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
    ],
    ids=["usually", "NO_COLOR", "a dumb terminal"],
)
def test_help_has_colours_on_a_terminal_that_shows_them(variables, is_coloured):
    """Colours have numbers from 30; NO_COLOR leaves bold (1) and dim (2) text."""
    text = on_terminal(["--help"], {"TERM": "xterm"} | variables)
    assert "Usage: callsheet [OPTIONS] COMMAND [ARGS]..." in re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert bool(re.search(r"\x1b\[[0-9;]*3[0-9]m", text)) is is_coloured


def on_terminal(arguments, variables):
    """Return what the command line writes to a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "callsheet", *arguments],
        stdout=theirs,
        env=os.environ | {"COLUMNS": "80"} | variables,
    )
    os.close(theirs)
    text = b""
    while True:
        try:
            read = os.read(ours, 65536)
        except OSError:  # so Linux says that the other side is closed
            break
        if not read:
            break
        text += read
    os.close(ours)
    assert process.wait(timeout=60) == 0
    return text.decode()


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (["compse", "Tea"], "No such command 'compse'. Did you mean 'compose'?"),
        (["keys", "creat", "a"], "No such command 'creat'. Did you mean 'create'?"),
        (["keys", "add", "a"], "No such command 'add'. Choose one of create, list, revoke."),
        (["compose", "--provder", "x"], "No such option '--provder'. Did you mean '--provider'?"),
        (
            ["run", "a", "b", "--prompt", "x"],
            "No such option '--prompt'. Did you mean '--template'?",
        ),
        (["--vers"], "No such option '--vers'. Did you mean '--version'?"),
    ],
)
def test_a_mistyped_name_gets_the_name_that_was_meant(arguments, remedy):
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert f"Error: {remedy}\n" in result.stderr


def test_a_mistyped_choice_gets_the_choice_that_was_meant():
    result = CliRunner().invoke(main, ["compose", "Tea", "--provider", "OpnAI"])
    assert "'--provider': Did you mean 'openai'? 'OpnAI' is not one of 'builtin'," in result.stderr
    result = CliRunner().invoke(main, ["compose", "Tea", "--provider", "zzz"])
    assert "'--provider': 'zzz' is not one of 'builtin'," in result.stderr


def test_no_hidden_option_is_suggested():
    result = CliRunner().invoke(main, ["work", "--until-stdin-end"])
    assert "--until" not in result.stderr.partition("No such option")[2].partition("'.")[2]


@pytest.mark.parametrize(
    "interrupt",
    [KeyboardInterrupt(), BaseExceptionGroup("in a nursery", [KeyboardInterrupt()])],
    ids=["alone", "in a group"],
)
def test_an_interrupt_while_a_command_is_imported_shows_no_traceback(monkeypatch, interrupt):
    def interrupted(name):
        raise interrupt

    monkeypatch.setattr(cli, "import_module", interrupted)
    result = CliRunner().invoke(main, ["compose", "Tea"])
    assert result.exit_code == 130
    assert result.stdout == ""
    assert result.stderr == "Interrupted.\n"


def test_other_errors_come_out_as_they_are(monkeypatch):
    def broken(name):
        raise LookupError(name)

    monkeypatch.setattr(cli, "import_module", broken)
    result = CliRunner().invoke(main, ["compose", "Tea"])
    assert isinstance(result.exception, LookupError)
