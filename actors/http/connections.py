"""Open, close, wait for and reuse connections, as `ConnectionPool` decides."""

import ssl
from collections.abc import Awaitable, Callable, Mapping
from math import inf
from typing import Literal, cast, final

import httpx
import trio

from .connection import Connection, close_now
from .environment import default_tls_context
from .pool import NEW, ConnectionGrant, ConnectionPool, New, Origin, PoolStatistics
from .streams import SocketStream, TlsStream

OpenStream = Callable[[str, int], Awaitable[trio.abc.Stream]]
Verify = Literal["certifi", "system"] | ssl.SSLContext
_ALPN = "http/1.1"
_BUFFER_BYTES = 64 * 1024


@final
class Connector:
    """Open streams to origins: TCP, and TLS over it where the scheme is https.

    Args:
        open_stream: connects to a host and port.
        verify: the certificate authorities to trust: those of "certifi" (or of SSL_CERT_FILE,
            SSL_CERT_DIR or REQUESTS_CA_BUNDLE in the environment), those of the "system", or those
            of a context.

    Raises:
        ValueError: `verify` is none of these.
    """

    def __init__(self, open_stream: OpenStream, verify: Verify) -> None:
        given = cast("object", verify)  # callers may not check types
        if given not in ("certifi", "system") and not isinstance(given, ssl.SSLContext):
            raise ValueError(f'verify must be "certifi", "system" or an SSLContext, not {verify!r}')
        self._open_stream = open_stream
        self._verify: Verify = verify
        self._buffer = bytearray(_BUFFER_BYTES)

    async def connect(self, origin: Origin, seconds: float | None) -> trio.abc.Stream:
        """Open a stream that carries HTTP/1.1.

        Args:
            origin: scheme, host and port.
            seconds: the bound on connection and TLS handshake; None for none.

        Raises:
            httpx.ConnectError: no connection, or no trusted server.
            httpx.ConnectTimeout: it took longer than `seconds`.
        """
        scheme, host, port = origin
        deadline = inf if seconds is None else trio.current_time() + seconds
        with trio.CancelScope(deadline=deadline):
            try:
                stream = await self._open_stream(host, port)
                if isinstance(stream, trio.SocketStream):
                    stream = SocketStream(stream, self._buffer)
                return await self._secure(stream, host) if scheme == "https" else stream
            except (OSError, ValueError, trio.BrokenResourceError) as error:
                # ValueError: the name of the host contains what cannot be looked up.
                raise httpx.ConnectError(
                    f"cannot connect to {host}:{port}: {_reason(error)}"
                ) from error
        raise httpx.ConnectTimeout(f"cannot connect to {host}:{port} within {seconds:g} s")

    async def _secure(self, stream: trio.abc.Stream, host: str) -> trio.abc.Stream:
        secure: trio.abc.Stream = stream
        try:
            if isinstance(stream, SocketStream):
                secure = tls = TlsStream(stream, self._context(), host)
                _check_protocol(await tls.handshake(), host)
            else:
                secure = layer = trio.SSLStream(
                    stream, self._context(), server_hostname=host, https_compatible=True
                )
                await layer.do_handshake()
                _check_protocol(layer.selected_alpn_protocol(), host)
        except BaseException:
            await close_now(secure)
            raise
        return secure

    def _context(self) -> ssl.SSLContext:
        """Return the TLS context, made when it is first needed: that takes 20 ms."""
        if not isinstance(self._verify, ssl.SSLContext):
            is_system = self._verify == "system"
            context = ssl.create_default_context() if is_system else default_tls_context()
            context.set_alpn_protocols([_ALPN])
            self._verify = context
        return self._verify


def _check_protocol(chosen: str | None, host: str) -> None:
    if chosen not in (None, _ALPN):
        raise httpx.ConnectError(
            f"{host} selected {chosen}, which the TLS context offers; let it offer {_ALPN} only"
        )


def _reason(error: Exception) -> str:
    """Return the reason of an error that Trio has wrapped."""
    cause = error.__cause__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"{cause.verify_message}; to trust its authority, name it in SSL_CERT_FILE"
    if isinstance(cause, ExceptionGroup):  # one for each address that was tried
        return str(cast("ExceptionGroup[Exception]", cause).exceptions[0])
    return str(cause or error) or "the connection broke"


@final
class _ConnectionWaiter:
    """A request that waits for a connection."""

    __slots__ = ("lease", "task")

    def __init__(self, task: trio.lowlevel.Task) -> None:
        self.task = task
        self.lease: Connection | New | None = None  # None: the transport was closed


