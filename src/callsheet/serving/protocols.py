"""Hypercorn's HTTP/1.1 and HTTP/2, with what they lack for clients that are not well-behaved.

These classes are not documented as public; the dependency allows only versions that were tested.
"""

import logging
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, final

import h2.events
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from h11 import Request as Head
from hypercorn.config import Config
from hypercorn.events import Closed
from hypercorn.protocol.events import Body
from hypercorn.protocol.h2 import (
    BUFFER_HIGH_WATER,
    BUFFER_LOW_WATER,
    BufferCompleteError,
    H2Protocol,
    StreamBuffer,
)
from hypercorn.protocol.h11 import H2ProtocolAssumedError, H11Protocol, H11WSConnection
from hypercorn.typing import Event as IOEvent

# It writes each header that it decodes into the log at the level DEBUG, keys included.
logging.getLogger("hpack").setLevel(logging.INFO)

_MAX_RESETS: Final = 500  # requests that a client gives up at once
_RESETS_PER_S: Final = 50.0  # and from then on
PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\n"
"""How a client begins HTTP/2 without TLS, as Hypercorn cuts it."""


@final
class ServerConfig(Config):
    """What Hypercorn's protocols are told.

    Args:
        max_header_bytes: the largest head of a request, in bytes.
    """

    def __init__(self, *, max_header_bytes: int) -> None:
        self.accesslog = None
        self.errorlog = None
        self.include_server_header = False
        self.h11_max_incomplete_size = max_header_bytes
        self.h2_max_header_list_size = max_header_bytes
        self.keep_alive_max_requests = sys.maxsize

    def response_headers(self, protocol: str) -> list[tuple[bytes, bytes]]:
        """Return the headers that each response has.

        Args:
            protocol: "h11" or "h2".
        """
        return [*super().response_headers(protocol), (b"server", b"callsheet")]


@final
class Http1(H11Protocol):
    """HTTP/1.1 of one connection.

    Args:
        arguments: those of Hypercorn's protocol.
        max_body_bytes: the largest body of a request, in bytes.
    """

    def __init__(self, *arguments: Any, max_body_bytes: int) -> None:  # noqa: ANN401  # theirs
        super().__init__(*arguments)
        self._max_body_bytes = max_body_bytes

    async def refuse_head(self, status: int) -> None:
        """Answer a head that is not complete.

        Args:
            status: the status of the response.
        """
        if not isinstance(self.connection, H11WSConnection):
            await self._send_error_response(status)

    async def _create_stream(self, request: Head) -> None:
        """Begin a request; its client is not asked for a body that will be refused."""
        lengths = [int(value) for name, value in request.headers if name == b"content-length"]
        is_refused = any(length > self._max_body_bytes for length in lengths)
        if is_refused and not isinstance(self.connection, H11WSConnection):
            self.connection.client_is_waiting_for_100_continue = False
        await super()._create_stream(request)

    async def _check_protocol(self, event: Head) -> None:
        """Go over to HTTP/2 if the client begins with it.

        An upgrade is ignored, as RFC 9110 allows: a proxy that passes it on checks no request after
        it.
        """
        if (event.method, event.target, event.http_version) == (b"PRI", b"*", b"2.0"):
            raise H2ProtocolAssumedError(PREFACE + self.connection.trailing_data[0])


@final
class _ResponseBuffer(StreamBuffer):
    """A part of a response that waits for the window of its client.

    Hypercorn's own one lets the app go on while the window is closed, and so has no bound. It also
    counts as drained before the end of the stream is sent.
    """

    def __init__(self, event_class: type[IOEvent]) -> None:
        super().__init__(event_class)
        self._ended = event_class()

    async def drain(self) -> None:
        await self._ended.wait()

    async def close(self) -> None:
        await super().close()
        await self._ended.set()

    async def push(self, data: bytes) -> None:
        if self._complete:
            raise BufferCompleteError
        self.buffer.extend(data)
        await self._is_empty.clear()
        while len(self.buffer) >= BUFFER_HIGH_WATER and not self._complete:
            await self._paused.clear()
            await self._paused.wait()

    async def pop(self, max_length: int) -> bytes:
        data = bytes(self.buffer[:max_length])
        del self.buffer[:max_length]
        if len(self.buffer) < BUFFER_LOW_WATER:
            await self._paused.set()
        if not self.buffer:
            await self._is_empty.set()
        return data


