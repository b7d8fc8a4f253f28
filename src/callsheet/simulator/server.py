"""The provider on a real socket, served by Hypercorn."""

import errno
import logging
import struct

import attrs
import trio
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState

from .app import Provider
from .exchange import RESET, AsgiScope, Receive, Send

__all__ = [
    "CannotListen",
    "serve",
]


BACKLOG = 1024
IDLE_S = 600.0
MAX_HEADER_BYTES = 64 * 1024
# On, and zero seconds: closing sends a reset instead of what is still unsent.
_LINGER_NOT = struct.pack("ii", 1, 0)


class CannotListen(OSError):
    """The address is in use, not this machine's, or not allowed."""


async def serve(
    provider: Provider,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled, and then stop at once, whatever is in flight.

    Args:
        provider: what to serve.
        host: the address to listen on.
        port: the port; 0 takes a free one.
        task_status: is told the base URL, such as "http://127.0.0.1:43211/v1".

    Raises:
        CannotListen: nobody can listen there; the message says why.
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
                # Hypercorn shields what it sends; only a closed socket ends that at once.
                connections.close()
    finally:
        for listener in listeners:
            listener.socket.close()


def _config() -> Config:
    config = Config()
    config.accesslog = None
    # Silent unless the app has a bug: a client that goes away is none.
    config.errorlog = logging.getLogger("callsheet.simulator")
    config.include_server_header = False
    # The provider says its own, on whose clock the limits' instants are.
    config.include_date_header = False
    config.keep_alive_timeout = IDLE_S
    config.keep_alive_max_requests = 10**9
    config.h11_max_incomplete_size = MAX_HEADER_BYTES
    return config


@attrs.define(eq=False)
class _Connections:
    """The connections there are, each with Hypercorn's protocol on it.

    Hypercorn's own `serve` takes neither a listener nor a way to drop a connection, and it waits
    on shutdown; so it is used from the connection on, which it calls `TCPServer`.
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
            await TCPServer(app, self._config, self._context, ConnectionState({}), stream)  # type: ignore[arg-type]  # it takes plain streams too
        finally:
            self._open.discard(stream)
            stream.socket.close()

    def close(self) -> None:
        """Close every connection."""
        for stream in self._open:
            stream.socket.close()


@attrs.frozen(eq=False)
class _ConnectedApp:
    """The app of one connection, which it may drop (`RESET`)."""

    _provider: Provider
    _stream: trio.SocketStream

    async def __call__(
        self, scope: AsgiScope, receive: Receive, send: Send, *_threads: object
    ) -> None:
        extensions = {RESET: self._drop}
        await self._provider({**scope, "extensions": extensions}, receive, send)

    def _drop(self) -> None:
        self._stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, _LINGER_NOT)
        self._stream.socket.close()
