"""One connection: send a request over a stream, and receive its response.

`may_have_run` returns whether the server may have worked on a request that failed.
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

_BEFORE_SENDING = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,  # what was sent of it was no whole request
)


class StaleConnection(httpx.RemoteProtocolError):
    """The server closed a reused connection before the first byte of a response.

    In most cases the server closed the idle connection while the request was in transit, and never
    saw the request (RFC 9112, section 9.3.1). But it may also have crashed while it worked on the
    request. The two cannot be told apart for certain, so the request is not sent again here;
    `seconds` tells them apart in practice.

    Attributes:
        reused: always True: the connection had carried a request before.
        whole: whether the whole request had been passed to the operating system. If not, the
            server cannot have acted upon it.
        seconds: from the start of sending to the end of the connection. The end of an idle
            connection shows within a round trip; a server that crashes takes longer.
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
    """Return whether the server may have acted upon a failed request, and charge for it (L3).

    False is certain: no connection was made, or no whole request was sent over it.

    Args:
        error: raised when the request was sent, or its response received.
    """
    if isinstance(error, StaleConnection):
        return error.whole
    return not isinstance(error, _BEFORE_SENDING)


_CHUNK = 64 * 1024  # bytes received, or sent of a long body, at a time
_MOST_AT_ONCE = 16 * _CHUNK  # bytes received before they are read
_INSTANT_S = 0.001  # enough to receive what has arrived already
_BROKEN = (trio.BrokenResourceError, trio.ClosedResourceError)


async def close_now(stream: trio.abc.AsyncResource) -> None:
    """Close a stream without waiting, even while the task is being cancelled.

    Args:
        stream: the stream to close.
    """
    if isinstance(stream, QuickStream):
        stream.close()
        return
    with trio.CancelScope(shield=True) as scope:
        scope.cancel()
        with suppress(*_BROKEN):  # then it is closed already
            await stream.aclose()


