"""Divide JSON into its values: lines, a list of objects, or objects over several lines each."""

import re
from collections.abc import Iterator
from typing import BinaryIO, cast, final

import orjson

from ...actors import Json, dumps
from .errors import BROKEN, BadLine, cannot_read_on
from .text import lines, read_some, shown

_BLANK = b"\xef\xbb\xbf \t\r\n"
_PIECE_BYTES = 64 * 1024
# A string, a bracket, or the quote of a string whose end has not been read.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{}"]', re.DOTALL)
_OPENING, _CLOSING = (b"{", b"["), (b"}", b"]")
_BETWEEN = re.compile(rb"[\s,\x1e]*+")  # RFC 7464 begins each value with \x1e
_SCALAR = re.compile(rb"[^\s,\]]++")
_LISTS = ("data", "rows", "requests", "items", "examples", "records", "observations", "traces")
_OF_REQUESTS = {"body", "messages", "prompt", "input", "params", "request"}


def json_values(
    stream: BinaryIO, head: bytes, max_bytes: int
) -> Iterator[tuple[int, bytes | BadLine]]:
    """Yield the number of each value, from 1, and its text.

    Values on lines of their own are numbered by line, empty ones included. Others are numbered one
    by one: those of a list, of one object that holds others, such as `{"data": [...]}`, and objects
    that take several lines each.

    Args:
        stream: the bytes, in UTF-8.
        head: the beginning of the input.
        max_bytes: the maximum size of a value in bytes. A longer line is skipped, a longer value
            of several lines ends the reading.
    """
    values = _of_lines(stream, max_bytes) if _is_lines(head) else _of_text(stream, max_bytes)
    for number, first in values:
        wrapped = None if isinstance(first, BadLine) else _wrapped(first)
        if wrapped is None:
            yield number, first
            break
        yield from enumerate(wrapped, 1)
    yield from values


def _is_lines(head: bytes) -> bool:
    """Return whether each line is a value, as in JSON Lines."""
    first = head.lstrip(_BLANK).partition(b"\n")[0].rstrip()
    if first[:1] != b"{":
        return first[:1] not in (b"[", b"\x1e")
    return first[-1:] not in (b"{", b"[", b",")


def _of_lines(stream: BinaryIO, max_bytes: int) -> Iterator[tuple[int, bytes | BadLine]]:
    for number, line in lines(stream, max_bytes):
        if isinstance(line, BadLine) or not (not line or line.isspace()):
            yield number, line


def _of_text(stream: BinaryIO, max_bytes: int) -> Iterator[tuple[int, bytes | BadLine]]:
    number = 0
    try:
        for value in _JsonText(stream, max_bytes).values():
            number += 1
            yield number, value
    except BROKEN as error:
        yield number + 1, BadLine(cannot_read_on(error, "value"))


@final
class _JsonText:
    """Finds the ends of values in a text, of which no more than one value is held.

    Args:
        stream: the bytes, in UTF-8.
        max_bytes: the maximum size of a value in bytes.
    """

    def __init__(self, stream: BinaryIO, max_bytes: int) -> None:
        self._stream = stream
        self._max_bytes = max_bytes
        self._text = b""
        self._at = 0  # where the next value begins

    def values(self) -> Iterator[bytes | BadLine]:
        """Yield each value of the list that the text is, or of the text."""
        is_list = self._next() == b"["
        self._at += is_list
        while char := self._next():
            if is_list and char == b"]":
                self._at += 1
                is_list = False  # other values may follow
                continue
            end = self._end()
            if end is None:
                text = shown(self._text[self._at :])
                wrong = f"the value has more than {self._max_bytes:,} bytes (max_line_bytes)"
                yield BadLine(f"{wrong}; the input is not read beyond it", text)
                return
            yield self._text[self._at : end]
            self._at = end

    def _next(self) -> bytes:
        """Pass over what is between values; return the next character, b"" at the end."""
        while True:
            between = _BETWEEN.match(self._text, self._at)
            self._at = between.end() if between else self._at
            if self._at == 0 and self._text.startswith(_BLANK[:3]):
                self._at = 3
            elif self._at < len(self._text):
                return self._text[self._at : self._at + 1]
            elif not self._more():
                return b""

    def _end(self) -> int | None:
        """Return where the value ends that begins here; None if it is too long."""
        depth, place = 0, self._at
        if self._text[place : place + 1] not in (*_OPENING, *_CLOSING, b'"'):
            scalar = _SCALAR.match(self._text, place)
            return scalar.end() if scalar else place + 1
        while place - self._at <= self._max_bytes:
            token = _TOKEN.search(self._text, place)
            if token is None or token[0] == b'"':
                seen = (len(self._text) if token is None else token.start()) - self._at
                if len(self._text) - self._at > self._max_bytes:
                    return None
                if not self._more():
                    return len(self._text)
                place = self._at + seen
                continue
            place = token.end()
            depth += (token[0] in _OPENING) - (token[0] in _CLOSING)
            if depth <= 0:
                return place
        return None

    def _more(self) -> bool:
        """Read on, and forget what is before the value; return False at the end."""
        # Twice as much each time, so that a long value is not searched too often.
        more = read_some(self._stream, max(_PIECE_BYTES, len(self._text) - self._at))
        self._text = self._text[self._at :] + more
        self._at = 0
        return bool(more)


def _wrapped(text: bytes) -> Iterator[bytes] | None:
    """Return the objects that one object holds, as exports, replies and pandas write them."""
    try:
        value: Json = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(value, dict) or not _OF_REQUESTS.isdisjoint(value):
        return None
    records = _records_of_pandas(value)
    for name in _LISTS:
        items = value.get(name)
        if isinstance(items, list) and items and isinstance(items[0], dict):
            records = (_unwrapped(item) for item in items)
    return None if records is None else (dumps(cast("dict[str, Json]", it)) for it in records)


def _records_of_pandas(value: dict[str, Json]) -> Iterator[Json] | None:
    """Return the records of `DataFrame.to_json`, by columns, by rows or "split"; else None."""
    columns, data = value.get("columns"), value.get("data")
    if isinstance(columns, list) and isinstance(data, list) and "index" in value:
        names = list(map(str, columns))
        return (dict(zip(names, row, strict=False)) for row in data if isinstance(row, list))
    of_columns = [it for it in value.values() if isinstance(it, dict)]
    first = list(of_columns[0]) if of_columns and len(of_columns) == len(value) else []
    if not first or any(list(column) != first for column in of_columns):
        return None
    if first[0] != "0":
        return iter(value.values()) if next(iter(value)) == "0" else None
    return (
        {name: column[at] for name, column in zip(value, of_columns, strict=True)} for at in first
    )


def _unwrapped(item: Json) -> Json:
    """Return the row of a reply of Hugging Face's data set viewer, and any other item as it is."""
    if isinstance(item, dict) and "row_idx" in item and isinstance(item.get("row"), dict):
        return item["row"]
    return item
