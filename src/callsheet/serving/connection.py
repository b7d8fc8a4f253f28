"""One connection of a client: what Hypercorn's protocols need of Trio, and the time limits."""

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Any, Final, TypeAlias, cast, final

import attrs
import trio
from hypercorn.events import Closed, Event, RawData
from hypercorn.protocol.h11 import H2ProtocolAssumedError
from hypercorn.trio.worker_context import EventWrapper, WorkerContext
from hypercorn.typing import ConnectionState
from starlette.types import ASGIApp, Message, Scope
from trio.abc import Stream

from .limits import ServingLimits
from .protocols import Http1, Http2, ServerConfig
from .proxies import TrustedProxies, address_of
from .request import ServedRequest
from .transport import ClientStream

LOG = logging.getLogger("callsheet.serving")
_MAX_RECV: Final = 64 * 1024
_SLICE: Final = 16 * 1024  # of which a client must take some within the time limit
_MAX_HELD: Final = 64 * 1024  # bytes of the next requests that are taken before their turn
_WRITES: Final = 32  # that need not wait, after which other tasks have their turn

Peer: TypeAlias = tuple[str, int] | None


class _Ended(Exception):
    """The connection has ended while a request waited for its turn."""


@final
@attrs.frozen(eq=False)
class Service:
    """What all connections of a server share.

    Args:
        app: the ASGI app.
        limits: the bounds on clients.
        proxies: the proxies that name the true client.
        config: what Hypercorn's protocols are told.
        context: says Hypercorn's protocols when the server drains.
    """

    app: ASGIApp
    limits: ServingLimits
    proxies: TrustedProxies
    config: ServerConfig
    context: WorkerContext = attrs.field(factory=lambda: WorkerContext(None))
    _reported: set[type[Exception]] = attrs.field(factory=set[type[Exception]], init=False)

    @property
    def is_draining(self) -> bool:
        """Whether connections end after their running requests."""
        return self.context.terminated.is_set()

    def report(self, error: Exception, peer: Peer) -> None:
        """Log why a connection has failed; a client that repeats it does not fill the log.

        Args:
            error: what its tasks have raised.
            peer: the address of the client; None if it is not known.
        """
        first = _first_of(error)
        level = logging.DEBUG if type(first) in self._reported else logging.WARNING
        self._reported.add(type(first))
        LOG.log(level, "a connection of %s has failed: %r", peer, first, exc_info=error)


def _first_of(error: Exception) -> Exception:
    if isinstance(error, ExceptionGroup):
        return _first_of(cast("ExceptionGroup[Exception]", error).exceptions[0])
    return error


