"""Parses server-sent events from chunks of bytes of any size. Pure (R14).

Source of the grammar: the HTML standard, "Server-sent events", parsing an event stream.
"""

from collections.abc import Iterable
from typing import NamedTuple

MAX_EVENT_BYTES = 16 * 1024 * 1024
"""More than any provider sends in one event. Without a limit, an endless line fills memory."""

_BOM = b"\xef\xbb\xbf"


class ServerSentEvent(NamedTuple):
    """One event of a stream.

    Args:
        data: its data lines, joined by line feeds; UTF-8, unless the sender is wrong.
        name: its type; "" if the stream names none.
    """

    data: bytes
    name: str = ""


class EventTooLarge(ValueError):
    """An event is larger than the limit."""


class SseParser:
    """Parses the bytes of a stream; the events do not depend on how the bytes are divided.

    Args:
        max_event_bytes: the most bytes of one event.
    """

    def __init__(self, *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max = max_event_bytes
        self._tail: list[bytes] = []  # chunks of the incomplete line
        self._tail_size = 0
        self._data: list[bytes] = []  # data lines of the incomplete event
        self._data_size = 0
        self._name = ""
        self._is_start = True
        self._skips_lf = False  # the last byte was a CR, and a LF may follow

    def feed(self, piece: bytes) -> list[ServerSentEvent]:
        """Add a chunk of bytes; return the events that it completes.

        Raises:
            EventTooLarge: an event is larger than the limit.
        """
        if self._is_start:
            piece = self._without_bom(piece)
        if self._skips_lf and piece:
            self._skips_lf = False
            if piece[0] == 10:  # noqa: PLR2004  # a line feed: the CR before it ended the line
                piece = piece[1:]
        if b"\r" in piece:
            self._skips_lf = piece.endswith(b"\r")
            piece = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = piece.split(b"\n")
        if self._tail and len(lines) > 1:
            self._tail.append(lines[0])
            lines[0] = b"".join(self._tail)
            self._tail, self._tail_size = [], 0
        rest = lines.pop()
        events = self._read(lines) if lines else []
        if rest:
            self._tail.append(rest)
            self._tail_size += len(rest)
            self._check(self._tail_size)
        return events

    def end(self) -> list[ServerSentEvent]:
        """Return the last event if the body ended without the empty line after it."""
        self._is_start = False
        lines = [b"".join(self._tail)] if self._tail else []
        self._tail, self._tail_size = [], 0
        return self._read([*lines, b""])

    def _read(self, lines: Iterable[bytes]) -> list[ServerSentEvent]:
        events: list[ServerSentEvent] = []
        data, most = self._data, self._max
        for line in lines:
            if not line:
                if data:
                    whole = data[0] if len(data) == 1 else b"\n".join(data)
                    events.append(ServerSentEvent(whole, self._name))
                    data.clear()
                self._name = ""
            elif len(line) > most:
                self._check(len(line))
            elif line.startswith(b"data: ") and not data:  # nearly all lines
                data.append(line[6:])
            else:
                self._read_field(line)
        return events

    def _read_field(self, line: bytes) -> None:
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._add(value)
        elif field == b"event":
            self._name = value.decode(errors="replace")
        elif field == b"error":  # older versions of llama.cpp
            self._name = "error"
            self._add(value)
        # Other fields (id, retry, and comments, which have no name) do not matter here.

    def _add(self, line: bytes) -> None:
        data = self._data
        if not data:
            self._data_size = 0
        elif len(data) == 1:
            self._data_size = len(data[0])
        data.append(line)
        self._data_size += len(line) + 1
        self._check(self._data_size)

    def _check(self, size: int) -> None:
        if size > self._max:
            raise EventTooLarge(f"an event of the stream has more than {self._max} bytes")

    def _without_bom(self, piece: bytes) -> bytes:
        """Remove a byte order mark; return no bytes while the first ones may be part of one."""
        start = b"".join(self._tail) + piece
        self._tail, self._tail_size = [], 0
        if len(start) < len(_BOM) and _BOM.startswith(start):
            self._tail, self._tail_size = [start], len(start)
            return b""
        self._is_start = False
        return start.removeprefix(_BOM)