@final
class Http2(H2Protocol):
    """HTTP/2 of one connection.

    Args:
        arguments: those of Hypercorn's protocol.
        flushed: called when the response of a stream is complete or given up.

    Attributes:
        beginning: the stream whose request is about to begin.
    """

    def __init__(self, *arguments: Any, flushed: Callable[[], None]) -> None:  # noqa: ANN401  # theirs
        super().__init__(*arguments)
        # A head that is larger ends the connection; up to here, its request alone is refused.
        self.connection.decoder.max_header_list_size = 2 * self.config.h2_max_header_list_size
        self.beginning = 0
        self._flushed = flushed
        self._unread: dict[int, int] = {}  # {stream: bytes of its window that are in use}
        self._resets = float(_MAX_RESETS)  # how many more are allowed
        self._reset_at = self.context.time()

    @property
    def is_flushed(self) -> bool:
        """Whether no response waits to be written."""
        return not self.stream_buffers

    async def announce_end(self, code: ErrorCodes = ErrorCodes.NO_ERROR) -> None:
        """Tell the client that the connection ends. No response may be running.

        Args:
            code: the reason, as HTTP/2 numbers it.
        """
        try:
            self.connection.close_connection(code)
        except ProtocolError:
            return
        await self._flush()

    async def resume(self, stream_id: int) -> None:
        """Let the client send more of the body of a request, because the app has read some.

        Args:
            stream_id: the stream of the request.
        """
        length = self._unread.pop(stream_id, 0)
        if length and not self.closed:
            self.connection.acknowledge_received_data(length, stream_id)
            await self._flush()

    # ------------------------------------------------------------------------------ requests

    async def _handle_events(self, events: list[h2.events.Event]) -> None:
        for event in events:
            match event:
                case h2.events.DataReceived():
                    await self._take(event)
                case h2.events.RequestReceived() if self.context.terminated.is_set():
                    self._reset(event.stream_id or 0, ErrorCodes.REFUSED_STREAM)
                case h2.events.StreamReset() if not self._allows_reset():
                    await self.announce_end(ErrorCodes.ENHANCE_YOUR_CALM)
                    await self.send(Closed())
                    return
                case _:
                    await super()._handle_events([event])
        await self._flush()

    async def _take(self, event: h2.events.DataReceived) -> None:
        """Take a part of a body; the rest of one that was answered before its end is dropped."""
        stream_id = event.stream_id or 0
        length = event.flow_controlled_length or 0
        self._unread[stream_id] = self._unread.get(stream_id, 0) + length
        if stream_id in self.streams:
            await self.streams[stream_id].handle(Body(stream_id, event.data or b""))
        else:
            await self.resume(stream_id)

    def _allows_reset(self) -> bool:
        """Count a request that its client gives up; a flood of them would only make work."""
        now = self.context.time()
        allowed = self._resets + (now - self._reset_at) * _RESETS_PER_S
        self._resets, self._reset_at = min(allowed, _MAX_RESETS) - 1, now
        return self._resets >= 0

    async def _create_stream(self, request: h2.events.RequestReceived) -> None:
        self.beginning = request.stream_id or 0
        head = (value for name, value in request.headers or () if name in (b":method", b":path"))
        if not all(value.isascii() for value in head):  # Hypercorn decodes them as such
            self._reset(self.beginning, ErrorCodes.PROTOCOL_ERROR)
            return
        await super()._create_stream(request)
        if self.beginning in self.stream_buffers:  # the app has not run yet
            self.stream_buffers[self.beginning] = _ResponseBuffer(self.context.event_class)

    async def _close_stream(self, stream_id: int) -> None:
        await super()._close_stream(stream_id)
        await self.resume(stream_id)
        buffer = self.stream_buffers.get(stream_id)
        if buffer is None or (buffer._complete and not self.closed):  # noqa: SLF001
            return
        await buffer.close()  # the app may wait for it
        if not self.closed:  # the response is not complete; the sending task clears it away
            self._reset(stream_id, ErrorCodes.INTERNAL_ERROR)
            self.priority.unblock(stream_id)
            await self._flush()

    # ----------------------------------------------------------------------------- responses

    async def _send_data(self, stream_id: int) -> None:
        if stream_id not in self.stream_buffers:  # it only has a priority
            self.priority.block(stream_id)
            return
        buffer = self.stream_buffers[stream_id]
        await super()._send_data(stream_id)
        if stream_id not in self.stream_buffers:
            # The client need not send the rest of its body.
            self._reset(stream_id, ErrorCodes.NO_ERROR)
            await self._flush()
            await buffer.close()
            self._flushed()

    def _reset(self, stream_id: int, code: ErrorCodes) -> None:
        with suppress(ProtocolError):  # it has ended
            self.connection.reset_stream(stream_id, code)