@final
class ServedConnection:
    """A connection that is being served; `run` does it once.

    Args:
        service: what all connections share.
        transport: the bytes of the client; closed at the end.
        stream: the same, or TLS above it.
        peer: the address of the client; None for a Unix socket.
        own: the address at which it has connected.
        is_tls: whether it is encrypted.
        protocol: "h2" or "http/1.1", as agreed on.

    Attributes:
        is_holding: whether what is to be sent waits, so that it is sent with what follows it.
    """

    def __init__(
        self,
        service: Service,
        transport: ClientStream,
        stream: Stream,
        *,
        peer: Peer,
        own: Peer,
        is_tls: bool = False,
        protocol: str = "http/1.1",
    ) -> None:
        self._service = service
        self._limits = service.limits
        self._transport = transport
        self._stream = stream
        self._peer = _plain(peer)
        self._own = own
        self._is_tls = is_tls
        self._protocol: Http1 | Http2 = self._http2() if protocol == "h2" else self._http1()
        self._nursery: trio.Nursery  # open while it runs
        self._requests: set[ServedRequest] = set()
        self._send_lock = trio.Lock()
        self._writes = 0  # without a turn for other tasks
        self._unsent = b""  # waits for what follows it
        self.is_holding = False
        self._held = bytearray()  # came before its turn
        self._idle_since = trio.current_time()
        self._head_since: float | None = None  # since when a head is incomplete
        self._reading = trio.CancelScope()
        self._ended = trio.Event()  # nothing more is read
        self._is_broken = False  # nothing more is sent

    def __repr__(self) -> str:
        return f"<ServedConnection {self._peer} {len(self._requests)} requests>"

    @property
    def requests(self) -> int:
        """How many requests run."""
        return len(self._requests)

    @property
    def is_draining(self) -> bool:
        """Whether the connection ends after its running requests."""
        return self._service.is_draining

    async def run(self) -> None:
        """Serve the connection until either side ends it."""
        try:
            async with trio.open_nursery() as self._nursery:
                await self._protocol.initiate()
                await self._read()
                # Running requests are told that the client is gone, and may take their time.
                await self._protocol.handle(Closed())
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        except* Exception as group:  # noqa: BLE001  # one client must not end the others
            self._service.report(group, self._peer)
            self.cut()
        finally:
            try:
                await self._close()
            finally:
                vars(self._protocol).clear()  # it names the connection, which would be a cycle

    def cut(self) -> None:
        """Close the connection at once; running requests are told that the client is gone."""
        self._end()
        self._is_broken = True
        self._transport.cut()
        for request in self._requests:
            request.leave()

    def drain(self) -> None:
        """End the connection as soon as no request runs; after the service has begun to drain."""
        self._end_if_drained()

    async def _close(self) -> None:
        """Close the stream; TLS says so to the client, which may take nothing."""
        with trio.move_on_after(self._limits.write_timeout_s + self._limits.linger_s):
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await self._stream.aclose()
                return
        self._transport.cut()

    # ------------------------------------------------------------------------------ reading

    async def _read(self) -> None:
        while not self._ended.is_set():
            if self._held:
                data = bytes(self._held)
                self._held.clear()
            else:
                data = await self._receive(self._deadline())
                if not data:
                    break
            try:
                await self._handle(data)
            except _Ended:
                break
            if self._ended.is_set():  # by an answer to bytes that are no request
                self._transport.expects_bytes = True
            elif self._requests:
                self._head_since = None
            elif self._head_since is None and isinstance(self._protocol, Http1):
                self._head_since = trio.current_time()

    async def _receive(self, deadline: float) -> bytes:
        """Return bytes; b"" when nothing more is read."""
        with trio.CancelScope(deadline=deadline) as self._reading:
            try:
                return bytes(await self._stream.receive_some(_MAX_RECV))
            except trio.BrokenResourceError:
                self._is_broken = True
            except trio.ClosedResourceError:
                pass
            return b""
        if not self._ended.is_set():
            await self._time_out()
        return b""

    async def _time_out(self) -> None:
        """Say why the connection ends, as far as the protocol can."""
        if isinstance(self._protocol, Http2):
            await self._protocol.announce_end()
        elif self._head_since is not None:
            self._transport.expects_bytes = True
            await self._protocol.refuse_head(HTTPStatus.REQUEST_TIMEOUT)

    def _deadline(self) -> float:
        if self._requests:
            return float("inf")
        if self._head_since is not None:
            return self._head_since + self._limits.header_timeout_s
        return self._idle_since + self._limits.keep_alive_s

    async def _handle(self, data: bytes) -> None:
        try:
            await self._protocol.handle(RawData(data))
        except H2ProtocolAssumedError as error:
            self._protocol = self._http2()
            await self._protocol.initiate()
            await self._protocol.handle(RawData(error.data))

    async def read_ahead(self, scope: trio.CancelScope) -> None:
        """Read while the next request waits for its turn, so that a disconnect is noticed.

        Args:
            scope: cancelled when it is its turn.

        Raises:
            _Ended: the connection ends meanwhile.
        """
        with scope:
            while not self._ended.is_set() and len(self._held) < _MAX_HELD:
                data = await self._receive(float("inf"))
                if not data:
                    self._end()
                    await self._protocol.handle(Closed())
                    break
                self._held += data
            if not self._ended.is_set():
                await trio.sleep_forever()
        if self._ended.is_set():
            raise _Ended

    def _end(self) -> None:
        """Read no more."""
        self._ended.set()
        self._reading.cancel()

    # ------------------------------------------------------------------------------ writing

    async def _send(self, event: Event) -> None:
        """Do what a protocol wants."""
        if isinstance(event, RawData):
            await self._write(event.data)
        elif isinstance(event, Closed):
            self._end()
            await self._protocol.handle(event)

    async def flush(self) -> None:
        """Send what waits for what follows it."""
        if self._unsent:
            await self._write(b"")

    async def _write(self, data: bytes) -> None:
        data, self._unsent = self._unsent + data, b""
        if self.is_holding:
            self._unsent = data
        if self.is_holding or not data:
            return
        try:
            if self._is_broken:
                return
            if not self._send_lock.locked() and self._stream is self._transport:
                data = self._transport.send_now(data)
            if data:
                await self._write_rest(data)
            else:
                self._writes = (self._writes + 1) % _WRITES
                if not self._writes:
                    await trio.lowlevel.cancel_shielded_checkpoint()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._is_broken = True
        if self._is_broken:
            self._end()
            await self._protocol.handle(Closed())

    async def _write_rest(self, data: bytes) -> None:
        """Write what the socket does not take at once."""
        try:
            self._send_lock.acquire_nowait()  # at once, if the start of the data is sent
        except trio.WouldBlock:
            await self._send_lock.acquire()
        try:
            for start in range(0, len(data), _SLICE):
                if not self._is_broken:
                    await self._write_slice(data[start : start + _SLICE])
        finally:
            self._send_lock.release()

    async def _write_slice(self, data: bytes) -> None:
        """Write whole, because a rest would be unreadable, or cut a client that takes nothing."""
        deadline = trio.current_time() + self._limits.write_timeout_s
        with trio.CancelScope(deadline=deadline, shield=True) as scope:
            await self._stream.send_all(data)
        if scope.cancelled_caught:
            self._transport.cut()
            raise trio.BrokenResourceError("the client takes nothing")

    # ----------------------------------------------------------------------------- requests

    async def spawn_app(
        self,
        _app: object,
        _config: object,
        scope: Scope,
        send: Callable[[Message | None], Awaitable[None]],
    ) -> Callable[[Message], Awaitable[None]]:
        """Begin to serve a request, and return what takes its body; called by Hypercorn."""
        if scope["type"] != "http":
            self._nursery.start_soon(_refuse_web_socket, send)
            return _drop
        protocol = self._protocol
        resume: Callable[[], Awaitable[None]] | None = None
        if isinstance(protocol, Http2):
            resume = partial(protocol.resume, protocol.beginning)
        request = ServedRequest(
            scope,
            send,
            connection=self,
            limits=self._limits,
            proxies=self._service.proxies,
            resume=resume,
        )
        scope["client"] = self._peer
        self._requests.add(request)
        self._nursery.start_soon(self._serve, request)
        return request.put

    def spawn(self, work: Callable[..., Awaitable[object]], *args: object) -> None:
        """Begin to run a task of Hypercorn."""
        self._nursery.start_soon(work, *args)

    async def _serve(self, request: ServedRequest) -> None:
        try:
            await request.run(self._service.app)
        finally:
            self._requests.discard(request)
            self._transport.expects_bytes |= not request.is_complete
            if not self._requests:
                self._idle_since = trio.current_time()
                self._reading.deadline = self._deadline()
                self._end_if_drained()

    def _end_if_drained(self) -> None:
        """End the connection if the server drains, no request runs, and everything is written.

        Hypercorn ends one of HTTP/1.1 with a response that ends during the drain. One may have
        ended right before it, while its app has not returned.
        """
        protocol = self._protocol
        if not self.is_draining or self._requests or self._ended.is_set():
            return
        if not isinstance(protocol, Http2):
            self._end()
        elif protocol.is_flushed:
            self._nursery.start_soon(self._announce_end, protocol)

    async def _announce_end(self, protocol: Http2) -> None:
        await protocol.announce_end()
        self._end()

    # ----------------------------------------------------------------------------- protocols

    def _http1(self) -> Http1:
        protocol = Http1(*self._arguments(), max_body_bytes=self._limits.max_body_bytes)
        turn = protocol.can_read = _Turn()
        turn.connection = self
        return protocol

    def _http2(self) -> Http2:
        return Http2(*self._arguments(), flushed=self._end_if_drained)

    def _arguments(self) -> tuple[Any, ...]:
        service = self._service
        return (
            *(service.app, service.config, service.context, self, ConnectionState({})),
            *(self._is_tls, self._peer, self._own, self._send),
        )


@final
class _Turn(EventWrapper):
    """The turn of a request that came before the response to the previous one."""

    connection: ServedConnection

    def __init__(self) -> None:
        super().__init__()
        self._scope = trio.CancelScope()

    async def clear(self) -> None:
        self._scope = trio.CancelScope()

    async def set(self) -> None:
        self._scope.cancel()

    async def wait(self) -> None:
        await self.connection.read_ahead(self._scope)


async def _refuse_web_socket(send: Callable[[Message | None], Awaitable[None]]) -> None:
    await send({"type": "websocket.close"})
    await send(None)


async def _drop(message: Message) -> None:
    """Take a message of a web socket, which is refused."""


def _plain(peer: Peer) -> Peer:
    """Return an address of IPv4 as such, also if it is mapped into IPv6."""
    address = None if peer is None else address_of(peer[0])
    return peer if peer is None or address is None else (str(address), peer[1])
