"""Servers for tests of the transport, in memory or on real sockets, with any faults."""

import re
import socket
import struct
from contextlib import asynccontextmanager, suppress
from functools import partial

import httpx
import trio
from trio.testing import memory_stream_pair

from callsheet.actors.http.transport import LeanTransport
from callsheet.runtime.testing.faults import _Steps

URL = "http://server/"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def answer(body=b"ok", *, status=b"200 OK", headers=()):
    lines = [b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


class Peer:
    """The server's end of one connection."""

    def __init__(self, stream):
        self.stream = stream
        self.buffer = b""

    async def request(self):
        """Return the head and body of the next request; None at the end of the connection."""
        try:
            head = await self._until(b"\r\n\r\n")
            if b"chunked" in head.lower():
                return head, await self._until(b"0\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head.lower())
            return head, await self._exactly(int(length[1]) if length else 0)
        except EOFError:
            return None

    async def send(self, *pieces, gap=0.0):
        for n, piece in enumerate(pieces):
            if n:
                await trio.sleep(gap)
            await self.stream.send_all(piece)

    def reset(self):
        """End the connection with a RST, on a real socket."""
        self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.stream.socket.close()

    async def gone(self):
        """Wait until the client has closed the connection."""
        while await self._receive():
            pass

    async def _until(self, mark):
        while mark not in self.buffer:
            self.buffer += await self._receive() or _eof()
        before, _, self.buffer = self.buffer.partition(mark)
        return before + mark

    async def _exactly(self, count):
        while len(self.buffer) < count:
            self.buffer += await self._receive() or _eof()
        body, self.buffer = self.buffer[:count], self.buffer[count:]
        return body

    async def _receive(self):
        try:
            return await self.stream.receive_some(65536)
        except trio.BrokenResourceError:
            return b""


def _eof():
    raise EOFError


def answering(said, seen=None):
    """Return a handler that responds to every request with the same bytes."""

    async def serve(peer):
        while (came := await peer.request()) is not None:
            if seen is not None:
                seen.append(came)
            await peer.send(*([said] if isinstance(said, bytes) else said))

    return serve


async def polite(peer, said=OK, after=0.0):
    """Respond to every request."""
    while await peer.request() is not None:
        await trio.sleep(after)
        await peer.send(said)


class Tracked(trio.abc.Stream):
    """The client's end of a stream in memory, which records its closing."""

    def __init__(self, stream):
        self.stream = stream
        self.is_closed = False
        self.received = 0

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


class Corked(Tracked):
    """A server's end that holds sent bytes back while it is corked, and then sends them at once."""

    def __init__(self, stream):
        super().__init__(stream)
        self.held = None

    async def send_all(self, data):
        if self.held is None:
            await super().send_all(data)
        else:
            self.held += data

    async def uncork(self):
        held, self.held = self.held, None
        await super().send_all(held)


async def silent(peer):
    """Send nothing, whatever the client sends."""
    await trio.sleep_forever()


async def deaf(peer):
    """Close the connection at once."""


class Network:
    """Hosts in memory: each connection gets the next handler; the last handler is repeated."""

    def __init__(self, nursery, *handlers):
        self.nursery = nursery
        self.handlers = list(handlers)
        self.streams = []
        self.dialled = []

    async def open_stream(self, host, port):
        await trio.lowlevel.checkpoint()
        self.dialled.append((host, port))
        client, server = memory_stream_pair()
        handler = self.handlers.pop(0) if len(self.handlers) > 1 else self.handlers[0]
        self.nursery.start_soon(_serve, handler, server)
        self.streams.append(Tracked(client))
        return self.streams[-1]

    @property
    def open(self):
        return sum(not stream.is_closed for stream in self.streams)


async def _serve(handler, stream):
    async with stream:
        with suppress(trio.BrokenResourceError):  # the client has closed
            await handler(Peer(stream))


@asynccontextmanager
async def in_memory(*handlers, **settings):
    """Open a transport to hosts in memory, and check that all is closed at the end."""
    async with trio.open_nursery() as nursery:
        network = Network(nursery, *handlers)
        transport = LeanTransport(open_stream=network.open_stream, **settings)
        yield transport, network
        await transport.aclose()
        assert_closed(transport)
        assert network.open == 0
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def on_sockets(*handlers, tls=None, **settings):
    """Open a transport to a real server on loopback, and check that all is closed at the end."""
    left = list(handlers)

    async def serve(stream):
        handler = left.pop(0) if len(left) > 1 else left[0]
        async with stream:
            try:
                if tls is not None:
                    stream = trio.SSLStream(stream, tls, server_side=True, https_compatible=True)
                    await stream.do_handshake()
                await handler(Peer(stream))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        transport = LeanTransport(**settings)
        with trio.fail_after(30):
            yield transport, f"http{'s' if tls else ''}://127.0.0.1:{port}/"
        await transport.aclose()
        assert_closed(transport)
        nursery.cancel_scope.cancel()


def assert_closed(transport):
    now = transport.statistics()
    assert (now.open, now.idle, now.waiting) == (0, 0, 0)


def counts(transport):
    now = transport.statistics()
    return now.open, now.idle, now.waiting


def request(method="GET", url=URL, *, timeout=None, **more):
    extensions = {} if timeout is None else {"timeout": timeout}
    return httpx.Request(method, url, extensions=extensions, **more)


async def call(transport, method="GET", url=URL, **more):
    """Make a request and read the whole response."""
    response = await transport.handle_async_request(request(method, url, **more))
    return response, await response.stream.read()


class ChunkedBody(httpx.AsyncByteStream):
    """A body that arrives piece by piece."""

    def __init__(self, *pieces, gap=0.0):
        self.pieces = pieces
        self.gap = gap
        self.is_ended = False

    async def __aiter__(self):
        try:
            for piece in self.pieces:
                await trio.sleep(self.gap)
                if isinstance(piece, Exception):
                    raise piece
                yield piece
        finally:
            self.is_ended = True


async def cancelled_at(nth, work):
    """Cancel a call at its nth checkpoint; return False if it has fewer checkpoints."""
    count = 0

    def tell():
        nonlocal count
        count += 1
        if count == nth:
            scope.cancel()

    with trio.CancelScope() as scope:
        await _Steps(work, tell)
    return count >= nth
