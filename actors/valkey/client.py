"""A connection to a Valkey or Redis server, which every shared store uses.

No command is repeated by the client: after a time-out it may have been done. Scripts are made safe
to repeat instead, and their callers repeat them.
"""

import logging
import ssl
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from hashlib import sha1
from math import inf
from typing import TYPE_CHECKING, Protocol, TypeVar, cast, final

import attrs
import trio

from ..extras import how_to_install
from ..storage import StorageError
from .errors import NEWER, ONE_SERVER, ServerAway, UnsuitableServer, translation
from .url import ServerUrl

if TYPE_CHECKING:
    import coredis
    from coredis.connection import BaseConnection
    from coredis.pool import ConnectionPool
    from coredis.typing import KeyT, ValueT

    from .pool import SteadyPool

_COMMAND_S = 2.0  # for an answer of the server, which takes less than a millisecond
_HINT_S = 1.0
_PING_S = 15.0  # a connection that is dead without an error is noticed after that
_HINTS_HELD = 64  # that wait to be taken
_OLDEST = 6  # the major version from which there is RESP3


@final
@attrs.frozen
class ServerScript:
    """A Lua script of ours. It may run twice for one question, so it must be safe to repeat.

    Args:
        source: the text of the script.
        sha: the digest by which the server knows it.
    """

    source: str = attrs.field(repr=False)
    sha: str = attrs.field(
        default=attrs.Factory(
            lambda self: sha1(self.source.encode(), usedforsecurity=False).hexdigest(),
            takes_self=True,
        ),
        init=False,
    )


class Hints(Protocol):
    """A subscription to the channel of a store. A hint may be lost; no store depends on one."""

    async def wait(self) -> bytes | None:
        """Return the next hint; None after a second without one."""
        ...


