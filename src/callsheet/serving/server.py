"""Serve an ASGI app: accept clients, end gently or at once."""

import math
from functools import partial
from typing import Final, cast, final

import attrs
import trio
from starlette.types import ASGIApp
from trio.abc import Stream

from .address import Bound, Listen, bind
from .connection import Peer, ServedConnection, Service
from .limits import ServingLimits, allowed_connections
from .protocols import ServerConfig
from .proxies import TrustedProxies
from .tls import Tls
from .transport import ClientStream, reset_socket

_MAX_REFUSALS: Final = 128  # clients above the most that are told so at a time
_MAX_HEAD: Final = 64 * 1024
_REFUSAL_S: Final = 2.0
_REASON: Final = b"too many clients are connected\n"
_REFUSAL: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\n"
    b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nserver: callsheet\r\n\r\n%b"
) % (len(_REASON), _REASON)


@final
@attrs.frozen
class ServingStatistics:
    """The clients of a server at one moment.

    Args:
        connections: how many are connected.
        requests: how many requests run.
        refused: how many clients were refused since the start, because too many were connected.
    """

    connections: int
    requests: int
    refused: int


@final
class Serving:
    """A server that runs; `serve` makes it.

    Args:
        service: the app, and what all connections share.
        bound: the sockets that listen.
        tls: the certificate; None if connections are not encrypted.
        most: how many clients may be connected at a time.

    Attributes:
        listen: the address at which it listens, with the port that is used.
    """

    def __init__(self, service: Service, bound: Bound, tls: Tls | None, most: int) -> None:
        self.listen = bound.listen
        self._service = service
        self._bound = bound
        self._tls = tls
        self._most = most
        self._connections: set[ServedConnection] = set()
        self._clients: set[ClientStream] = set()  # also those without a connection yet
        self._refused = 0
        self._accepting = trio.CancelScope()
        self._serving = trio.CancelScope()
        self._left = trio.lowlevel.ParkingLot()  # waits for clients to leave
        self._ended = trio.Event()

    def __repr__(self) -> str:
        return f"<Serving {self.url} {len(self._clients)} clients>"

    @property
    def url(self) -> str:
        """The URL of the server, without a slash at the end; of a Unix socket, its path."""
        if self.listen.path:
            return str(self.listen)
        return f"{'https' if self._tls else 'http'}://{self.listen}"

    def statistics(self) -> ServingStatistics:
        """Return what the clients do at this moment."""
        requests = sum(connection.requests for connection in self._connections)
        return ServingStatistics(len(self._clients), requests, self._refused)

    def reload_certificate(self) -> None:
        """Read the files of the certificate again; new connections use them.

        Raises:
            CannotServe: they cannot be used; new connections use the previous ones.
        """
        if self._tls is not None:
            self._tls.load()

    async def drain(self, timeout_s: float = math.inf) -> None:
        """Accept no more clients, let running requests end, and return when all have ended.

        Idle connections are closed at once, the others after their running request.

        Args:
            timeout_s: seconds after which connections that are left are closed at once.
        """
        if not self._service.is_draining:
            await self._service.context.terminated.set()
            self._accepting.cancel()
            for connection in tuple(self._connections):
                connection.drain()
        with trio.move_on_after(timeout_s):
            await self._ended.wait()
        self._serving.cancel()
        await self._ended.wait()

    # ------------------------------------------------------------------------- for `serve`

    async def run(self) -> None:
        """Serve until drained or cancelled; then close all connections at once."""
        try:
            with self._serving:
                async with trio.open_nursery() as nursery:
                    try:
                        with self._accepting:
                            listeners = list(self._bound.listeners)
                            await trio.serve_listeners(
                                self._serve_client, listeners, handler_nursery=nursery
                            )
                        self._bound.close()
                        while self._clients:
                            await self._left.park()
                    finally:
                        # Sends are shielded from cancellation; closing the socket ends them.
                        for client in tuple(self._clients):
                            client.cut()
        finally:
            self._ended.set()

    async def _serve_client(self, stream: trio.SocketStream) -> None:
        limits = self._service.limits
        client = ClientStream(stream, partial(reset_socket, stream), linger_s=limits.linger_s)
        is_surplus = len(self._clients) >= self._most
        self._refused += is_surplus
        if len(self._clients) >= self._most + _MAX_REFUSALS:
            client.cut()
            return
        self._clients.add(client)
        try:
            await self._talk(client, stream, is_surplus=is_surplus)
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the client is gone
        except Exception as error:  # noqa: BLE001  # one client must not end the others
            self._service.report(error, None)
        finally:
            self._clients.discard(client)
            self._left.unpark_all()
            stream.socket.close()

    async def _talk(
        self, client: ClientStream, stream: trio.SocketStream, *, is_surplus: bool
    ) -> None:
        """Talk with a client that was accepted."""
        peer, own = stream.socket.getpeername(), stream.socket.getsockname()
        over: Stream = client
        protocol: str | None = None
        if self._tls is not None:
            secure = trio.SSLStream(
                client, self._tls.context, server_side=True, https_compatible=True
            )
            with trio.move_on_after(self._service.limits.header_timeout_s) as scope:
                await secure.do_handshake()
            if scope.cancelled_caught:
                client.cut()
                return
            over, protocol = secure, secure.selected_alpn_protocol()
        if self._service.is_draining:
            return
        if is_surplus:
            await _refuse(over, protocol)
            return
        connection = ServedConnection(
            self._service,
            client,
            over,
            peer=_address(peer),
            own=_address(own),
            is_tls=self._tls is not None,
            protocol=protocol or "http/1.1",
        )
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)


