"""The body of a response, received as it is read."""

from typing import final

import httpx

from .connection import Connection
from .connections import Connections


@final
class ResponseBody(httpx.AsyncByteStream):
    """The bytes of a body as they arrive, still compressed if the server compressed them.

    Nothing is received before it is read, so that a slow reader slows the server down. At the end
    of the body the connection returns to the pool. Anything else closes it: an error, a
    cancellation, `aclose`.

    Args:
        first: the part of the body that arrived together with the head.
        connections: takes the connection back.
        connection: receives the rest; None if there is none.
        read_s: the longest silence before the first piece, in seconds; None for no bound.
        max_bytes: the bound on the whole body, in bytes; None for none.
        between_s: the longest silence after the first piece, in seconds; None for no bound. It is
            the time-out "between" of a request, which httpx does not have.

    Attributes:
        linger_s: for how long each piece after the first one takes in what follows, in seconds.
            Fewer and larger pieces cost less, for a reader that wants only the whole.
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
        self.linger_s = 0.0

    def __aiter__(self) -> "ResponseBody":
        return self

    async def __anext__(self) -> bytes:
        """Return the next piece, which is never empty.

        Raises:
            httpx.TransportError: the body breaks off, or exceeds the bound.
            httpx.StreamClosed: the body has broken off, or was closed before its end.
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
            if self._received:
                piece, is_all = await connection.more(self._between_s, self.linger_s)
            else:
                piece, is_all = await connection.more(self._read_s)
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
    def has_arrived(self) -> bool:
        """Whether nothing more of the body is to be received."""
        return self._connection is None

    @property
    def is_all(self) -> bool:
        """Whether the whole body has been read."""
        return self._connection is None and not self._is_cut and not self._first

    async def read(self) -> bytes:
        """Return the rest of the body."""
        if self._connection is None and not self._is_cut:
            piece, self._first = self._first, b""
            return piece
        return b"".join([piece async for piece in self])

    async def aclose(self) -> None:
        """Close the connection unless the body was read to its end. Does not wait; idempotent."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._is_cut = True
            self._first = b""
            await self._connections.drop(connection)


def check_length(received: int, max_bytes: int | None) -> None:
    """Check the length of a body.

    Args:
        received: the bytes received so far.
        max_bytes: the bound, in bytes; None for none.

    Raises:
        httpx.RemoteProtocolError: the body is longer than the bound.
    """
    if max_bytes is not None and received > max_bytes:
        raise httpx.RemoteProtocolError(f"the body is longer than the {max_bytes} bytes allowed")
