"""One connection: a request goes out over a stream, an answer comes in.

What a failed request says about money: whether the server may have worked on it.
"""

from collections.abc import AsyncIterator
from contextlib import suppress
from math import inf
from typing import final

import httpx
import trio

from .head import Outgoing
from .pool import Origin
from .response_parser import Head, ProtocolError, ResponseParser
from .streams import QuickStream

__all__ = [
    "Connection",
    "StaleConnection",
    "close_now",
    "may_have_run",
]


_BEFORE_SENDING = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,  # what was sent of it, if anything, was no whole request
)


class StaleConnection(httpx.RemoteProtocolError):
    """A kept connection was closed by the server before one byte of an answer came.

    Mostly the server had closed it for being idle while the request was on its way, and never saw
    the request (RFC 9112, section 9.3.1). But it may also have died over the request. Nobody can
    know, and so nothing is sent again here; how long it took tells the two apart in practice.

    Attributes:
        reused: always True: the connection had carried a request before.
        whole: whether the whole request had been handed to the operating system. If not, the
            server cannot have acted upon it.
        seconds: from the start of sending to the end. An idle connection's end shows within a
            round trip; a server that dies over a request has worked on it first.
    """

    reused = True

    def __init__(
        self,
        message: str,
        *,
        whole: bool,
        seconds: float,
        request: httpx.Request | None = None,
    ) -> None:
        super().__init__(message, request=request)
        self.whole = whole
        self.seconds = seconds


def may_have_run(error: httpx.RequestError) -> bool:
    """Whether the server may have acted upon a request that failed so, and charge for it (L3).

    False is certain: no connection was made, or no whole request was sent over it.

    Args:
        error: what sending the request, or reading its answer, raised.
    """
    if isinstance(error, StaleConnection):
        return error.whole
    return not isinstance(error, _BEFORE_SENDING)


_CHUNK = 64 * 1024  # received, and of a long body sent, at a time
_INSTANT_S = 0.001  # for what has come already to be received
_BROKEN = (trio.BrokenResourceError, trio.ClosedResourceError)


async def close_now(stream: trio.abc.AsyncResource) -> None:
    """Close without waiting, whether the task is being cancelled or not."""
    if isinstance(stream, QuickStream):
        stream.close()
        return
    with trio.CancelScope(shield=True) as scope:
        scope.cancel()
        with suppress(*_BROKEN):  # then it is closed
            await stream.aclose()


