"""The body of an answer, read as it is wanted."""

from typing import final

import httpx

from .connection import Connection
from .connections import Connections

__all__ = [
    "ResponseBody",
]


@final
class ResponseBody(httpx.AsyncByteStream):
    """The bytes of a body as they come, still compressed if the server did that.

    Nothing is received before it is asked for, so that a slow reader slows the server down. The
    connection goes back when the end has come, and is closed by anything else: an error, a
    cancellation, `aclose`.

    Args:
        first: what came together with the head.
        connections: where the connection goes.
        connection: has the rest; None if there is none.
        read_s: seconds for which the server may be silent; None for any time.
        max_bytes: of the whole body; None for no bound.
        between_s: as `read_s`, after the first piece: a model may think before it speaks. It is
            the time-out "between" of a request, which httpx does not know, and else `read_s`.
    """

    def __init__(
        self,
        first: bytes,
        connections: Connections,
        connection: Connection | None,
        read_s: float | None,
        max_bytes: int | None,
        *,
        between_s: float | None,
    ) -> None:
        self._first = first
        self._connections = connections
        self._connection = connection
        self._read_s = read_s
        self._between_s = between_s
        self._max_bytes = max_bytes
        self._received = len(first)
        self._is_cut = False

    def __aiter__(self) -> "ResponseBody":
        return self

    async def __anext__(self) -> bytes:
        """The next piece; never an empty one.

        Raises:
            httpx.TransportError: the body breaks off, or is longer than it may be.
            httpx.StreamClosed: it broke off before, or was closed before its end.
        """
        if self._first:
            piece, self._first = self._first, b""
            return piece
        if self._is_cut:
            raise httpx.StreamClosed
        connection = self._connection
        if connection is None:
            raise StopAsyncIteration
        try:
            piece, is_all = await connection.more(
                self._between_s if self._received else self._read_s
            )
            self._received += len(piece)
            check_length(self._received, self._max_bytes)
        except BaseException:
            await self.aclose()
            raise
        if is_all:
            self._connection = None
            await self._connections.give_back(connection)
        if not piece:
            raise StopAsyncIteration
        return piece

    @property
    def is_all(self) -> bool:
        """Whether its end has come, and been received."""
        return self._connection is None and not self._is_cut and not self._first

    async def read(self) -> bytes:
        """All that is left, in one piece."""
        if self._connection is None and not self._is_cut:
            piece, self._first = self._first, b""
            return piece
        return b"".join([piece async for piece in self])

    async def aclose(self) -> None:
        """Nobody wants the rest. It does not wait, and may be called again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._is_cut = True
            self._first = b""
            await self._connections.drop(connection)


def check_length(received: int, max_bytes: int | None) -> None:
    """Refuse a body that is longer than it may be.

    Raises:
        httpx.RemoteProtocolError: it is.
    """
    if max_bytes is not None and received > max_bytes:
        raise httpx.RemoteProtocolError(f"the body is longer than the {max_bytes} bytes allowed")
