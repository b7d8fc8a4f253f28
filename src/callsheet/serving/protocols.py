"""Hypercorn's HTTP/1.1 and HTTP/2, with what they lack for clients that are not well-behaved.

These classes are not documented as public; the dependency allows only versions that were tested.
"""

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, final

import h2.errors
import h2.events
import h2.exceptions
from h11 import Request as Head
from hypercorn.config import Config
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.protocol.h11 import H2ProtocolAssumedError, H11Protocol, H11WSConnection

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
    """HTTP/1.1 of one connection."""

    async def refuse_head(self, status: int) -> None:
        """Answer a head that is not complete.

        Args:
            status: the status of the response.
        """
        if not isinstance(self.connection, H11WSConnection):
            await self._send_error_response(status)

    async def _check_protocol(self, event: Head) -> None:
        """Go over to HTTP/2 if the client begins with it.

        An upgrade is ignored, as RFC 9110 allows: a proxy that passes it on checks no request after
        it.
        """
        if (event.method, event.target, event.http_version) == (b"PRI", b"*", b"2.0"):
            raise H2ProtocolAssumedError(PREFACE + self.connection.trailing_data[0])


@final
class Http2(H2Protocol):
    """HTTP/2 of one connection.

    Args:
        arguments: those of Hypercorn's protocol.
        flushed: called when the response of a stream is complete or given up.
    """

    def __init__(self, *arguments: Any, flushed: Callable[[], None]) -> None:  # noqa: ANN401  # theirs
        super().__init__(*arguments)
        self._flushed = flushed

    @property
    def is_flushed(self) -> bool:
        """Whether no response waits to be written."""
        return not self.stream_buffers

    async def announce_end(self) -> None:
        """Tell the client that the connection ends. No response may be running."""
        try:
            self.connection.close_connection()
        except h2.exceptions.ProtocolError:
            return
        await self._flush()

    async def _handle_events(self, events: list[h2.events.Event]) -> None:
        for event in events:
            try:
                if isinstance(event, h2.events.DataReceived):
                    if event.stream_id not in self.streams:  # it was answered before its end
                        self._drop(event)
                        continue
                elif isinstance(event, h2.events.RequestReceived) and self._refuses(event):
                    continue
            except h2.exceptions.ProtocolError:
                continue
            await super()._handle_events([event])
        await self._flush()

    def _drop(self, event: h2.events.DataReceived) -> None:
        length = event.flow_controlled_length or 0
        self.connection.acknowledge_received_data(length, event.stream_id or 0)

    def _refuses(self, event: h2.events.RequestReceived) -> bool:
        """Refuse a request that comes after the end was announced; the client may repeat it."""
        if not self.context.terminated.is_set():
            return False
        refused = h2.errors.ErrorCodes.REFUSED_STREAM
        self.connection.reset_stream(event.stream_id or 0, refused)
        return True

    async def _send_data(self, stream_id: int) -> None:
        if stream_id not in self.stream_buffers:  # it only has a priority
            self.priority.block(stream_id)
            return
        await super()._send_data(stream_id)
        if stream_id not in self.stream_buffers:
            # The client need not send the rest of its body.
            self._reset(stream_id, h2.errors.ErrorCodes.NO_ERROR)
            await self._flush()
            self._flushed()

    async def _close_stream(self, stream_id: int) -> None:
        await super()._close_stream(stream_id)
        buffer = self.stream_buffers.get(stream_id)
        if buffer is None or (buffer.complete and not self.closed):
            return
        if self.closed or not buffer._complete:  # noqa: SLF001  # the app has failed half-way
            await buffer.close()  # the app may wait for it
            del self.stream_buffers[stream_id]
            self.priority.remove_stream(stream_id)
            if not self.closed:
                self._reset(stream_id, h2.errors.ErrorCodes.INTERNAL_ERROR)
                await self._flush()
            self._flushed()

    def _reset(self, stream_id: int, code: h2.errors.ErrorCodes) -> None:
        with suppress(h2.exceptions.ProtocolError):  # it has ended
            self.connection.reset_stream(stream_id, code)
