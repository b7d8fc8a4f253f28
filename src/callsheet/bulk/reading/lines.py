"""The lines of a stream, none of them longer than the memory that it may take."""

import zlib
from collections.abc import Iterator
from typing import BinaryIO

import attrs

__all__ = ["BROKEN", "BadLine", "lines", "not_utf8", "shown"]

BROKEN = (OSError, EOFError, zlib.error)
"""What a file raises that is cut off or damaged; `gzip.BadGzipFile` is an OSError."""

_BOM = b"\xef\xbb\xbf"
_PIECE_BYTES = 64 * 1024
_SHOWN = 200


@attrs.frozen
class BadLine:
    """A line that cannot be had.

    Args:
        reason: why, for people.
        text: the beginning of it, as far as it can be shown.
        has_odd_quotes: there is an odd number of double quotes in it.
    """

    reason: str
    text: str = ""
    has_odd_quotes: bool = False


def lines(stream: BinaryIO, max_bytes: int) -> Iterator[tuple[int, bytes | BadLine]]:
    """The number of each line, from 1, and the line with its end.

    A line that is too long is passed over in pieces. Where the stream breaks off is a flaw, too,
    and the last one.
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
        reason = f"the input cannot be read on from here: {error}; mend it and run again"
        yield number + 1, BadLine(reason)


def _passed_over(stream: BinaryIO, begun: bytes, max_bytes: int) -> BadLine:
    text, size, quotes = shown(begun), len(begun), begun.count(b'"')
    del begun  # it is as long as a line may be
    while piece := stream.readline(_PIECE_BYTES):
        size += len(piece)
        quotes += piece.count(b'"')
        if piece[-1:] == b"\n":
            break
    reason = f"the line has {size:,} bytes; max_line_bytes allows {max_bytes:,}"
    return BadLine(reason, text, bool(quotes % 2))


def not_utf8(line: bytes) -> str | None:
    """What is wrong with the encoding of a line; None if nothing is."""
    try:
        line.decode()
    except UnicodeDecodeError as error:
        at = error.start
        return f"byte {at + 1} of the line, 0x{line[at]:02x}, is not UTF-8 ({error.reason})"
    return None


def shown(line: bytes | str) -> str:
    """The beginning of a line."""
    if isinstance(line, bytes):
        line = line[:_SHOWN].decode(errors="replace")
    return line[:_SHOWN].rstrip("\r\n")
