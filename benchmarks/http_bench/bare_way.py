"""Measure the lower bound: send bytes over a kept connection, and parse the response.

h11 parses it, or llhttp, in C. The pools request a streamed response and do not decode its events.
"""

import json
import ssl
import urllib.parse
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Protocol

import h11
import httptools
import trio

from http_bench.call import API_KEY, Ask, Target, request_body

__all__ = [
    "H11Parser",
    "LlhttpParser",
    "OpenStream",
    "Parser",
    "Pool",
    "open_client",
    "open_llhttp",
]

_READ_BYTES = 65_536
_NEEDLE = b"data: [DONE]"

OpenStream = Callable[[str, int], Awaitable[trio.abc.Stream]]


class Parser(Protocol):
    """Parses one response."""

    body: bytes

    @property
    def status(self) -> int:
        """The status of the response."""
        ...

    def feed(self, data: bytes) -> bool:
        """Add some bytes, and return whether the response is complete.

        Raises:
            EOFError: the connection has ended before.
        """
        ...


class H11Parser:
    """Parses with h11.

    h11 has not written the request, so it would not start a next cycle. A new parser for each
    response costs less than to let h11 write the request.
    """

    def __init__(self) -> None:
        self._connection = h11.Connection(h11.CLIENT)
        self.status, self.body = 0, b""

    def feed(self, data: bytes) -> bool:
        """See `Parser`."""
        self._connection.receive_data(data)
        while True:
            event = self._connection.next_event()
            if event is h11.NEED_DATA:
                return False
            if event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                raise EOFError("the connection ended before the response was complete")
            if isinstance(event, h11.Data):
                self.body += event.data
            elif isinstance(event, h11.Response):
                self.status = event.status_code
            elif isinstance(event, h11.EndOfMessage):
                return True


class LlhttpParser:
    """Parses with llhttp, through httptools."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._is_complete, self.body = False, b""

    @property
    def status(self) -> int:
        """See `Parser`."""
        return self._parser.get_status_code()

    def feed(self, data: bytes) -> bool:
        """See `Parser`."""
        if not data:
            raise EOFError("the connection ended before the response was complete")
        self._parser.feed_data(data)
        return self._is_complete

    def on_body(self, piece: bytes) -> None:
        """Called by httptools with a piece of the body."""
        self.body += piece

    def on_message_complete(self) -> None:
        """Called by httptools at the end."""
        self._is_complete = True


class Pool:
    """A pool of kept connections, which reuses the last one first.

    Args:
        target: the provider to connect to.
        new_parser: makes the parser of a response.
        open_stream: connects to a host and a port.
    """

    def __init__(
        self,
        target: Target,
        new_parser: Callable[[], Parser] = H11Parser,
        open_stream: OpenStream = trio.open_tcp_stream,
    ) -> None:
        url = urllib.parse.urlsplit(target.base_url)
        self._host, self._port = url.hostname or "", url.port or 0
        self._new_parser, self._open_stream = new_parser, open_stream
        self._context = None
        if target.ca is not None:
            self._context = ssl.create_default_context(cafile=target.ca)
        streamed = {"stream": True, "stream_options": {"include_usage": True}}
        body = json.dumps(request_body() | streamed).encode()
        head = (
            f"POST {url.path}/chat/completions HTTP/1.1\r\n"
            f"host: {url.netloc}\r\n"
            f"authorization: Bearer {API_KEY}\r\n"
            "accept: */*\r\n"
            "content-type: application/json\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        self._request = head.encode() + body
        self._idle: list[trio.abc.Stream] = []

    async def ask(self) -> None:
        """Make one call.

        Raises:
            EOFError: the response is incomplete.
            ValueError: it has another status than 200.
        """
        stream = self._idle.pop() if self._idle else await self._connect()
        await stream.send_all(self._request)
        parser = self._new_parser()
        while not parser.feed(bytes(await stream.receive_some(_READ_BYTES))):
            pass
        if parser.status != 200 or _NEEDLE not in parser.body:  # noqa: PLR2004  # HTTP's OK
            raise ValueError("the response must have status 200 and be complete")
        self._idle.append(stream)

    async def _connect(self) -> trio.abc.Stream:
        stream = await self._open_stream(self._host, self._port)
        if self._context is None:
            return stream
        return trio.SSLStream(
            stream, self._context, server_hostname=self._host, https_compatible=True
        )


@asynccontextmanager
async def open_client(target: Target) -> AsyncGenerator[Ask]:
    """Open a pool that parses with h11. Its connections close when the process ends."""
    yield Pool(target).ask


@asynccontextmanager
async def open_llhttp(target: Target) -> AsyncGenerator[Ask]:
    """Open the same pool, which parses with llhttp."""
    yield Pool(target, LlhttpParser).ask
