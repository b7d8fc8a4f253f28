"""`callsheet completion`: the script by which a shell completes commands, options and files."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import attrs
import click
from click.shell_completion import get_completion_class

from ..actors import why_not_written
from ..wording import printable
from . import main
from .parameters import SuggestingChoice
from .sections import SectionedCommand, option

Shell = Literal["bash", "zsh", "fish"]

_PROGRAM = "callsheet"
_VARIABLE = "_CALLSHEET_COMPLETE"  # by which click knows that a shell asks


@attrs.frozen
class ShellFolder:
    """Where a shell looks for scripts of completion.

    Args:
        of: returns the file of the script, by the environment and the home folder.
        remark: what the user still does.
    """

    of: Callable[[Mapping[str, str], Path], Path]
    remark: str


def _of_bash(environ: Mapping[str, str], home: Path) -> Path:
    data = environ.get("XDG_DATA_HOME") or home / ".local/share"
    folder = environ.get("BASH_COMPLETION_USER_DIR") or Path(data, "bash-completion")
    return Path(folder, "completions", _PROGRAM)


def _of_zsh(environ: Mapping[str, str], home: Path) -> Path:
    return Path(environ.get("ZDOTDIR") or home, ".zfunc", f"_{_PROGRAM}")


def _of_fish(environ: Mapping[str, str], home: Path) -> Path:
    return Path(
        environ.get("XDG_CONFIG_HOME") or home / ".config", "fish/completions/callsheet.fish"
    )


_SHELLS: Mapping[str, ShellFolder] = {
    "bash": ShellFolder(
        _of_bash,
        "Open a new shell to use it. It is loaded by the package bash-completion; without that "
        "package, add this line to ~/.bashrc: source '{file}'",
    ),
    "zsh": ShellFolder(
        _of_zsh,
        "Unless ~/.zshrc has it already, add this line to it, and open a new shell: "
        "fpath=('{folder}' $fpath); autoload -Uz compinit; compinit",
    ),
    "fish": ShellFolder(_of_fish, "Open a new shell to use it."),
}


@click.command(
    cls=SectionedCommand,
    short_help="Print or install the completion of a shell.",
    page="docs/command-line.md",
    examples=("completion bash --install", "completion zsh"),
)
@click.argument("shell", type=SuggestingChoice(list(_SHELLS)), required=False)
@option(
    "--install",
    section="Output",
    is_flag=True,
    help="Write the script to the folder where the shell looks for it, and print any remaining "
    "step. No other file is changed.",
)
def completion(*, shell: Shell | None, install: bool) -> None:
    """Print the script by which SHELL completes commands, options, their values and files.

    Default: the shell that $SHELL names.
    """
    name = shell or Path(os.environ.get("SHELL", "")).name
    if name not in _SHELLS:
        raise click.UsageError(f"name the shell: {', '.join(_SHELLS)}")
    kind = get_completion_class(name)
    if kind is None:  # pragma: no cover  # click has all three
        raise click.UsageError(f"the installed click has no completion for {name}")
    text = kind(main, {}, _PROGRAM, _VARIABLE).source()
    if not install:
        click.echo(text)
        return
    file = _SHELLS[name].of(os.environ, Path.home())
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        reason = why_not_written(error)
        raise click.ClickException(f"cannot write {printable(str(file))}: {reason}") from None
    click.echo(printable(str(file)))
    click.echo(_SHELLS[name].remark.format(file=file, folder=file.parent), err=True)
