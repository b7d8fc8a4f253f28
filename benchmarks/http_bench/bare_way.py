"""The floor: what it takes to send bytes over a kept connection and read the answer with h11.

It asks for what Callsheet asks for, an answer that is streamed, so that both have the same bytes to
read; what is in them it does not look at.
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
    """Connections that are kept; the one that was used last is used first.

    Args:
        target: where they lead.
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
            ValueError: the answer is not what it must be.
        """
        stream = self._idle.pop() if self._idle else await self._connect()
        await stream.send_all(self._request)
        # h11 has not written the request, so it would not begin a next cycle; a parser that is
        # made anew costs less than having it write.
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
                raise ValueError(f"the connection ended before the answer did: {event}")
        if status != 200 or _NEEDLE not in body:  # noqa: PLR2004  # HTTP's OK
            raise ValueError("the answer must have status 200, and be whole")
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
    """It is never closed: the process ends."""
    yield Pool(target).ask
