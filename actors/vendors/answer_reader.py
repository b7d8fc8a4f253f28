"""Read the body of a response by what arrives, whatever was requested. Pure (R14).

Some servers and gateways send events although one JSON text was requested, or the reverse, with any
content type, and with blank lines and comments before it. What was paid for is read (L11).
"""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Literal, Protocol, cast, final

from ..json_value import Json
from ..messages import Request
from ..responses import Delta
from .decoding import is_end_mark, json_text, loads, read_event, within_depth
from .format import ApiError, DecodedResponse, Malformed, WireFormat
from .sse import ServerSentEvent, SseParser

_BOM = b"\xef\xbb\xbf"
_FIELDS = (b"data", b"event", b"id", b"retry", b"error")  # the first word of a line of events
_SHOWN_BYTES = 200

AnswerKind = Literal["events", "whole"]
OnEvents = Callable[[Sequence[ServerSentEvent], Sequence[Delta]], None]
KeepEvent = Callable[[ServerSentEvent, Sequence[Delta]], None]


class _Decoder(Protocol):
    @property
    def done(self) -> bool: ...

    def feed(self, event: ServerSentEvent) -> Sequence[Delta]: ...

    def end(self) -> DecodedResponse | ApiError: ...


@final
class AnswerReader:
    """Reads the body of one response: server-sent events, one JSON text, or one on each line.

    Args:
        form: the wire format.
        request: the request that the response is for.
        on_events: called with events that arrived together, and their deltas; None for nothing.

    Attributes:
        start: the first bytes, for the error that they cannot be read.
        raw: all bytes of a response that is not events; empty for events.
    """

    def __init__(
        self, form: WireFormat, request: Request, on_events: OnEvents | None = None
    ) -> None:
        self._form = form
        self._request = request
        self._on_events = on_events
        self._kind: AnswerKind | None = None  # not known yet
        self._parser: SseParser | None = None  # of events, as the decoder
        self._decoder: _Decoder | None = None
        self._keep: KeepEvent | None = None
        self._chatter = b""  # the first event that is none of the format
        self._pieces: list[bytes] = []
        self.start = b""
        self.raw = b""

    @property
    def is_whole(self) -> bool:
        """Whether the body is known not to be events."""
        return self._kind == "whole"

    @property
    def done(self) -> bool:
        """Whether the provider marked the end."""
        return self._decoder is not None and self._decoder.done

    def keep_events(self, keep: KeepEvent) -> None:
        """Call a function with each event that is part of the response, and with its deltas.

        Args:
            keep: the function, called in `feed`.
        """
        self._keep = keep

    def feed(self, piece: bytes) -> Sequence[Delta]:
        """Add the next bytes; return the deltas of the events that they complete.

        Args:
            piece: the bytes; none at the end of the body.

        Raises:
            StreamFailed: an event is an error.
            ValueError: they cannot be read.
        """
        if len(self.start) < _SHOWN_BYTES:
            self.start += piece[: _SHOWN_BYTES - len(self.start)]
        if self._kind != "events":
            self._pieces.append(piece)
            if self._kind is None:
                start = b"".join(self._pieces)
                self._kind, at = kind_of(start)
                self._pieces = [start[at:]]
            if self._kind != "events":
                return ()
            self._parser, self._decoder = SseParser(), self._new_decoder()
            if self._keep is not None:
                self._decoder = _KeepingDecoder(self._decoder, self._keep)
            piece = self._pieces.pop()
        parser, decoder = self._parser, self._decoder
        if parser is None or decoder is None:
            return ()
        events = parser.feed(piece) if piece else parser.end()
        if not events:
            return ()
        read: list[ServerSentEvent] = []
        found: list[Delta] = []
        try:
            for event in events:
                if not event.data.startswith(b"{") and _is_chatter(event):
                    self._chatter = self._chatter or event.data
                    continue
                read.append(event)
                found += decoder.feed(event)
        except RecursionError:
            raise Malformed("an event is nested too deeply") from None
        if read and self._on_events is not None:
            self._on_events(read, found)
        return found

    def _new_decoder(self) -> _Decoder:
        if self._form.streams:
            return self._form.stream_decoder(self._request)
        return _OneEvent(self._form, self._request)

    @within_depth
    def end(self) -> DecodedResponse | ApiError:
        """Return the whole response, or the error in it, once the body has ended.

        Raises:
            StreamFailed: an event is an error.
            BrokeOff: it is not complete.
            ValueError: it cannot be read. `Malformed` states why; any other error, that it is no
                JSON.
        """
        if self._decoder is not None:
            return self._end_of_events(self._decoder)
        self.raw = b"".join(self._pieces)
        try:
            body = loads(self.raw)
        except ValueError:
            lines = [line for line in map(_without_field, self.raw.splitlines()) if line]
            if len(lines) > 1 and all(is_end_mark(line) or _is_json(line) for line in lines):
                return self._decoded(lines)
            body = _first_json(self.raw)
        if isinstance(body, str):  # some gateways encode the whole body as JSON once more
            inner = AnswerReader(self._form, self._request)
            for piece in (body.encode(errors="replace"), b""):
                inner.feed(piece)
            return inner.end()
        if isinstance(body, list) and len(body) > 1:  # Gemini's stream without ``alt=sse``
            return self._decoded([json_text(part).encode() for part in body])
        return self._form.decode(body, self._request)

    def _end_of_events(self, decoder: _Decoder) -> DecodedResponse | ApiError:
        if not self._chatter:
            return decoder.end()
        with suppress(Malformed):
            decoded = decoder.end()
            if isinstance(decoded, ApiError) or _has_ended(decoded):
                return decoded
        shown = self._chatter.decode(errors="replace")  # it may be why the stream has ended
        raise Malformed(f"the stream has an event that is no JSON: {shown:.100}")

    def _decoded(self, texts: Sequence[bytes]) -> DecodedResponse | ApiError:
        """Decode JSON texts as the events of a stream."""
        decoder = self._new_decoder()
        for text in texts:
            decoder.feed(ServerSentEvent(text))
        return decoder.end()