@final
class Connection:
    """A stream that carries one exchange after another.

    After an exception or a cancellation only `aclose` may be called.

    Args:
        stream: the stream to the server.
        origin: scheme, host and port of the server.
        max_header_bytes: the bound on the head of a response, in bytes.
    """

    __slots__ = (
        "_broken",
        "_failure",
        "_has_response",
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
        self._since = 0.0  # when the last one began
        self._keeps_alive = True  # unless the last request closes the connection
        self._is_sent = False  # nothing more of the request will be sent,
        self._whole = False  # because all of it was sent,
        self._broken: Exception | None = None  # or because of this error
        self._has_response = False  # some bytes of a response have arrived
        self._failure: httpx.TransportError | None = None  # to raise once what came before is read

    async def is_alive(self) -> bool:
        """Return whether the connection can be used: no data and no end since the last response.

        A socket is checked without waiting. Any other stream is read for an instant.
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
        """Send a request, and wait for the head of its response.

        Args:
            outgoing: the encoded request to send.
            write: the longest time for each piece to be sent, in seconds; None for no bound.
            read: the longest silence of the server after that, in seconds; None for no bound.

        Raises:
            httpx.TransportError: there is no response.
        """
        self._requests += 1
        self._since = trio.current_time()
        self._keeps_alive = outgoing.keeps_alive
        self._is_sent = self._whole = self._has_response = False
        self._parser.begin(outgoing.method)
        if outgoing.pieces is not None or len(outgoing.data) > _CHUNK:
            return await self._exchange_long(outgoing, write, read)
        self._whole = await self._write_short(outgoing.take(), write)
        self._is_sent = True
        if read is None:
            return await self._head()
        with trio.CancelScope(deadline=_at(read)) as scope:
            return await self._head(scope, read)
        raise self._timeout()

    def available(self) -> tuple[bytes, bool]:
        """Return what has arrived of the response's body, and whether the body ends with it."""
        return self._parser.take(), self._parser.is_complete

    async def more(self, read: float | None, linger_s: float = 0.0) -> tuple[bytes, bool]:
        """Wait for more of the response's body, and return it as `available` does.

        Args:
            read: the longest silence of the server, in seconds; None for no bound.
            linger_s: for how long to receive what follows as well, in seconds; silence may last as
                long once more.

        Raises:
            httpx.TransportError: the response breaks off.
        """
        piece, is_all = b"", False
        while not (piece or is_all):
            if self._failure is not None:
                raise self._failure
            await self._receive_within(read)
            if linger_s and not self._parser.is_complete and isinstance(self._stream, QuickStream):
                await self._linger(linger_s)
            piece, is_all = self.available()
        return piece, is_all

    async def _receive_within(self, seconds: float | None) -> None:
        if seconds is None:
            await self._receive()
            return
        with trio.move_on_after(seconds):
            await self._receive()
            return
        raise self._timeout()

    async def _linger(self, seconds: float) -> None:
        """Receive what follows soon. Cancelling the receipt loses nothing in a `QuickStream`.

        What has arrived may move the deadline of the task, so it is returned well before that.
        """
        now = trio.current_time()
        seconds = min(seconds, (trio.current_effective_deadline() - now) / 4)
        until, received = now + seconds, 0
        with trio.CancelScope(deadline=until + seconds):
            while not self._parser.is_complete and received < _MOST_AT_ONCE:
                try:
                    received += await self._receive()
                except httpx.TransportError as error:
                    self._failure = error
                    return
                if trio.current_time() >= until:
                    return

    @property
    def is_reusable(self) -> bool:
        """Whether another exchange is possible."""
        return self._whole and self._keeps_alive and self._parser.keeps_alive

    async def aclose(self) -> None:
        """Close the connection without waiting, even while the task is being cancelled."""
        self._parser.close()
        await close_now(self._stream)

    async def _write_short(self, data: bytes, write: float | None) -> bool:
        """Send a short request. Most sockets accept it at once, so that no deadline is needed."""
        left: bytes | memoryview = data
        if isinstance(self._stream, QuickStream):
            try:
                left = self._stream.send_now(data)
            except _BROKEN as error:
                self._broken = error
                return False
            if not left:
                return True
        with trio.CancelScope(deadline=_at(write)):
            return await self._write(left)
        raise self._timeout()

    async def _exchange_long(
        self, outgoing: Outgoing, write: float | None, read: float | None
    ) -> Head:
        """Exchange a long body: the server may respond before it has received all of it."""
        head: Head | None = None
        failures: list[Exception] = []
        async with trio.open_nursery() as nursery:
            scope = nursery.cancel_scope
            nursery.start_soon(self._send, outgoing, scope, write, read, failures)
            try:
                head = await self._head(scope, read)
            except Exception as error:  # noqa: BLE001  # raised below, outside the nursery
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
        """Send a long body; each piece moves the scope's deadline."""
        try:
            whole = await self._write_long(outgoing.take(), scope, write)
            if whole and outgoing.pieces is not None:
                whole = await self._write_pieces(outgoing, outgoing.pieces, scope, write)
        except Exception as error:  # noqa: BLE001  # raised outside the nursery
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
        scope.deadline = inf  # the next piece may take any time to be made
        return True

    async def _write(self, data: bytes | memoryview) -> bool:
        """Send some bytes; return False if the server has closed, maybe after a response."""
        try:
            await self._stream.send_all(data)
        except _BROKEN as error:
            self._broken = error
            return False
        return True

    async def _head(self, scope: trio.CancelScope | None = None, read: float | None = None) -> Head:
        parser = self._parser
        await self._receive()
        while parser.head is None:
            if self._is_sent and scope is not None:
                scope.deadline = _at(read)
            await self._receive()
        return parser.head

    async def _receive(self) -> int:
        """Wait for more of the response; return its length in bytes, 0 at the end."""
        try:
            data = await self._stream.receive_some(_CHUNK)
        except _BROKEN as error:
            raise self._lost(error) from self._broken or error
        try:
            if data:
                self._has_response = True
                self._parser.feed(data)
            elif self._has_response:
                self._parser.end()
            else:
                raise self._lost(None) from self._broken
        except ProtocolError as error:
            raise httpx.RemoteProtocolError(f"{self._name} violated HTTP: {error}") from None
        return len(data)

    def _lost(self, error: Exception | None) -> httpx.TransportError:
        """Return the error of a connection that has ended, with an error or without one."""
        if self._requests > 1 and not self._has_response:
            return StaleConnection(
                f"{self._name} closed a reused connection without a response",
                whole=self._whole,
                seconds=trio.current_time() - self._since,
            )
        if self._broken is not None:
            return httpx.WriteError(f"{self._name} did not accept the whole request")
        if error is not None:
            return httpx.ReadError(f"the connection to {self._name} broke: {error}")
        return httpx.RemoteProtocolError(f"{self._name} closed the connection without a response")

    def _timeout(self) -> httpx.TimeoutException:
        if self._is_sent:
            return httpx.ReadTimeout(f"{self._name} sent nothing within the read timeout")
        return httpx.WriteTimeout(f"{self._name} accepted nothing within the write timeout")

    @property
    def _name(self) -> str:
        return f"{self.origin[1]}:{self.origin[2]}"


def _at(seconds: float | None) -> float:
    return inf if seconds is None else trio.current_time() + seconds


async def _end(iterator: AsyncIterator[bytes]) -> None:
    """Close an iterator that was not exhausted: Trio reports generators left suspended."""
    close = getattr(iterator, "aclose", None)
    if close is not None:
        await close()