@final
class Connection:
    """A stream that carries one exchange after another.

    After an exception, a cancellation included, the connection is good for nothing but `aclose`.

    Args:
        stream: to the server.
        origin: the server.
        max_header_bytes: of the head of an answer.
    """

    __slots__ = (
        "_answered",
        "_broken",
        "_is_sent",
        "_keeps_alive",
        "_parser",
        "_requests",
        "_since",
        "_stream",
        "_whole",
        "origin",
    )

    def __init__(self, stream: trio.abc.Stream, origin: Origin, max_header_bytes: int) -> None:
        self.origin = origin
        self._stream = stream
        self._parser = ResponseParser(max_header_bytes)
        self._requests = 0  # begun
        self._since = 0.0  # when the last one was
        self._keeps_alive = True  # as far as that one is concerned
        self._is_sent = False  # no more of it will be sent,
        self._whole = False  # because it all was,
        self._broken: Exception | None = None  # or because of this
        self._answered = False  # something has come back

    async def is_alive(self) -> bool:
        """Whether nothing has come since the last answer: neither data nor the end.

        A socket is looked at without waiting. Any other stream is read from for an instant.
        """
        if isinstance(self._stream, QuickStream):
            return self._stream.is_quiet()
        with trio.move_on_after(_INSTANT_S):
            with suppress(*_BROKEN):
                await self._stream.receive_some(1)
            return False
        return True

    async def exchange(
        self, outgoing: Outgoing, *, write: float | None, read: float | None
    ) -> Head:
        """Send a request, and wait for the head of its answer.

        Args:
            outgoing: the request.
            write: seconds for each piece that is sent; None for as long as it takes.
            read: seconds that the server may be silent after that.

        Raises:
            httpx.TransportError: there is no answer.
        """
        self._requests += 1
        self._since = trio.current_time()
        self._keeps_alive = outgoing.keeps_alive
        self._is_sent = self._whole = self._answered = False
        self._parser.begin(outgoing.method)
        if outgoing.pieces is not None or len(outgoing.data) > _CHUNK:
            return await self._exchange_long(outgoing, write, read)
        with trio.CancelScope(deadline=_at(write)) as scope:
            self._whole = await self._write(outgoing.take())
            self._is_sent = True
            scope.deadline = _at(read)
            return await self._head(scope, read)
        raise self._timeout()

    def available(self) -> tuple[bytes, bool]:
        """What has been received of the answer's body, and whether that is the end of it."""
        return self._parser.take(), self._parser.is_complete

    async def more(self, read: float | None) -> tuple[bytes, bool]:
        """Wait for more of the answer's body, and return it as `available` does.

        Args:
            read: seconds that the server may be silent.

        Raises:
            httpx.TransportError: the answer breaks off.
        """
        piece, is_all = b"", False
        while not (piece or is_all):
            with trio.CancelScope(deadline=_at(read)) as scope:
                await self._receive()
            if scope.cancelled_caught:
                raise self._timeout()
            piece, is_all = self.available()
        return piece, is_all

    @property
    def is_reusable(self) -> bool:
        """Whether there can be another exchange."""
        return self._whole and self._keeps_alive and self._parser.keeps_alive

    async def aclose(self) -> None:
        """Close it, without waiting and whether the task is being cancelled or not."""
        await close_now(self._stream)

    async def _exchange_long(
        self, outgoing: Outgoing, write: float | None, read: float | None
    ) -> Head:
        """The same for a body that takes its time: the server may answer before it has it all."""
        head: Head | None = None
        failures: list[Exception] = []
        async with trio.open_nursery() as nursery:
            scope = nursery.cancel_scope
            nursery.start_soon(self._send, outgoing, scope, write, read, failures)
            try:
                head = await self._head(scope, read)
            except Exception as error:  # noqa: BLE001  # it goes on below, outside the nursery
                failures.append(error)
            scope.cancel()
        if head is not None:
            return head
        raise failures[0] if failures else self._timeout()

    async def _send(
        self,
        outgoing: Outgoing,
        scope: trio.CancelScope,
        write: float | None,
        read: float | None,
        failures: list[Exception],
    ) -> None:
        """Send a long body. The scope's deadline is moved on with each piece."""
        try:
            whole = await self._write_long(outgoing.take(), scope, write)
            if whole and outgoing.pieces is not None:
                whole = await self._write_pieces(outgoing, outgoing.pieces, scope, write)
        except Exception as error:  # noqa: BLE001  # it goes on outside the nursery
            failures.append(error)
            scope.cancel()
            return
        self._whole = whole
        self._is_sent = True
        scope.deadline = _at(read)

    async def _write_pieces(
        self,
        outgoing: Outgoing,
        pieces: httpx.AsyncByteStream,
        scope: trio.CancelScope,
        write: float | None,
    ) -> bool:
        iterator = aiter(pieces)
        try:
            async for piece in iterator:
                if not await self._write_long(outgoing.frame(piece), scope, write):
                    return False
            return await self._write_long(outgoing.end(), scope, write)
        finally:
            await _end(iterator)

    async def _write_long(self, data: bytes, scope: trio.CancelScope, write: float | None) -> bool:
        with memoryview(data) as view:
            for start in range(0, len(data), _CHUNK):
                scope.deadline = _at(write)
                if not await self._write(view[start : start + _CHUNK]):
                    return False
        scope.deadline = inf  # whoever makes the next piece may take his time
        return True

    async def _write(self, data: bytes | memoryview) -> bool:
        """Send; False if nobody takes it: there may be an answer that says why."""
        try:
            await self._stream.send_all(data)
        except _BROKEN as error:
            self._broken = error
            return False
        return True

    async def _head(self, scope: trio.CancelScope, read: float | None) -> Head:
        parser = self._parser
        await self._receive()
        while parser.head is None:
            if self._is_sent:
                scope.deadline = _at(read)
            await self._receive()
        return parser.head

    async def _receive(self) -> None:
        """Wait for more of the answer."""
        try:
            data = await self._stream.receive_some(_CHUNK)
        except _BROKEN as error:
            raise self._lost(error) from self._broken or error
        try:
            if data:
                self._answered = True
                self._parser.feed(data)
            elif self._answered:
                self._parser.end()
            else:
                raise self._lost(None) from self._broken
        except ProtocolError as error:
            raise httpx.RemoteProtocolError(f"{self._name} broke HTTP: {error}") from None

    def _lost(self, error: Exception | None) -> httpx.TransportError:
        """The connection has ended, with an error or without one."""
        if self._requests > 1 and not self._answered:
            return StaleConnection(
                f"{self._name} closed a kept connection instead of answering",
                whole=self._whole,
                seconds=trio.current_time() - self._since,
            )
        if self._broken is not None:
            return httpx.WriteError(f"{self._name} did not take the whole request")
        if error is not None:
            return httpx.ReadError(f"the connection to {self._name} broke: {error}")
        return httpx.RemoteProtocolError(f"{self._name} closed the connection without an answer")

    def _timeout(self) -> httpx.TimeoutException:
        if self._is_sent:
            return httpx.ReadTimeout(f"{self._name} sent nothing for too long")
        return httpx.WriteTimeout(f"{self._name} took nothing for too long")

    @property
    def _name(self) -> str:
        return f"{self.origin[1]}:{self.origin[2]}"


def _at(seconds: float | None) -> float:
    return inf if seconds is None else trio.current_time() + seconds


async def _end(iterator: AsyncIterator[bytes]) -> None:
    """End an iterator that was not read to its end: Trio reports generators left suspended."""
    close = getattr(iterator, "aclose", None)
    if close is not None:
        await close()
