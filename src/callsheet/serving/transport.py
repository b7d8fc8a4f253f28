"""The bytes to and from a client, and two ways to end: at once, or after what was sent is read."""

import os
import socket
import struct
from collections.abc import Callable
from typing import Final, final

import trio
from trio.abc import Stream

_MAX_LINGERING: Final = 1024 * 1024  # bytes that are still taken from a client, and dropped
# Linger on, with zero seconds: closing sends a reset instead of unsent data.
_LINGER_NOT: Final = struct.pack("ii", 1, 0)


@final
class ClientStream(Stream):
    """A stream to one client, above which TLS may be.

    Args:
        stream: the stream to wrap.
        reset: closes that stream at once.
        linger_s: seconds for which bytes of the client are still taken after the end.

    Attributes:
        expects_bytes: whether the client may still send something when the stream is closed.
    """

    def __init__(
        self,
        stream: Stream,
        reset: Callable[[], None],
        *,
        linger_s: float,
    ) -> None:
        self._stream = stream
        self._reset = reset
        self._linger_s = linger_s
        self._is_broken = False
        self.expects_bytes = False

    def send_now(self, data: bytes) -> bytes:
        """Send what the socket takes at once, and return the rest. It takes nearly always all.

        A system call is all that this costs; waiting needs two scopes and two turns of Trio.

        Args:
            data: the bytes to send. No other task may be sending.

        Raises:
            trio.BrokenResourceError: the client is gone.
        """
        stream = self._stream
        if os.name != "posix" or not isinstance(stream, trio.SocketStream):
            return data
        try:
            return data[os.write(stream.socket.fileno(), data) :]
        except BlockingIOError:
            return data
        except OSError as error:
            raise trio.BrokenResourceError("the client is gone") from error

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes.

        Raises:
            trio.BrokenResourceError: the client is gone.
            trio.ClosedResourceError: the stream is closed.
        """
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the client has taken something."""
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Receive bytes; b"" at the end.

        Raises:
            trio.BrokenResourceError: the client is gone.
            trio.ClosedResourceError: the stream is closed.
        """
        try:
            return await self._stream.receive_some(max_bytes)
        except trio.BrokenResourceError:
            self._is_broken = True
            raise

    def cut(self) -> None:
        """Close it at once, without what was not sent; its users get an error."""
        self._is_broken = True
        self._reset()

    async def aclose(self) -> None:
        """Close it after the client has read what was sent.

        A socket that is closed while bytes arrive sends a reset, and the client may lose the end of
        its response. So the bytes are taken and dropped for a while.
        """
        try:
            if self.expects_bytes and not self._is_broken:
                with trio.move_on_after(self._linger_s):
                    await self._linger()
        finally:
            await self._stream.aclose()

    async def _linger(self) -> None:
        try:
            if not isinstance(self._stream, trio.abc.HalfCloseableStream):
                return
            await self._stream.send_eof()
            taken = 0
            while taken < _MAX_LINGERING:
                data = await self._stream.receive_some()
                if not data:
                    return
                taken += len(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
            pass


def reset_socket(stream: trio.SocketStream) -> None:
    """Close a socket at once; the other side gets a reset, and no bytes that wait.

    Args:
        stream: the socket, closed or not.
    """
    if stream.socket.fileno() != -1:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        stream.socket.close()
