"""Run the command line as a process: one line on stderr for an error that no command handles."""

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from typing import cast

from . import main

__all__ = ["run_command_line"]

_FAILED = 1
_DEBUG = "CALLSHEET_DEBUG"
_NOT_WRITTEN = frozenset(
    getattr(errno, name, None) for name in ("EBADF", "EDQUOT", "EFBIG", "EIO", "ENOSPC")
)


_OF_PATHS = (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EILSEQ)


class _ClosedOutput(io.TextIOBase):
    """Takes the place of a closed stdout, so that a command that writes to it fails."""

    encoding = "utf-8"
    errors = "strict"

    def write(self, text: str) -> int:
        """Accept the empty text only.

        Raises:
            OSError: the text is not empty.
        """
        if text:
            raise OSError(errno.EBADF, "stdout is closed")
        return 0


def run_command_line() -> int:
    """Run the command of `sys.argv`, and report an error that the command does not handle.

    With `--verbose`, or if the variable CALLSHEET_DEBUG is set, the report is a traceback.

    Returns:
        The exit status.
    """
    # Python sets a stream to None if its file descriptor is closed.
    if getattr(sys, "stderr", None) is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115  # open until the exit
    if getattr(sys, "stdout", None) is None:
        sys.stdout = _ClosedOutput()
    status: object = 0
    try:
        try:
            main.main(prog_name="callsheet")
        except SystemExit as error:
            status = error.code
        sys.stdout.flush()
    except Exception as error:  # noqa: BLE001  # the last resort
        return _report(error)
    return status if isinstance(status, int) else _FAILED


def _report(error: Exception) -> int:
    """Print an error that no command has handled."""
    causes = tuple(_causes(error))
    numbers = {cause.errno for cause in causes if isinstance(cause, OSError) and not cause.filename}
    with contextlib.suppress(OSError):  # stderr may be unwritable as well
        if errno.EPIPE in numbers:  # the reader of the output has ended
            _discard_output()
        elif found := numbers & _NOT_WRITTEN:
            _discard_output()
            reason = next(c.strerror for c in causes if isinstance(c, OSError) and c.errno in found)
            print(f"Error: cannot write the output: {reason}", file=sys.stderr)  # noqa: T201
        elif _is_debugging():
            import traceback  # noqa: PLC0415  # rarely used

            traceback.print_exception(error, file=sys.stderr)
        elif why := _path_error(causes[0]):
            print(f"Error: {why}", file=sys.stderr)  # noqa: T201
        else:
            from ..wording import printable  # noqa: PLC0415  # rarely used

            cause = causes[0]
            text = printable(f"{type(cause).__name__}: {cause}")
            hint = f"run again with {_DEBUG}=1 in the environment for the traceback"
            print(f"Error: internal error: {text}; {hint}", file=sys.stderr)  # noqa: T201
    return _FAILED


def _path_error(error: Exception) -> str | None:
    """Return the reason and the remedy of an error of a path that the user gave; else None."""
    from ..actors import why_not_read  # noqa: PLC0415  # rarely used
    from ..wording import printable  # noqa: PLC0415

    if not (isinstance(error, OSError) and error.filename and error.errno in _OF_PATHS):
        return None
    return printable(f"{error.filename}: {why_not_read(error)}")


def _causes(error: Exception) -> Iterator[Exception]:
    """Yield the errors in a group; or the error itself."""
    if isinstance(error, ExceptionGroup):
        for one in cast("ExceptionGroup[Exception]", error).exceptions:
            yield from _causes(one)
    else:
        yield error


def _is_debugging() -> bool:
    return bool(os.environ.get(_DEBUG)) or not {"--verbose", "-v"}.isdisjoint(sys.argv)


def _discard_output() -> None:
    """Discard what stdout still holds, because the interpreter writes it at its exit."""
    with contextlib.suppress(OSError, ValueError):  # there is no file descriptor
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
