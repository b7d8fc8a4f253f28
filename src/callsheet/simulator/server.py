"""Serve the provider on a socket with Hypercorn."""

import errno
import logging
import struct

import attrs
import trio
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from starlette.types import Receive, Scope, Send

from .app import Provider
from .sending import RESET

BACKLOG = 1024
IDLE_S = 600.0
MAX_HEADER_BYTES = 64 * 1024
# Linger on, with zero seconds: closing sends a reset instead of unsent data.
_LINGER_NOT = struct.pack("ii", 1, 0)


class CannotListen(OSError):
    """The provider cannot listen on the address; the text has the reason."""


async def serve(
    provider: Provider,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled; then close all connections at once.

    Args:
        provider: the built-in provider, which answers the requests.
        host: the address to listen on.
        port: the port; 0 for any free one.
        task_status: receives the base URL, such as "http://127.0.0.1:43211/v1".

    Raises:
        CannotListen: the address cannot be used; the text has the reason.
    """
    try:
        listeners = await trio.open_tcp_listeners(port, host=host, backlog=BACKLOG)
    except OSError as error:
        hint = "; choose another port" if error.errno == errno.EADDRINUSE else ""
        reason = error.strerror or error
        raise CannotListen(f"cannot listen on {host}:{port}: {reason}{hint}") from error
    connections = _Connections(provider)
    try:
        bound = listeners[0].socket.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, connections.handle, listeners)
            task_status.started(f"http://{shown}:{bound}/v1")
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
    # Log errors of the app only, not clients that disconnect.
    config.errorlog = logging.getLogger("callsheet.simulator")
    config.include_server_header = False
    # The provider sends its own date, on the clock of the limits' reset times.
    config.include_date_header = False
    config.keep_alive_timeout = IDLE_S
    config.keep_alive_max_requests = 10**9
    config.h11_max_incomplete_size = MAX_HEADER_BYTES
    return config


@attrs.define(eq=False)
class _Connections:
    """The open connections, each served by Hypercorn's protocol.

    Hypercorn's own `serve` accepts no listener, cannot drop a connection, and waits on shutdown. So
    only its connection handler, `TCPServer`, is used.
    """

    _provider: Provider
    _open: set[trio.SocketStream] = attrs.field(factory=set[trio.SocketStream], init=False)
    _config: Config = attrs.field(init=False, factory=_config)
    _context: WorkerContext = attrs.field(init=False, factory=lambda: WorkerContext(None))

    async def handle(self, stream: trio.SocketStream) -> None:
        """Serve one connection until either side closes it."""
        app = _ConnectedApp(self._provider, stream)
        self._open.add(stream)
        try:
            await TCPServer(app, self._config, self._context, ConnectionState({}), stream)  # type: ignore[arg-type]  # it accepts plain streams, too
        finally:
            self._open.discard(stream)
            stream.socket.close()

    def close(self) -> None:
        """Close every connection."""
        for stream in self._open:
            stream.socket.close()


@attrs.frozen(eq=False)
class _ConnectedApp:
    """The app for one connection, which it can drop (`RESET`)."""

    _provider: Provider
    _stream: trio.SocketStream

    async def __call__(self, scope: Scope, receive: Receive, send: Send, *_threads: object) -> None:
        extensions = {RESET: self._drop}
        await self._provider({**scope, "extensions": extensions}, receive, send)

    def _drop(self) -> None:
        self._stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, _LINGER_NOT)
        self._stream.socket.close()
