"""Servers that send given bytes, and a request actor that calls them."""

import json
import re
import socket
import struct
from contextlib import asynccontextmanager
from functools import partial

import attrs
import trio
from fakes import completion_json
from trio.testing import memory_stream_pair

from callsheet.actors import (
    Endpoint,
    GetRequestStatistics,
    LeanTransport,
    RequestActor,
    RetryPolicy,
)
from callsheet.runtime.testing.conservation import check_conservation, open_test_runtime

EVENTS = "Content-Type: text/event-stream"
JSON = json.dumps(completion_json("Hello")).encode()


def head(*headers, status="200 OK", length=None):
    lines = [f"HTTP/1.1 {status}", *headers]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def whole(body=JSON, *headers, status="200 OK"):
    return head(*headers, status=status, length=len(body)) + body


def chunked(body=JSON, size=20):
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)


@attrs.frozen
class Line:
    """The reaction of a server to one request.

    Args:
        pieces: the bytes that it sends, one piece after another.
        gap: seconds between two pieces.
        then: "keep" the connection and serve the next request, "close" it, "reset" it or "hang".
        repeats: whether the last piece is repeated until the client closes the connection.
        unread: whether it does all this without reading the request.
    """

    pieces: tuple[bytes, ...] = ()
    gap: float = 0.0
    then: str = "close"
    repeats: bool = False
    unread: bool = False


def says(*pieces, **more):
    return Line(pieces, **more)


POLITE = says(whole(), then="keep")


@attrs.define(eq=False)
class Server:
    """Serves each request with the next line; the last line is repeated.

    Attributes:
        lines: the remaining lines.
        requests: the head and body of each request.
        connections: the number of connections so far.
        sent: the number of bytes sent.
    """

    lines: list
    requests: list = attrs.field(factory=list)
    connections: int = 0
    sent: int = 0

    async def serve(self, stream, tls=None):
        self.connections += 1
        async with stream:
            try:
                if tls is not None:
                    stream = trio.SSLStream(stream, tls, server_side=True, https_compatible=True)
                    await stream.do_handshake()
                while await self._exchange(stream):
                    pass
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass  # the client has gone

    async def _exchange(self, stream):
        if not self.lines[0].unread:
            request = await self._request(stream)
            if request is None:
                return False
            self.requests.append(request)
        line = self.lines.pop(0) if len(self.lines) > 1 else self.lines[0]
        for piece in line.pieces:
            await self._send(stream, piece, line.gap)
        while line.repeats:
            await self._send(stream, line.pieces[-1], line.gap)
        if line.then == "hang":
            await trio.sleep_forever()
        if line.then == "reset":
            await trio.sleep(0.02)  # the reset would overtake the sent bytes
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            stream.socket.close()
        return line.then == "keep"

    async def _send(self, stream, piece, gap):
        await stream.send_all(piece)
        self.sent += len(piece)
        await trio.sleep(gap)

    async def _request(self, stream):
        data = b""
        while True:
            before, end, body = data.partition(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", before.lower())
            if end and len(body) >= int(length[1] if length else 0):
                return before, body
            more = await stream.receive_some(65536)
            if not more:
                return None
            data += more


@attrs.define(eq=False)
class Caller:
    """A request actor and its server."""

    ref: object
    runtime: object
    server: Server
    base_url: str

    async def pool(self):
        """Return the numbers of connections that are open, idle, and waited for."""
        ((_, now),) = (await self.ref.ask(GetRequestStatistics())).connections
        return now.open, now.idle, now.waiting

    async def at_rest(self):
        """Return whether nothing is in progress, and nothing was lost or has crashed."""
        open_, idle, waiting = await self.pool()
        assert (open_ - idle, waiting) == (0, 0)
        snapshot = self.runtime.snapshot()
        check_conservation(snapshot)
        actor = snapshot[self.ref.path]
        assert (actor.incarnation, actor.in_progress, actor.pending) == (1, (), 0)


@asynccontextmanager
async def calling(*lines, tls=None, base_url=None, **settings):
    """Open a caller of a server on loopback, over sockets and in real time."""
    before = trio.lowlevel.current_statistics().tasks_living
    server = Server(list(lines))
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(
            partial(trio.serve_tcp, partial(server.serve, tls=tls), 0, host="127.0.0.1")
        )
        port = listeners[0].socket.getsockname()[1]
        url = base_url or f"http{'s' if tls else ''}://127.0.0.1:{port}/v1"
        with trio.fail_after(30):
            async with _caller(server, url, **settings) as caller:
                yield caller
        nursery.cancel_scope.cancel()
    assert trio.lowlevel.current_statistics().tasks_living == before


@attrs.define(eq=False)
class Counted(trio.abc.Stream):
    """The client's end of a stream, which counts received bytes and records its closing."""

    stream: trio.abc.Stream
    received: int = 0
    is_closed: bool = False

    async def send_all(self, data):
        await self.stream.send_all(data)

    async def wait_send_all_might_not_block(self):
        await self.stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes=None):
        data = await self.stream.receive_some(max_bytes)
        self.received += len(data)
        return data

    async def aclose(self):
        self.is_closed = True
        await self.stream.aclose()


@asynccontextmanager
async def in_memory(*lines, connections=1):
    """Return a transport to a server in memory, the server, and the streams that are opened."""
    server = Server(list(lines))
    streams = []
    async with trio.open_nursery() as nursery:

        async def open_stream(host, port):
            await trio.lowlevel.checkpoint()
            client, end = memory_stream_pair()
            nursery.start_soon(server.serve, end)
            streams.append(Counted(client))
            return streams[-1]

        transport = LeanTransport(open_stream=open_stream, max_connections=connections)
        yield transport, server, streams
        await transport.aclose()
        assert all(stream.is_closed for stream in streams)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def calling_in_memory(*lines, connections=1, **settings):
    """Open a caller as `calling` does, in memory; yield also the opened streams."""
    async with (
        in_memory(*lines, connections=connections) as (transport, server, streams),
        _caller(server, "http://server/v1", transport=transport, **settings) as caller,
    ):
        yield caller, streams


@asynccontextmanager
async def _caller(server, url, *, attempts=2, concurrency=10, endpoint=None, **settings):
    settings.setdefault("retry", RetryPolicy(max_attempts=attempts, base_s=0.0))
    endpoint = Endpoint(url, **(endpoint or {}))
    async with open_test_runtime() as runtime:
        ref = await runtime.spawn(
            "requester",
            partial(RequestActor, endpoint, **settings),
            capacity=concurrency,
            concurrency=concurrency,
        )
        yield Caller(ref, runtime, server, url)