@final
class ValkeyClient:
    """Sends commands and scripts to one server; made by `open_valkey`.

    Ordinary commands share a connection; one that blocks takes a connection of its own.

    Args:
        url: where the server is.
        client: the coredis client.
        nursery: for the tasks that read hints.
    """

    def __init__(
        self, url: ServerUrl, client: "coredis.Redis[bytes]", nursery: trio.Nursery
    ) -> None:
        self.url = url
        self._client = client
        self._nursery = nursery

    def __repr__(self) -> str:
        return f"<ValkeyClient {self.url}>"

    @property
    def name(self) -> str:
        """What it is and where, for errors and logs, without secrets (L8)."""
        return f"the shared server {self.url}"

    async def command(self, *parts: str | bytes | float, wait_s: float = 0.0) -> object:
        """Send one command, once at most.

        Args:
            parts: the name of the command, in one word, and its arguments.
            wait_s: how long the server may take longer, in seconds, because the command blocks.

        Returns:
            The reply: bytes, int, float, bool, None, or lists and dicts of these.

        Raises:
            ServerAway: there is no answer; the command may have been done all the same.
            UnsuitableServer: the server cannot do this.
        """
        from coredis.response._callbacks import NoopCallback  # noqa: PLC0415  # needs the extra

        name, *arguments = parts
        with self._translated(_COMMAND_S + wait_s):
            request = self._client.create_request(
                str(name).encode().upper(),  # by which coredis knows those that block
                *cast("Sequence[KeyT]", arguments),
                callback=NoopCallback[object](),
            )
            return await request
        raise AssertionError  # pragma: no cover  # the block returns or raises

    async def run(
        self,
        script: ServerScript,
        keys: Sequence[str],
        arguments: Sequence[str | bytes | float],
    ) -> object:
        """Run a script; its text is sent when the server does not know it.

        Args:
            script: the script to run.
            keys: all keys that it uses, with one hash tag.
            arguments: the arguments of the script.

        Raises:
            ServerAway: there is no answer; the script may have run all the same.
            UnsuitableServer: the server cannot do this.
        """
        from coredis.exceptions import NoScriptError  # noqa: PLC0415  # needs the extra

        named, values = list[str](keys), cast("list[ValueT]", list(arguments))
        with self._translated(_COMMAND_S):
            try:
                return cast("object", await self._client.evalsha(script.sha, named, values))
            except NoScriptError:
                return cast("object", await self._client.eval(script.source, named, values))
        raise AssertionError  # pragma: no cover  # the block returns or raises

    @asynccontextmanager
    async def hints(self, channel: str) -> AsyncGenerator[Hints]:
        """Subscribe to a channel, also while the server is away.

        Args:
            channel: the name of the channel.
        """
        send, receive = trio.open_memory_channel[bytes](_HINTS_HELD)
        reading = trio.CancelScope()
        self._nursery.start_soon(self._read_hints, channel, send, reading)
        try:
            yield _Subscription(receive)
        finally:
            reading.cancel()

    async def _read_hints(
        self, channel: str, send: trio.MemorySendChannel[bytes], reading: trio.CancelScope
    ) -> None:
        """Read the channel; subscribe again when the server was away."""
        with reading:
            while True:
                # The commands of the store report what is wrong with the server.
                with suppress(StorageError), self._translated(inf):
                    async with self._client.connection_pool.acquire() as connection:
                        try:
                            await _read_channel(connection, channel, send)
                        finally:
                            connection.invalidate()  # or else other commands would get it
                await trio.sleep(_HINT_S)

    async def info(self) -> dict[str, str]:
        """Return what the server reports of itself (INFO), by name.

        Raises:
            ServerAway: there is no answer.
            UnsuitableServer: the server cannot do this.
        """
        return _info(await self.command("INFO"))

    async def check(self, *, keeps: bool) -> None:
        """Check that the server is one that may be used.

        Args:
            keeps: whether what is lost here loses money or rows, so that the server must write a
                log of its commands (`appendonly yes`).

        Raises:
            ServerAway: there is no answer.
            UnsuitableServer: it is too old, may forget keys when its memory is full, or keeps
                nothing on disk although it must.
        """
        found = await self.info()
        version = found.get("valkey_version") or found.get("redis_version", "0")
        major = version.partition(".")[0]
        if not major.isdecimal() or int(major) < _OLDEST:
            raise UnsuitableServer(self.name, f"it has version {version}", NEWER)
        if found.get("redis_mode") == "cluster":
            raise UnsuitableServer(self.name, "it is a cluster", ONE_SERVER)
        if found.get("role") == "slave":
            raise UnsuitableServer(
                self.name, "it is a replica, which takes no changes", "give the URL of its primary"
            )
        policy = found.get("maxmemory_policy", "noeviction")
        if int(found.get("maxmemory", "0")) and policy != "noeviction":
            raise UnsuitableServer(
                self.name,
                f"it forgets keys when its memory is full (maxmemory-policy {policy})",
                "set maxmemory-policy noeviction",
            )
        if found.get("loading", "0") != "0":  # until then, the log of its commands seems to be off
            raise ServerAway(self.name, "it is starting, and loads its data", "wait")
        if keeps and found.get("aof_enabled") != "1":
            raise UnsuitableServer(
                self.name,
                "it keeps nothing on disk (appendonly no), and what it lost would be paid twice",
                "set appendonly yes",
            )

    @contextmanager
    def _translated(self, within_s: float) -> Generator[None]:
        from coredis.typing import RedisError  # noqa: PLC0415  # needs the extra

        try:
            with trio.fail_after(within_s):
                yield
        except (trio.TooSlowError, TimeoutError):
            # A connection on which nothing comes may be dead without an error for minutes.
            self._client.connection_pool.disconnect()
            raise ServerAway(self.name, f"no answer in {within_s:g} s") from None
        except (RedisError, OSError, ExceptionGroup) as error:
            raise translation(self.name, cast("Exception", error)) from None


