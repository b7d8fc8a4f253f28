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

__all__ = ["QuickStream", "SocketStream", "TlsStream"]

T = TypeVar("T")

_CHUNK = 64 * 1024  # received at a time, unless one asks for less


class QuickStream(trio.abc.Stream):
    """A stream over a socket. Unlike Trio's, `send_all` is no checkpoint if it need not wait."""

    _socket: socket.socket

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

    async def _readable(self) -> None:
        if self._socket.fileno() < 0:
            raise self._lost()
        await trio.lowlevel.wait_readable(self._socket)

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
    """

    def __init__(self, stream: trio.SocketStream) -> None:
        self._socket = socket.socket(fileno=stream.socket.detach())
        self._socket.settimeout(0)  # it does not block

    def hand_over(self) -> socket.socket:
        """The socket, for a stream over this one, which closes it from now on."""
        return self._socket

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
                await self._readable()
                try:
                    return self._socket.recv(max_bytes or _CHUNK)
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
        self._socket: ssl.SSLSocket = context.wrap_socket(
            below.hand_over(), server_hostname=host, do_handshake_on_connect=False
        )

    async def handshake(self) -> str | None:
        """Agree upon keys; returns the protocol that the server has chosen (ALPN), if any.

        Raises:
            trio.BrokenResourceError: there is no trust, or no TLS at the other end.
            trio.ClosedResourceError: it was closed here.
        """
        await self._step(self._socket.do_handshake)
        return self._socket.selected_alpn_protocol()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of it; raises as a `SocketStream` does."""
        left = memoryview(data)
        while left:
            left = left[await self._step(partial(self._socket.send, left)) :]

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """What has come, when something has; raises as a `SocketStream` does."""
        try:
            if self._socket.pending():
                await trio.lowlevel.checkpoint()
            else:
                await self._readable()
        except OSError as error:
            raise self._lost() from error
        return await self._step(partial(self._socket.recv, max_bytes or _CHUNK))

    def is_quiet(self) -> bool:
        """See `QuickStream`; what lies here is read, and lost."""
        try:
            self._socket.recv(1)
        except ssl.SSLWantReadError:
            return True
        except OSError:
            pass
        return False

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
