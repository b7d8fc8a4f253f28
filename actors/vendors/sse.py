"""Server-sent events out of bytes that come in any pieces. Pure (R14).

Source of the grammar: the HTML standard, "Server-sent events", parsing an event stream.
"""

from collections.abc import Iterable
from typing import NamedTuple

__all__ = [
    "MAX_EVENT_BYTES",
    "EventTooLarge",
    "ServerSentEvent",
    "SseParser",
]


MAX_EVENT_BYTES = 16 * 1024 * 1024
"""More than any provider sends in one event; without a bound, a line without end fills memory."""

_BOM = b"\xef\xbb\xbf"


class ServerSentEvent(NamedTuple):
    """One event of a stream.

    Args:
        data: its data lines, joined by line feeds; UTF-8, if the sender is right.
        name: its type; "" where the stream gives none.
    """

    data: bytes
    name: str = ""


class EventTooLarge(ValueError):
    """An event is larger than the bound: this is no stream of an answer."""


class SseParser:
    """Takes a stream's bytes in any pieces, and gives the same events however it was cut.

    Args:
        max_event_bytes: the most that one event may have.
    """

    def __init__(self, *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max = max_event_bytes
        self._tail: list[bytes] = []  # pieces of the line that is not whole yet
        self._tail_size = 0
        self._data: list[bytes] = []  # data lines of the event that is not whole yet
        self._data_size = 0
        self._name = ""
        self._is_start = True
        self._skips_lf = False  # the last byte was a CR, which a LF may follow

    def feed(self, piece: bytes) -> list[ServerSentEvent]:
        """The events that are whole now.

        Raises:
            EventTooLarge: one is larger than the bound.
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
        """What is left when the body has ended: an event that lacks its empty line, if any."""
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
            elif line.startswith(b"data: ") and not data:  # nearly all there are
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
        # Others (id, retry, comments, which are fields without a name) say nothing of the answer.

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
        """The first bytes without a byte order mark, or nothing while they may become one."""
        start = b"".join(self._tail) + piece
        self._tail, self._tail_size = [], 0
        if len(start) < len(_BOM) and _BOM.startswith(start):
            self._tail, self._tail_size = [start], len(start)
            return b""
        self._is_start = False
        return start.removeprefix(_BOM)