def _has_ended(response: DecodedResponse) -> bool:
    return all(choice.finish_reason is not None for choice in response.choices)


def _is_chatter(event: ServerSentEvent) -> bool:
    """Return whether an event is a word or a number, such as "ping", and no part of a response."""
    data = event.data
    if event.name == "error" or is_end_mark(data) or len(data) > _SHOWN_BYTES:
        return False
    return b"{" not in data and b"}" not in data


def _without_field(line: bytes) -> bytes:
    return line.strip().removeprefix(b"data:").strip()


def _first_json(text: bytes) -> Json:
    """Return the JSON value that a text begins with, whatever follows it.

    Raises:
        ValueError: it does not begin with an object or a list.
    """
    decoded = text.decode("utf-8-sig", errors="replace").lstrip()
    if not decoded.startswith(("{", "[")):
        raise json.JSONDecodeError("no object or list", decoded, 0)
    return cast("Json", json.JSONDecoder().raw_decode(decoded)[0])


def _is_json(text: bytes) -> bool:
    try:
        loads(text)
    except ValueError:
        return False
    return True


@final
class _KeepingDecoder:
    """Decodes events, and hands each one on with its deltas."""

    def __init__(self, decoder: _Decoder, keep: KeepEvent) -> None:
        self._decoder = decoder
        self._keep = keep

    @property
    def done(self) -> bool:
        """Whether the provider marked the end."""
        return self._decoder.done

    def feed(self, event: ServerSentEvent) -> Sequence[Delta]:
        """Decode an event; those after the end are no part of the response."""
        if self._decoder.done:
            return ()
        deltas = self._decoder.feed(event)
        self._keep(event, deltas)
        return deltas

    def end(self) -> DecodedResponse | ApiError:
        """Return the response."""
        return self._decoder.end()


@final
class _OneEvent:
    """Decodes the only event of a response whose format has no streams."""

    def __init__(self, form: WireFormat, request: Request) -> None:
        self._form = form
        self._request = request
        self._body: Json = None
        self.done = False

    def feed(self, event: ServerSentEvent) -> Sequence[Delta]:
        """Take the object in an event; the first one counts."""
        if not is_end_mark(event.data):
            self._body = self._body or read_event(event)
        return ()

    def end(self) -> DecodedResponse | ApiError:
        """Return the response."""
        return self._form.decode(self._body, self._request)


def kind_of(start: bytes) -> tuple[AnswerKind | None, int]:
    """Return the kind of a body, and where it begins after blank lines and comments.

    Args:
        start: the first bytes.

    Returns:
        The kind is None if the bytes do not show it yet.
    """
    if start.startswith(b"{"):  # nearly always
        return "whole", 0
    at = len(_BOM) if start.startswith(_BOM) else 0
    if not at and _BOM.startswith(start):
        return None, 0
    while True:
        at = len(start) - len(start[at:].lstrip())
        if not start.startswith(b":", at):
            break
        ends = [end for mark in (b"\n", b"\r") if (end := start.find(mark, at)) >= 0]
        if not ends:
            return None, at
        at = min(ends)
    line = start[at : at + 80].splitlines()[0] if at < len(start) else b""
    field, colon, _ = line.partition(b":")
    if colon or at + len(line) < len(start):
        return ("events" if field in _FIELDS and colon else "whole"), at
    is_open = any(name.startswith(line) for name in _FIELDS)
    return (None if is_open else "whole"), at
