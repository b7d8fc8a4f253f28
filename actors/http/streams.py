"""Sockets as streams at the cost of their system calls, and TLS on them.

Trio's own streams yield to other tasks at each step, whether it had to wait or not, and its TLS
keeps two buffers for every connection. Here a send that need not wait costs the call alone, and
OpenSSL reads and writes the socket by itself.
"""

import socket
import ssl
from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import TypeVar, final

import trio

__all__ = [
    "QuickStream",
    "SocketStream",
    "TlsStream",
]


T = TypeVar("T")


class QuickStream(trio.abc.Stream):
    """A stream over a socket. Unlike Trio's, `send_all` is no checkpoint if it need not wait.

    Args:
        sock: the socket, which does not block.
        buffer: what is received at a time fits in. All streams of one thread may share it, and
            then memory for what may come need not be found, and given back, for each receive.
    """

    def __init__(self, sock: socket.socket, buffer: bytearray) -> None:
        self._socket = sock
        self._buffer = buffer

    @abstractmethod
    def is_quiet(self) -> bool:
        """Whether nothing lies here to be received: neither data nor the end. It does not wait."""

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until some of it would be taken."""
        await trio.lowlevel.wait_writable(self._socket)

    def close(self) -> None:
        """Close it. Whoever waits for it gets `trio.ClosedResourceError`."""
        if self._socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()

    async def aclose(self) -> None:
        """Close it, without waiting."""
        self.close()
        await trio.lowlevel.checkpoint()

    def _check_open(self) -> None:
        if self._socket.fileno() < 0:  # which Trio does not wait for
            raise self._lost()

    def _receive(self, max_bytes: int | None) -> bytes:
        """What is there."""
        most = min(max_bytes or len(self._buffer), len(self._buffer))
        size = self._socket.recv_into(self._buffer, most)
        return bytes(memoryview(self._buffer)[:size])

    def _lost(self) -> trio.BrokenResourceError | trio.ClosedResourceError:
        """What a stream raises for an error of its socket."""
        if self._socket.fileno() < 0:
            return trio.ClosedResourceError("this stream was closed here")
        return trio.BrokenResourceError("the connection was lost")


@final
class SocketStream(QuickStream):
    """A connected TCP socket.

    Args:
        stream: whose socket it takes over.
        buffer: as of any `QuickStream`.
    """

    def __init__(self, stream: trio.SocketStream, buffer: bytearray) -> None:
        sock = socket.socket(fileno=stream.socket.detach())
        sock.settimeout(0)  # it does not block
        super().__init__(sock, buffer)

    def hand_over(self) -> tuple[socket.socket, bytearray]:
        """Socket and buffer, for a stream over this one, which closes it from now on."""
        return self._socket, self._buffer

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of it.

        Raises:
            trio.BrokenResourceError: nobody takes it.
            trio.ClosedResourceError: it was closed here.
        """
        left = memoryview(data)
        try:
            while left:
                try:
                    left = left[self._socket.send(left) :]
                except BlockingIOError:
                    await trio.lowlevel.wait_writable(self._socket)
        except OSError as error:
            raise self._lost() from error

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """What has come, when something has; nothing at the end.

        Raises:
            trio.BrokenResourceError: the connection was lost.
            trio.ClosedResourceError: it was closed here.
        """
        try:
            while True:
                self._check_open()
                await trio.lowlevel.wait_readable(self._socket)
                try:
                    return self._receive(max_bytes)
                except BlockingIOError:
                    pass  # the system was wrong
        except OSError as error:
            raise self._lost() from error

    def is_quiet(self) -> bool:
        """See `QuickStream`."""
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False


@final
class TlsStream(QuickStream):
    """TLS over a connected TCP socket, which it takes over; `handshake` comes first.

    As servers of HTTP do, it ends without a word, and takes such an end for one: bodies tell their
    own.

    Args:
        below: the socket.
        context: says who may be trusted.
        host: whose certificate it must be.

    Raises:
        ValueError: the host is no name that a certificate could have.
    """

    def __init__(self, below: SocketStream, context: ssl.SSLContext, host: str) -> None:
        sock, buffer = below.hand_over()
        self._tls = context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
        super().__init__(self._tls, buffer)
        self._sending = 0  # tasks that are

    async def handshake(self) -> str | None:
        """Agree upon keys; returns the protocol that the server has chosen (ALPN), if any.

        Raises:
            trio.BrokenResourceError: there is no trust, or no TLS at the other end.
            trio.ClosedResourceError: it was closed here.
        """
        await self._step(self._tls.do_handshake)
        if (
            not self.is_quiet()
        ):  # asked at once, for OpenSSL gives 16 KiB back when nothing is there
            raise trio.BrokenResourceError("the server ended it, or spoke before it was asked")
        return self._tls.selected_alpn_protocol()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of it; raises as a `SocketStream` does."""
        left = memoryview(data)
        self._sending += 1
        try:
            while left:
                left = left[await self._step(partial(self._socket.send, left)) :]
        finally:
            self._sending -= 1

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """What has come, when something has; raises as a `SocketStream` does."""
        try:
            if self._tls.pending():
                await trio.lowlevel.checkpoint()
            else:
                self._check_open()
                await trio.lowlevel.wait_readable(self._socket)
        except OSError as error:
            raise self._lost() from error
        return await self._step(partial(self._receive_or_shed, max_bytes))

    def is_quiet(self) -> bool:
        """See `QuickStream`; what lies here is read, and lost."""
        try:
            self._socket.recv(1)
        except ssl.SSLWantReadError:
            return True
        except OSError:
            pass
        return False

    def _receive_or_shed(self, max_bytes: int | None) -> bytes:
        try:
            return self._receive(max_bytes)
        except ssl.SSLWantReadError:
            # A session ticket came, and OpenSSL keeps 16 KiB for such until something is sent.
            if not self._sending:
                self._tls.send(b"")
            raise

    async def _step(self, step: Callable[[], T]) -> T:
        """Do what OpenSSL may have to wait for: to send, it may first have to receive."""
        try:
            while True:
                try:
                    return step()
                except ssl.SSLWantReadError:
                    await trio.lowlevel.wait_readable(self._socket)
                except ssl.SSLWantWriteError:
                    await trio.lowlevel.wait_writable(self._socket)
        except OSError as error:
            raise self._lost() from error
