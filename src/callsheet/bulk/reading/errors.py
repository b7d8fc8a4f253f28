"""What is wrong with an input as a whole, or with a line or a record of it, and the remedies."""

import errno
import zlib
from lzma import LZMAError

import attrs

from ...actors import read_remedy

BROKEN = (OSError, EOFError, zlib.error, LZMAError)
"""What reading a truncated or damaged file raises; `gzip.BadGzipFile` is an `OSError`."""

_REMEDIES = {
    errno.EISDIR: "give a file in it",
    errno.ENAMETOOLONG: "check the path; to pass the rows themselves, pipe them and give -",
    errno.EIO: "the disk or the connection to it failed; copy the file elsewhere and try again",
    errno.ESTALE: "the server of the file lost it; mount it again, or copy the file",
    errno.ETIMEDOUT: "the server of the file does not respond; copy the file to this machine",
}
"""{error number: what the user can do when an input cannot be read}, where it is more than for
another file."""


class InputError(Exception):
    """The input cannot be read; the text is one line with the reason and the remedy."""


class InputChanged(InputError):
    """The input changed while it was read. Rows that were read before are valid."""


class BadRecord(Exception):
    """A record is not a valid request; it becomes a `BadRow`.

    Args:
        reason: what is wrong with it and how to fix it.
        is_misfit: True if other records of the input have probably the same fault, because the
            input is of another kind than it was taken for.
    """

    def __init__(self, reason: str, *, is_misfit: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_misfit = is_misfit


class RepeatedId(BadRecord):
    """An earlier record has the same id."""


@attrs.frozen
class BadLine:
    """A line or a record that cannot be read.

    Args:
        reason: why it cannot be read.
        text: the beginning of the line, as far as it is printable.
        has_odd_quotes: True if the line has an odd number of double quotes.
        is_misfit: as in `BadRecord`.
    """

    reason: str
    text: str = ""
    has_odd_quotes: bool = False
    is_misfit: bool = False


def cannot_read(name: str, error: BaseException) -> InputError:
    """Return the error of an input that cannot be opened, with the remedy for its cause.

    Args:
        name: the name of the input.
        error: what opening it or its first read raised.
    """
    text = f"cannot read {name}: {_reason(error)}"
    remedy = _remedy(error)
    return InputError(text if remedy is None else f"{text}; {remedy}")


def cannot_read_on(error: BaseException, unit: str) -> str:
    """Return the reason of the last bad row of an input that is truncated or damaged.

    Args:
        error: what reading raised.
        unit: what the input consists of, "line" or "record".
    """
    remedy = _remedy(error) or "repair it"
    why = _reason(error)
    return f"the input cannot be read beyond this {unit}: {why}; {remedy}, and run again"


def _remedy(error: BaseException) -> str | None:
    number = error.errno if isinstance(error, OSError) else None
    return _REMEDIES.get(number or 0) or read_remedy(error)


def _reason(error: BaseException) -> str:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(reason).partition("\n")[0]
