"""Read the lines of a stream, with a maximum length that bounds memory."""

from collections.abc import Iterator
from typing import BinaryIO

import attrs

from .text import INVALID_BYTE
from .errors import BROKEN, cannot_read_on

_BOM = b"\xef\xbb\xbf"
_PIECE_BYTES = 64 * 1024
_SHOWN = 200


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


def lines(stream: BinaryIO, max_bytes: int) -> Iterator[tuple[int, bytes | BadLine]]:
    """Yield the number of each line, from 1, and the line with its line end.

    A line that is too long is skipped piece by piece and becomes a `BadLine`. An error of the
    stream becomes a last `BadLine`.
    """
    number = 0
    try:
        while line := stream.readline(max_bytes + 1):
            number += 1
            if number == 1 and line.startswith(_BOM):
                line = line[len(_BOM) :]
            if len(line) > max_bytes and line[-1:] != b"\n":
                yield number, _passed_over(stream, line, max_bytes)
            else:
                yield number, line
    except BROKEN as error:
        yield number + 1, BadLine(cannot_read_on(error, "line"))


def _passed_over(stream: BinaryIO, begun: bytes, max_bytes: int) -> BadLine:
    text, size, quotes = shown(begun), len(begun), begun.count(b'"')
    del begun  # free its memory: it has the maximum length
    while piece := stream.readline(_PIECE_BYTES):
        size += len(piece)
        quotes += piece.count(b'"')
        if piece[-1:] == b"\n":
            break
    reason = f"the line has {size:,} bytes; the maximum (max_line_bytes) is {max_bytes:,}"
    return BadLine(reason, text, bool(quotes % 2))


def not_utf8(line: bytes) -> str | None:
    """Return what is wrong with the encoding of a line; None if it is valid UTF-8."""
    try:
        line.decode()
    except UnicodeDecodeError as error:
        at = error.start
        if line[at] == INVALID_BYTE:
            return f"byte {at + 1} of the line is not of the encoding of the input"
        return f"byte {at + 1} of the line, 0x{line[at]:02x}, is not UTF-8 ({error.reason})"
    return None


def shown(line: bytes | str) -> str:
    """Return the beginning of a line."""
    if isinstance(line, bytes):
        line = line[:_SHOWN].decode(errors="replace")
    return line[:_SHOWN].rstrip("\r\n")