@final
class Connections:
    """The open connections. Each one acquired is given back or dropped, once.

    Args:
        connector: opens the connections.
        max_connections: how many may be open at a time, over all origins.
        max_idle_s: how long an idle connection is kept, in seconds.
        max_header_bytes: the bound on the head of a response, in bytes.
    """

    def __init__(
        self,
        connector: Connector,
        *,
        max_connections: int,
        max_idle_s: float,
        max_header_bytes: int,
    ) -> None:
        self._connector = connector
        self._max_header_bytes = max_header_bytes
        self._pool: ConnectionPool[Connection, _ConnectionWaiter] = ConnectionPool(
            max_connections, max_idle_s
        )
        self._in_use: set[Connection] = set()

    def statistics(self) -> PoolStatistics:
        """Return how many connections there are, and how many requests wait for one."""
        return self._pool.statistics()

    async def acquire(self, origin: Origin, timeouts: Mapping[str, float | None]) -> Connection:
        """Return a connection to an origin: an idle one that is alive, or a new one.

        Args:
            origin: scheme, host and port.
            timeouts: the bounds, in seconds, on the wait for a place ("pool") and on "connect".

        Raises:
            httpx.PoolTimeout: no place became free in time.
            httpx.ConnectError: no connection could be opened, or the transport is closed.
            httpx.ConnectTimeout: the connection was not opened in time.
        """
        pool = self._pool
        while True:
            if pool.is_closed:
                raise httpx.ConnectError("the transport is closed")
            lease = pool.take(origin, trio.current_time())
            if lease is None:
                lease = await self._wait(origin, timeouts.get("pool"))
            if lease is NEW:
                return await self._open(origin, timeouts.get("connect"))
            self._in_use.add(lease)
            try:
                if pool.doomed:
                    await self._close_doomed()
                if not pool.is_closed and await lease.is_alive():
                    return lease
            except BaseException:
                await self.drop(lease)
                raise
            await self.drop(lease)

    async def give_back(self, connection: Connection) -> None:
        """Return a connection whose exchange has ended; it is kept if it can be reused.

        Args:
            connection: an acquired one.
        """
        if not connection.is_reusable:
            await self.drop(connection)
            return
        self._in_use.remove(connection)
        self._wake(self._pool.put_back(connection, connection.origin, trio.current_time()))
        if self._pool.doomed:
            await self._close_doomed()

    async def drop(self, connection: Connection) -> None:
        """Close a connection.

        Args:
            connection: an acquired one.
        """
        self._in_use.remove(connection)
        self._pool.doomed.append(connection)
        self._wake(self._pool.free())
        await self._close_doomed()

    async def aclose(self) -> None:
        """Close every connection. Requests in flight fail."""
        for waiter in self._pool.close():
            trio.lowlevel.reschedule(waiter.task)
        self._pool.doomed.extend(self._in_use)  # the request on it fails, and drops it again
        await self._close_doomed()

    async def _wait(self, origin: Origin, seconds: float | None) -> Connection | New:
        waiter = _ConnectionWaiter(trio.lowlevel.current_task())

        def abort(_: object) -> trio.lowlevel.Abort:
            self._pool.withdraw(waiter)
            return trio.lowlevel.Abort.SUCCEEDED

        deadline = inf if seconds is None else trio.current_time() + seconds
        with trio.CancelScope(deadline=deadline) as scope:
            self._pool.wait(waiter, origin)
            await trio.lowlevel.wait_task_rescheduled(abort)
        if scope.cancelled_caught:
            raise httpx.PoolTimeout(f"no connection was free within {seconds:g} s")
        if waiter.lease is None:
            raise httpx.ConnectError("the transport was closed")
        return waiter.lease

    def _wake(self, grant: ConnectionGrant[Connection, _ConnectionWaiter] | None) -> None:
        if grant is not None:
            grant.waiter.lease = grant.lease
            trio.lowlevel.reschedule(grant.waiter.task)

    async def _open(self, origin: Origin, seconds: float | None) -> Connection:
        try:
            if self._pool.doomed:
                await self._close_doomed()
            stream = await self._connector.connect(origin, seconds)
        except BaseException:
            self._wake(self._pool.free())
            raise
        connection = Connection(stream, origin, self._max_header_bytes)
        self._in_use.add(connection)
        if self._pool.is_closed:
            await self.drop(connection)
            raise httpx.ConnectError("the transport was closed")
        return connection

    async def _close_doomed(self) -> None:
        """Close the connections that have lost their place, without waiting."""
        doomed = self._pool.doomed
        while doomed:
            await doomed.pop().aclose()
