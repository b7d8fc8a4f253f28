"""A provider that uses little CPU time, so that the client bounds the rate.

    python -m http_bench.provider --latency-ms 50 [--holds] [--gap-ms 10] [--tls server.pem]

prints its port. Of a request it reads only the end and whether the response is streamed. It sends
prepared bytes: in one segment, or streams in ten with gaps. It exits when its standard input is
closed.
"""

import contextlib
import resource
import socket
import ssl
import sys
from collections import deque
from collections.abc import Callable
from functools import partial

import click
import trio

from http_bench.answers import BAD_REQUEST, SEGMENTS, STREAMED, response_to
from http_bench.call import PATH

__all__ = ["main"]

_READ_BYTES = 65_536
_BACKLOG = 4_096
_REQUEST_LINE = f"POST {PATH} ".encode()

Send = Callable[[bytes], None]
Segments = tuple[bytes, ...]


class Plain:
    """A connection without TLS."""

    def __init__(self, sock: socket.socket) -> None:
        self.send: Send = sock.sendall  # a response fits into the kernel's buffer

    def received(self, data: bytes) -> bytes:
        """Return the received bytes."""
        return data


class Encrypted:
    """A connection with TLS in memory, which needs no tasks and no locks, unlike a stream."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        self._socket = sock
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side=True)
        self._is_open = False

    def send(self, data: bytes) -> None:
        """Encrypt and send."""
        self._tls.write(data)
        self._flush()

    def received(self, data: bytes) -> bytes:
        """Return the received bytes, decrypted; none during the handshake."""
        self._in.write(data)
        text = b""
        try:
            if not self._is_open:
                self._tls.do_handshake()
                self._is_open = True
            while piece := self._tls.read(_READ_BYTES):
                text += piece
        except ssl.SSLWantReadError:
            pass
        self._flush()
        return text

    def _flush(self) -> None:
        if self._out.pending:
            self._socket.sendall(self._out.read())


class Later:
    """Sends the first segment of each response after the same latency, so in the order of requests.

    Args:
        latency_s: the latency in seconds.
        rest: sends the other segments, each after its own latency from the one before.
    """

    def __init__(self, latency_s: float, rest: "Later | None" = None) -> None:
        self._latency_s = latency_s
        self._rest = rest or self
        self._waiting: deque[tuple[float, Send, Segments]] = deque()
        self._came = trio.Event()

    def push(self, send: Send, segments: Segments) -> None:
        """Send a response after the latency."""
        if not self._latency_s:
            send(b"".join(segments))
            return
        self._waiting.append((trio.current_time() + self._latency_s, send, segments))
        self._came.set()

    async def run(self) -> None:
        """Send, for ever."""
        while True:
            if not self._waiting:
                self._came = trio.Event()
                await self._came.wait()
            await trio.sleep_until(self._waiting[0][0])
            self._send_until(trio.current_time())

    def _send_until(self, due: float) -> None:
        while self._waiting and self._waiting[0][0] <= due:
            _, send, (first, *others) = self._waiting.popleft()
            with contextlib.suppress(OSError):  # the client has closed the connection
                send(first)
                if others:
                    self._rest.push(send, tuple(others))


class Together(Later):
    """Sends all responses together after a pause without new requests.

    Args:
        latency_s: the length of the pause in seconds.
    """

    async def run(self) -> None:
        """Send, for ever."""
        while True:
            if not self._waiting:
                self._came = trio.Event()
                await self._came.wait()
            newest, _, _ = self._waiting[-1]
            await trio.sleep_until(newest)
            if self._waiting[-1][0] > newest:
                continue
            self._send_until(newest)


def take_request(buffer: bytearray) -> bytes | None:
    """Remove the first request and return its response; None if the request is incomplete."""
    head_end = buffer.find(b"\r\n\r\n")
    if head_end < 0:
        return None
    head = bytes(buffer[:head_end]).lower()
    _, _, length = head.partition(b"\r\ncontent-length:")
    if not length or not buffer.startswith(_REQUEST_LINE):
        del buffer[:]
        return BAD_REQUEST
    end = head_end + 4 + int(length.partition(b"\r\n")[0])
    if len(buffer) < end:
        return None
    body = bytes(buffer[head_end + 4 : end])
    del buffer[:end]
    return response_to(body)


async def serve(
    sock: socket.socket, context: ssl.SSLContext | None, later: Later, *, divides: bool
) -> None:
    """Respond on one connection until it is closed.

    Args:
        sock: the connection.
        context: encrypts; None for plain HTTP.
        later: sends the responses.
        divides: whether streamed responses are sent in segments.
    """
    with sock:
        connection = Plain(sock) if context is None else Encrypted(sock, context)
        buffer = bytearray()
        try:
            while True:
                await trio.lowlevel.wait_readable(sock)
                data = sock.recv(_READ_BYTES)
                if not data:
                    return
                buffer += connection.received(data)
                while buffer and (answer := take_request(buffer)) is not None:
                    is_divided = divides and answer is STREAMED
                    later.push(connection.send, SEGMENTS if is_divided else (answer,))
        except OSError:  # TLS errors are OSErrors, too
            pass


async def until_stdin_ends() -> None:
    """Wait until the parent process closes the standard input."""
    await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)


async def run(later: Later, rest: Later | None, context: ssl.SSLContext | None) -> None:
    """Listen on a free port, and print it.

    Args:
        later: sends the responses, or their first segments.
        rest: sends the other segments; None to send each response in one.
        context: encrypts; None for plain HTTP.
    """
    with socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG) as listener:
        listener.settimeout(0)
        print(listener.getsockname()[1], flush=True)

        async with trio.open_nursery() as nursery:

            async def stop() -> None:
                await until_stdin_ends()
                nursery.cancel_scope.cancel()

            nursery.start_soon(later.run)
            if rest is not None:
                nursery.start_soon(rest.run)
            nursery.start_soon(stop)
            while True:
                await trio.lowlevel.wait_readable(listener)
                try:
                    sock, _ = listener.accept()
                except BlockingIOError:
                    continue
                sock.settimeout(0)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                divides = rest is not None
                nursery.start_soon(partial(serve, sock, context, later, divides=divides))


@click.command()
@click.option("--latency-ms", type=click.FloatRange(0), default=0.0)
@click.option("--holds", is_flag=True, help="Answer all at once when none came for as long.")
@click.option("--gap-ms", type=click.FloatRange(0), help="Between segments; none for one segment.")
@click.option("--tls", help="A file with key and certificate; none for plain HTTP.")
def main(*, latency_ms: float, holds: bool, gap_ms: float | None, tls: str | None) -> None:
    """Respond until the standard input is closed."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    context = None
    if tls is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(tls)
    rest = None if gap_ms is None else Later(gap_ms / 1_000)
    later = (Together if holds else Later)(latency_ms / 1_000, rest)
    trio.run(run, later, rest, context)


if __name__ == "__main__":
    main()