async def _read_channel(
    connection: "BaseConnection", channel: str, send: trio.MemorySendChannel[bytes]
) -> None:
    """Subscribe, and read what is published, until the connection ends.

    The subscriptions of coredis can go deaf without an error when they are renewed, and fail in
    their own clean-up when they are cancelled.
    """
    connection.send_command(b"SUBSCRIBE", channel)
    while True:
        with trio.move_on_after(_PING_S):
            async for kind, *_, data in connection.push_messages:
                if kind == b"message":
                    with suppress(trio.WouldBlock):  # one hint is as good as many
                        send.send_nowait(cast("bytes", data))
        await connection.create_request(b"PING", timeout=_COMMAND_S)


@final
class _Subscription:
    """What a task reads from a channel."""

    def __init__(self, receive: trio.MemoryReceiveChannel[bytes]) -> None:
        self._receive = receive

    async def wait(self) -> bytes | None:
        """See `Hints`."""
        with trio.move_on_after(_HINT_S):
            return await self._receive.receive()
        return None


@asynccontextmanager
async def open_valkey(url: ServerUrl) -> AsyncGenerator[ValkeyClient]:
    """Open a connection, which is made when it is first needed, and again when it was lost.

    An error of the block comes out of it as it is, not in a group.

    Args:
        url: where the server is.

    Raises:
        UnsuitableServer: coredis is not installed.
    """
    pool = _pool(url)
    import coredis  # noqa: PLC0415  # needs the extra
    from coredis.retry import NoRetryPolicy  # noqa: PLC0415

    client = coredis.Redis(
        connection_pool=cast("ConnectionPool[BaseConnection]", pool),  # it needs no more than that
        verify_version=False,
        decode_responses=False,
        retry_policy=NoRetryPolicy(),
    )
    async with _apart(client), _apart(trio.open_nursery()) as nursery:
        try:
            yield ValkeyClient(url, client, nursery)
        finally:
            nursery.cancel_scope.cancel()


def _pool(url: ServerUrl) -> "SteadyPool[BaseConnection]":
    try:
        from coredis.connection import (  # noqa: PLC0415  # needs the extra
            TCPConnection,
            TCPLocation,
            UnixDomainSocketConnection,
            UnixDomainSocketLocation,
        )

        from .pool import SteadyPool  # noqa: PLC0415
    except ModuleNotFoundError:
        where, how = f"the shared server {url}", how_to_install("valkey")
        raise UnsuitableServer(where, "coredis is not installed", how) from None
    # What it logs, with tracebacks, is raised as well.
    if (logger := logging.getLogger("coredis")).level == logging.NOTSET:
        logger.setLevel(logging.CRITICAL)
    return SteadyPool(
        connection_class=UnixDomainSocketConnection if url.socket else TCPConnection,
        location=UnixDomainSocketLocation(url.socket)
        if url.socket
        else TCPLocation(url.host, url.port),
        db=url.database,
        username=url.username or None,
        password=url.password or None,
        # The default of coredis checks no host name.
        ssl_context=ssl.create_default_context() if url.tls else None,
    )


T = TypeVar("T")


@asynccontextmanager
async def _apart(block: AbstractAsyncContextManager[T]) -> AsyncGenerator[T]:
    """Hold a block that has tasks, so that an error of the caller's is put in no group by it."""
    error: Exception | None = None
    try:
        async with block as held:
            try:
                yield held
            except Exception as raised:  # noqa: BLE001  # it is raised again
                error = raised
    finally:
        if error is not None:
            try:
                raise error
            finally:
                del error  # or else it and this frame are a reference cycle


def _info(reply: object) -> dict[str, str]:
    """Return what INFO reports, by name."""
    text = reply.decode(errors="replace") if isinstance(reply, bytes) else str(reply)
    pairs = (line.partition(":") for line in text.splitlines() if ":" in line)
    return {name: value.strip() for name, _, value in pairs}