async def serve(
    app: ASGIApp,
    listen: Listen,
    *,
    limits: ServingLimits | None = None,
    tls: Tls | None = None,
    trusted_proxies: TrustedProxies | None = None,
    task_status: trio.TaskStatus[Serving] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve an ASGI app over HTTP/1.1 and HTTP/2 until drained or cancelled.

        serving = await nursery.start(serve, app, Listen.parse("127.0.0.1:4000"))

    If cancelled, it closes all connections at once; `Serving.drain` lets running requests end. The
    app is called for each request, and not for `lifespan`: what it needs is open around `serve`. It
    gets `http.disconnect` as soon as the client goes away, which includes one that ends its own
    side of the connection, stalls, or sends its body too slowly.

    Args:
        app: the ASGI app.
        listen: where to listen.
        limits: the bounds on clients; the usual ones if None.
        tls: the certificate; without one, connections are not encrypted.
        trusted_proxies: the proxies that name the true client; none if None.
        task_status: receives the server as soon as it listens.

    Raises:
        CannotServe: nothing can listen there, or the certificate cannot be used.
    """
    limits = limits or ServingLimits()
    if tls is not None:
        tls.load()
    most = allowed_connections(limits.max_connections)
    config = ServerConfig(max_header_bytes=limits.max_header_bytes)
    service = Service(app, limits, trusted_proxies or TrustedProxies(), config)
    bound = await bind(listen)
    try:
        serving = Serving(service, bound, tls, most)
        task_status.started(serving)
        await serving.run()
    finally:
        bound.close()


async def _refuse(stream: Stream, protocol: str | None) -> None:
    """Tell a client that too many are connected, after it has sent something."""
    with trio.move_on_after(_REFUSAL_S):
        if protocol != "h2" and await stream.receive_some(_MAX_HEAD):
            await stream.send_all(_REFUSAL)
        await stream.aclose()


def _address(name: object) -> Peer:
    """Return the address of a socket; None for that of a Unix socket."""
    if not isinstance(name, tuple):
        return None
    host, port, *_ = cast("tuple[str, int, int, int]", name)
    return host, port
