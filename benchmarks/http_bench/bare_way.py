"""Measure the lower bound: send bytes over a kept connection, and read the response with h11.

It requests a streamed response, as Callsheet does, so that both read the same bytes. It does not
decode them.
"""

import json
import ssl
import urllib.parse
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import h11
import trio

from http_bench.call import API_KEY, Ask, Target, request_body

__all__ = ["open_client"]

_READ_BYTES = 65_536
_NEEDLE = b"data: [DONE]"


class Pool:
    """A pool of kept connections, which reuses the last one first.

    Args:
        target: the provider to connect to.
    """

    def __init__(self, target: Target) -> None:
        url = urllib.parse.urlsplit(target.base_url)
        self._host, self._port = url.hostname or "", url.port or 0
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
            ValueError: the response is incomplete or has another status than 200.
        """
        stream = self._idle.pop() if self._idle else await self._connect()
        await stream.send_all(self._request)
        # h11 has not written the request, so it would not start a next cycle. A new parser costs
        # less than to let h11 write the request.
        parser = h11.Connection(h11.CLIENT)
        status, body = 0, b""
        while True:
            event = parser.next_event()
            if event is h11.NEED_DATA:
                parser.receive_data(bytes(await stream.receive_some(_READ_BYTES)))
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.EndOfMessage):
                break
            else:
                raise ValueError(f"the connection ended before the response was complete: {event}")
        if status != 200 or _NEEDLE not in body:  # noqa: PLR2004  # HTTP's OK
            raise ValueError("the response must have status 200 and be complete")
        self._idle.append(stream)

    async def _connect(self) -> trio.abc.Stream:
        stream = await trio.open_tcp_stream(self._host, self._port)
        if self._context is None:
            return stream
        return trio.SSLStream(
            stream, self._context, server_hostname=self._host, https_compatible=True
        )


@asynccontextmanager
async def open_client(target: Target) -> AsyncGenerator[Ask]:
    """Open a pool. Its connections close when the process ends."""
    yield Pool(target).ask
