"""`--help` of every command, and what the command line does before a command runs."""

import shlex

import click
import pytest
from click.testing import CliRunner

from callsheet import cli
from callsheet.actors import VENDORS
from callsheet.cli import main

NAMES = main.list_commands(click.Context(main))


def help_of(*path):
    result = CliRunner().invoke(main, [*path, "--help"], env={"COLUMNS": "80"})
    assert result.exit_code == 0
    return result.stdout


def command_of(name):
    return main.get_command(click.Context(main), name)


def test_no_summary_of_a_command_is_cut_and_each_is_one_line():
    lines = help_of().partition("Commands:\n")[2].partition("\n\n")[0].splitlines()
    assert [line.split()[0] for line in lines] == NAMES
    for line in lines:
        assert line.endswith(".")
        assert not line.endswith("...")


@pytest.mark.parametrize("name", NAMES)
def test_every_option_has_a_help_text_in_a_section(name):
    text = help_of(name)
    assert "\nOptions:" not in text
    for parameter in command_of(name).params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            assert parameter.help
            assert parameter.help.rstrip().endswith(".")
            assert max(parameter.opts, key=len) in text


@pytest.mark.parametrize("name", NAMES)
def test_the_examples_are_command_lines_that_are_accepted(name):
    command = command_of(name)
    assert command.examples
    text = help_of(name)
    for example in command.examples:
        assert f"\n  callsheet {example}\n" in text
        first, *arguments = shlex.split(example)
        assert first == name
        command.make_context(name, arguments)


@pytest.mark.parametrize("name", ["compose", "run"])
def test_every_provider_is_listed(name):
    words = " ".join(help_of(name).split())
    assert f"The provider: {', '.join(['builtin', *VENDORS])}." in words


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
