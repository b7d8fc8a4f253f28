"""An HTTP server for scrapes, under Trio."""

import errno
import logging
from collections.abc import Awaitable, Callable
from typing import final

import attrs
import trio
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from starlette.requests import Request as HttpRequest
from starlette.responses import PlainTextResponse
from starlette.responses import Response as HttpResponse
from starlette.types import Receive, Scope, Send

from .exposition import Exposition

PATHS = ("/metrics", "/")
"""The paths at which the server answers; an app that is mounted answers at each path."""

_BACKLOG = 64
# Hypercorn holds a connection for so long after its client has gone, or has sent half a request.
_IDLE_S = 5.0
_MAX_CONNECTIONS = 256


class CannotServe(OSError):
    """Nothing can listen at the address; the text has the reason."""


@attrs.frozen
class ScrapeAddress:
    """Where to listen.

    Args:
        host: the address or name of this machine.
        port: the port; 0 for any free one.
    """

    host: str
    port: int

    def __str__(self) -> str:
        shown = f"[{self.host}]" if ":" in self.host else self.host
        return f"{shown}:{self.port}"


def listen_at(text: str) -> ScrapeAddress:
    """Read an address such as "127.0.0.1:9464", "[::1]:9464", ":9464" or "9464".

    Args:
        text: the address. Without a host, it is that of this machine for itself (loopback).

    Raises:
        ValueError: it is no address.
        TypeError: it is no text.
    """
    if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
        raise TypeError(f'an address is text such as "127.0.0.1:9464", not {text!r:.60}')
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") or "127.0.0.1"
    if not (port.isascii() and port.isdecimal() and int(port) <= 65_535):  # noqa: PLR2004  # ports
        raise ValueError(f"{text!r:.60} is no address: write HOST:PORT, such as 127.0.0.1:9464")
    return ScrapeAddress(host, int(port))


@final
@attrs.frozen
class ScrapeApp:
    """An ASGI app that answers scrapes.

    Args:
        expose: returns the metrics in the format that the header `Accept` asks for.
        paths: the paths at which it answers; None for each path.
    """

    expose: Callable[[str], Awaitable[Exposition]]
    paths: tuple[str, ...] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send, *_threads: object) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        response = await self._answer(HttpRequest(scope))
        await response(scope, receive, send)

    async def _answer(self, request: HttpRequest) -> HttpResponse:
        if self.paths is not None and request.url.path not in self.paths:
            return PlainTextResponse("the metrics are at /metrics\n", 404)
        if request.method not in ("GET", "HEAD"):
            return PlainTextResponse("use GET\n", 405, {"Allow": "GET, HEAD"})
        exposition = await self.expose(request.headers.get("accept", ""))
        return HttpResponse(exposition.body, headers={"Content-Type": exposition.content_type})


async def serve_app(
    app: ScrapeApp,
    address: ScrapeAddress,
    *,
    task_status: trio.TaskStatus[ScrapeAddress] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve scrapes until cancelled; then close all connections at once.

    Args:
        app: answers the requests.
        address: where to listen.
        task_status: receives the address with the port that is used.

    Raises:
        CannotServe: nothing can listen at the address; the text has the reason.
    """
    try:
        listeners = await trio.open_tcp_listeners(address.port, host=address.host, backlog=_BACKLOG)
    except OSError as error:
        hint = "; choose another port" if error.errno == errno.EADDRINUSE else ""
        reason = error.strerror or error
        raise CannotServe(f"cannot serve metrics at {address}: {reason}{hint}") from error
    connections = _ScrapeConnections(app)
    try:
        port = listeners[0].socket.getsockname()[1]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, connections.handle, listeners)
            task_status.started(ScrapeAddress(address.host, port))
            try:
                await trio.sleep_forever()
            finally:
                # Hypercorn shields its sends from cancellation; closing the socket ends them.
                connections.close()
    finally:
        for listener in listeners:
            listener.socket.close()


def _config() -> Config:
    config = Config()
    config.accesslog = None
    config.errorlog = logging.getLogger("callsheet.metrics")
    config.include_server_header = False
    config.keep_alive_timeout = _IDLE_S
    config.read_timeout = None
    return config


@attrs.define(eq=False)
class _ScrapeConnections:
    """The open connections, each served by Hypercorn's protocol.

    Hypercorn's own `serve` waits for a stalled reader when it ends, so only its connection handler,
    `TCPServer`, is used.
    """

    _app: ScrapeApp
    _open: set[trio.SocketStream] = attrs.field(factory=set[trio.SocketStream], init=False)
    _config: Config = attrs.field(init=False, factory=_config)
    _context: WorkerContext = attrs.field(init=False, factory=lambda: WorkerContext(None))

    async def handle(self, stream: trio.SocketStream) -> None:
        """Serve one connection until either side closes it."""
        if len(self._open) >= _MAX_CONNECTIONS:
            stream.socket.close()
            return
        self._open.add(stream)
        try:
            await TCPServer(self._app, self._config, self._context, ConnectionState({}), stream)  # type: ignore[arg-type]  # it accepts plain streams, too
        finally:
            self._open.discard(stream)
            stream.socket.close()

    def close(self) -> None:
        """Close every connection."""
        for stream in self._open:
            stream.socket.close()
