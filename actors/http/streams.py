"""Streams over sockets, plain and with TLS, that cost little more than their system calls.

Trio's streams yield to other tasks at each step, even when they need not wait, and its TLS keeps
two buffers for each connection. Here a send that need not wait costs one system call, and OpenSSL
reads and writes the socket directly.
"""

import socket
import ssl
from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import TypeVar, final

import trio

T = TypeVar("T")


class QuickStream(trio.abc.Stream):
    """A stream over a socket. Unlike Trio's, `send_all` is no checkpoint if it need not wait.

    Args:
        sock: a non-blocking socket.
        buffer: receives data. All streams of a thread may share it, which saves the allocation of
            memory at each receive.
    """

    def __init__(self, sock: socket.socket, buffer: bytearray) -> None:
        self._socket = sock
        self._buffer = buffer

    @abstractmethod
    def is_quiet(self) -> bool:
        """Return whether there is nothing to receive, neither data nor the end. Does not wait."""

    @abstractmethod
    def send_now(self, data: bytes | memoryview) -> memoryview:
        """Send as much as the socket accepts now, and return the rest. Does not wait.

        Args:
            data: the bytes to send.

        Raises:
            trio.BrokenResourceError: the connection was lost.
            trio.ClosedResourceError: the stream was closed here.
        """

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the socket accepts some data."""
        await trio.lowlevel.wait_writable(self._socket)

    def close(self) -> None:
        """Close the socket. Tasks that wait for it get `trio.ClosedResourceError`."""
        if self._socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()

    async def aclose(self) -> None:
        """Close the socket, without waiting."""
        self.close()
        await trio.lowlevel.checkpoint()

    def _check_open(self) -> None:
        if self._socket.fileno() < 0:  # Trio cannot wait for a closed socket
            raise self._lost()

    def _receive(self, max_bytes: int | None) -> bytes:
        """Receive what has arrived."""
        most = min(max_bytes or len(self._buffer), len(self._buffer))
        size = self._socket.recv_into(self._buffer, most)
        return bytes(memoryview(self._buffer)[:size])

    def _lost(self) -> trio.BrokenResourceError | trio.ClosedResourceError:
        """Return the error to raise for an error of the socket."""
        if self._socket.fileno() < 0:
            return trio.ClosedResourceError("this stream was closed here")
        return trio.BrokenResourceError("the connection was lost")


@final
class SocketStream(QuickStream):
    """A stream over a connected TCP socket.

    Args:
        stream: the stream whose socket to take over.
        buffer: the buffer for received bytes; see `QuickStream`.
    """

    def __init__(self, stream: trio.SocketStream, buffer: bytearray) -> None:
        sock = socket.socket(fileno=stream.socket.detach())
        sock.settimeout(0)  # non-blocking
        super().__init__(sock, buffer)

    def hand_over(self) -> tuple[socket.socket, bytearray]:
        """Return socket and buffer for another stream, which closes the socket from now on."""
        return self._socket, self._buffer

    def send_now(self, data: bytes | memoryview) -> memoryview:
        """See `QuickStream`."""
        left = memoryview(data)
        try:
            while left:
                left = left[self._socket.send(left) :]
        except BlockingIOError:
            pass
        except OSError as error:
            raise self._lost() from error
        return left

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of the data.

        Args:
            data: the bytes to send.

        Raises:
            trio.BrokenResourceError: the connection was lost.
            trio.ClosedResourceError: the stream was closed here.
        """
        left = self.send_now(memoryview(data))
        while left:
            await trio.lowlevel.wait_writable(self._socket)
            left = self.send_now(left)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Wait for data and return them; nothing at the end.

        Args:
            max_bytes: how many to return at most; None for as many as the buffer holds.

        Raises:
            trio.BrokenResourceError: the connection was lost.
            trio.ClosedResourceError: the stream was closed here.
        """
        try:
            while True:
                self._check_open()
                await trio.lowlevel.wait_readable(self._socket)
                try:
                    return self._receive(max_bytes)
                except BlockingIOError:
                    pass  # a spurious wake-up
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
    """A stream with TLS over a connected TCP socket. Call `handshake` first.

    It neither sends nor expects a closing alert, as is usual with HTTP: the framing of a body shows
    where the body ends.

    Args:
        below: the stream whose socket to take over.
        context: the trusted authorities and other settings.
        host: the name that the server's certificate must have.

    Raises:
        ValueError: a certificate cannot have the name.
    """

    def __init__(self, below: SocketStream, context: ssl.SSLContext, host: str) -> None:
        sock, buffer = below.hand_over()
        self._tls = context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
        super().__init__(self._tls, buffer)
        self._sending = 0  # how many tasks are sending

    async def handshake(self) -> str | None:
        """Do the TLS handshake; return the protocol that the server has selected (ALPN), if any.

        Raises:
            trio.BrokenResourceError: the server is not trusted, or has no TLS.
            trio.ClosedResourceError: the stream was closed here.
        """
        await self._step(self._tls.do_handshake)
        # A read with nothing to receive makes OpenSSL free 16 KiB.
        if not self.is_quiet():
            raise trio.BrokenResourceError(
                "the server closed the connection or sent data too early"
            )
        return self._tls.selected_alpn_protocol()

    def send_now(self, data: bytes | memoryview) -> memoryview:
        """See `QuickStream`."""
        left = memoryview(data)
        try:
            while left:
                left = left[self._socket.send(left) :]
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except OSError as error:
            raise self._lost() from error
        return left

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of the data; see `SocketStream.send_all`."""
        left = memoryview(data)
        self._sending += 1
        try:
            while left:
                left = left[await self._step(partial(self._socket.send, left)) :]
        finally:
            self._sending -= 1

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Wait for data and return them; see `SocketStream.receive_some`."""
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
        """See `QuickStream`. Data that have arrived are read and lost."""
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
            # A session ticket arrived, for which OpenSSL keeps 16 KiB until something is sent.
            if not self._sending:
                self._tls.send(b"")
            raise

    async def _step(self, step: Callable[[], T]) -> T:
        """Run a step of OpenSSL, and wait as it demands: to send, it may first have to receive."""
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
