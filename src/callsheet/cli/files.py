"""Check the files of a command before it starts: no two are the same, and none is another's."""

import os
import stat
import sys
import tempfile
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path

import click

from ..actors import why_not_written

STDIN = "-"
STDOUT = Path("/dev/stdout")
_DEVICES = "/dev"
_HEAD_BYTES = 4096
_STREAMS = {1: "stdout", 2: "stderr"}


def check_extra_files(
    extra: Mapping[str, Path | None],
    taken: Mapping[str, Path | None],
    ledger: Path | None = None,
) -> None:
    """Check, before a command starts, that it overwrites none of the files that it uses.

    Args:
        extra: the files that an option makes the command write, by option.
        taken: the files that the command reads or writes in any case, by name for the user.
        ledger: the file of the ledger, whose folder is made where it does not exist.

    Raises:
        click.UsageError: a folder does not exist, the ledger is no file, or two files are the same,
            by any spelling of their paths or by a link.
    """
    if ledger is not None and (str(ledger) == STDIN or is_stream(ledger)):
        raise click.UsageError(
            f"--ledger must be a file, because other runs read it; {ledger} is not a regular file"
        )
    known = {name: path for name, path in taken.items() if path is not None}
    for name, path in {"--ledger": ledger, **extra}.items():
        if path is None:
            continue
        check_path(name, path)
        if name in extra and not Path(os.path.realpath(path)).parent.is_dir():
            raise click.UsageError(f"{name}: the folder {path.parent} does not exist")
        for user, other in known.items():
            if _is_same(path, other):
                raise click.UsageError(f"{name}: {path} is already {user}; choose another file")
        known[name] = path


def check_path(name: str, path: Path) -> None:
    """Check that a path can be followed.

    Args:
        name: what the user calls the file.
        path: the path of the file, which need not exist.

    Raises:
        click.UsageError: it names no file, its links lead in a circle, its name is too long, and
            the like.
    """
    if not path.name:
        raise click.UsageError(f"{name}: {path} is a folder; give the path of a file")
    try:
        path.stat()
    except FileNotFoundError:
        pass
    except OSError as error:
        why = why_not_written(error)
        raise click.UsageError(f"{name}: cannot write {path}: {why}") from None


def check_ours(name: str, path: Path | None, is_ours: Callable[[bytes], bool]) -> None:
    """Check that a file to write is new, empty, or was written by this program.

    Args:
        name: the option that names the file.
        path: the file; None for none. A device, a pipe and a redirection have no content.
        is_ours: returns whether a file that begins with some bytes was written by this program.

    Raises:
        click.UsageError: the file is another's.
    """
    if path is None or is_stream(path):
        return
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:  # it does not exist, or opening it to write raises the error
        return
    if head and not is_ours(head):
        raise click.UsageError(
            f"{name}: {path} exists, but Callsheet did not write it; choose another file, or move "
            "it away"
        )


def check_output(output: Path, written: Mapping[str, Path], source: str) -> None:
    """Check that OUTPUT is a file, and that the run does not write what it reads.

    Args:
        output: OUTPUT of a run.
        written: the files that the run writes, by name for the user; OUTPUT is one.
        source: INPUT of the run; "-" for standard input.

    Raises:
        click.UsageError: one of the files is another one.
    """
    if str(output) == STDIN or is_stream(output):
        raise click.UsageError(
            f"OUTPUT must be a file, because a run that was stopped continues in it; {output} is "
            "not a regular file"
        )
    for name, path in written.items():
        is_stdin = source == STDIN
        is_input = _is_stream_of(0, path) if is_stdin else _is_same(Path(source), path)
        if is_input and path == output:
            raise click.UsageError("INPUT and OUTPUT are the same file; choose another OUTPUT")
        if is_input:
            raise click.UsageError(
                f"INPUT is {name}, which this run writes; copy it to another name, or give another "
                "OUTPUT"
            )
        for number, stream in _STREAMS.items():
            if _is_stream_of(number, path):
                raise click.UsageError(
                    f"{stream} is {name}, which this run writes; redirect it to another file"
                )


def is_stream(path: Path) -> bool:
    """Return whether a path is that of a device, a pipe, or a redirection such as /dev/stdout."""
    folder = os.path.realpath(path.parent)
    if sys.platform != "win32" and (folder == _DEVICES or folder.startswith("/proc/")):
        return True
    mode = _mode_of(path)
    return mode is not None and not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _mode_of(path: Path) -> int | None:
    """Return what a path leads to; None if it cannot be followed, or to no file."""
    try:
        return path.stat().st_mode
    except (OSError, ValueError):
        return None


def _is_stream_of(number: int, path: Path) -> bool:
    """Return whether a standard stream of this process is redirected to a file."""
    try:
        found = os.fstat(number)
        return stat.S_ISREG(found.st_mode) and os.path.samestat(found, path.stat())
    except (OSError, ValueError):  # it is closed, or the file does not exist
        return False


def _is_same(path: Path, other: Path) -> bool:
    mode = _mode_of(path)
    if mode is not None and not stat.S_ISREG(mode):  # a device or a pipe can have several writers
        return False
    try:
        return path.samefile(other)
    except (OSError, ValueError):  # one of them does not exist yet
        pass
    # Not `resolve`, which raises RuntimeError if links lead in a circle.
    path, other = Path(os.path.realpath(path)), Path(os.path.realpath(other))
    if path == other:
        return True
    if _folded(path.name) != _folded(other.name):
        return False
    try:
        is_beside = path.parent.samefile(other.parent)
    except OSError:
        return False
    return is_beside and (path.name == other.name or _ignores_case(path.parent))


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _ignores_case(folder: Path) -> bool:
    """Return whether a file in a folder has its name in small and in capital letters."""
    try:
        with tempfile.NamedTemporaryFile(prefix="callsheet-", dir=folder) as file:
            path = Path(file.name)
            return path.with_name(path.name.swapcase()).exists()
    except OSError:
        return False
