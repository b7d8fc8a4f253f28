"""Completion: what a shell is offered, and the scripts by which it asks."""

import os
import shutil
import subprocess
import sys

import pytest
from click.testing import CliRunner

from callsheet.cli import main


def offered(line):
    """Return what is offered for the last word of a line, as zsh asks for it."""
    words = line.split(" ")
    asked = {
        "_CALLSHEET_COMPLETE": "zsh_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    result = CliRunner().invoke(main, [], prog_name="callsheet", env=asked)
    lines = result.stdout.strip().splitlines()
    return list(zip(lines[::3], lines[1::3], lines[2::3], strict=True))


def test_commands_are_offered_with_their_summaries():
    found = offered("callsheet co")
    assert [name for _, name, _ in found] == ["compose", "costs", "compare", "completion"]
    assert found[1] == ("plain", "costs", "Show what calls have cost.")


def test_options_are_offered_and_hidden_ones_are_not():
    assert [name for _, name, _ in offered("callsheet --")] == ["--version", "--help"]
    assert [name for _, name, _ in offered("callsheet work --w")] == ["--wait"]
    assert offered("callsheet work --until") == []


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("callsheet costs --by m", ["model"]),
        ("callsheet run in.jsonl out.jsonl --provider anth", ["anthropic"]),
        ("callsheet keys cr", ["create"]),
    ],
)
def test_values_of_a_choice_and_commands_of_a_group_are_offered(line, values):
    assert [value for _, value, _ in offered(line)] == values


@pytest.mark.parametrize(
    "line", ["callsheet run in", "callsheet run in.csv out", "callsheet top /"]
)
def test_files_are_completed_by_the_shell(line):
    assert [kind for kind, _, _ in offered(line)] == ["file"]


@pytest.mark.parametrize(
    ("shell", "variables", "place"),
    [
        ("bash", {}, ".local/share/bash-completion/completions/callsheet"),
        ("bash", {"XDG_DATA_HOME": "{home}/d"}, "d/bash-completion/completions/callsheet"),
        ("bash", {"BASH_COMPLETION_USER_DIR": "{home}/b"}, "b/completions/callsheet"),
        ("zsh", {}, ".zfunc/_callsheet"),
        ("zsh", {"ZDOTDIR": "{home}/z"}, "z/.zfunc/_callsheet"),
        ("fish", {}, ".config/fish/completions/callsheet.fish"),
        ("fish", {"XDG_CONFIG_HOME": "{home}/c"}, "c/fish/completions/callsheet.fish"),
    ],
)
def test_a_script_is_installed_where_its_shell_looks_for_it(
    shell, variables, place, tmp_path, monkeypatch
):
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "BASH_COMPLETION_USER_DIR", "ZDOTDIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(home=tmp_path))
    result = CliRunner().invoke(main, ["completion", shell, "--install"])
    assert result.exit_code == 0
    assert result.stdout == f"{tmp_path / place}\n"
    assert "new shell" in result.stderr
    printed = CliRunner().invoke(main, ["completion", shell]).stdout
    assert (tmp_path / place).read_text() == printed.removesuffix("\n")


def test_the_shell_of_the_environment_is_the_usual_one():
    runner = CliRunner(env={"SHELL": "/usr/bin/fish"})
    assert runner.invoke(main, ["completion"]).stdout.startswith("function _callsheet_completion")
    refused = CliRunner(env={"SHELL": "/bin/dash"}).invoke(main, ["completion"])
    assert refused.exit_code == 2
    assert "Error: name the shell: bash, zsh, fish\n" in refused.stderr


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    result = CliRunner().invoke(
        main, ["completion", "zsh", "--install"], env={"ZDOTDIR": str(tmp_path / "file")}
    )
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: cannot write {tmp_path}/file/.zfunc/_callsheet: ")


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_with_the_script(tmp_path):
    program = tmp_path / "callsheet"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m callsheet "$@"\n')
    program.chmod(0o755)
    script = tmp_path / "script"
    script.write_text(CliRunner().invoke(main, ["completion", "bash"]).stdout)
    line = (
        f"source {script}; COMP_WORDS=(callsheet comp); COMP_CWORD=1; "
        "_callsheet_completion callsheet; printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    result = subprocess.run(
        ["bash", "--norc", "-c", line],
        env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert result.stdout.split() == ["compose", "compare", "completion"]
    assert result.stderr == ""
