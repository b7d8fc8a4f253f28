"""A connection to a Valkey or Redis server, which every shared store uses.

No command is repeated by the client: after a time-out it may have been done. Scripts are made safe
to repeat instead, and their callers repeat them.
"""

from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from hashlib import sha1
from math import inf
from types import ModuleType
from typing import TYPE_CHECKING, Protocol, cast, final

import attrs
import trio

from .errors import ServerAway, UnsuitableServer
from .url import ServerUrl

if TYPE_CHECKING:
    import coredis
    from coredis.typing import KeyT, ValueT

_COMMAND_S = 2.0  # for an answer of the server, which takes less than a millisecond
_CONNECT_S = 2.0
_HINT_S = 1.0  # a subscription that went deaf is noticed by then
_HINTS_HELD = 64  # that wait to be taken
_OLDEST = 6  # the major version from which there is RESP3
_EXTRA = "install it with the extra: pip install 'callsheet[valkey]', or uv sync --extra valkey"


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
    """

    def __init__(self, url: ServerUrl, client: "coredis.Redis[bytes]") -> None:
        self.url = url
        self._client = client

    def __repr__(self) -> str:
        return f"<ValkeyClient {self.url}>"

    @property
    def name(self) -> str:
        """What it is and where, for errors and logs, without secrets (L8)."""
        return f"the shared server {self.url}"

    async def command(self, *parts: str | bytes | float, wait_s: float = 0.0) -> object:
        """Send one command, once at most.

        Args:
            parts: the name of the command and its arguments.
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
                str(name).encode() if isinstance(name, str) else cast("bytes", name),
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
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read_hints, channel, send)
            yield _Subscription(receive)
            nursery.cancel_scope.cancel()

    async def _read_hints(self, channel: str, send: trio.MemorySendChannel[bytes]) -> None:
        """Read the channel; subscribe again when the server was away."""
        while True:
            with suppress(ServerAway), self._translated(inf):
                async with self._client.pubsub(channels=[channel]) as subscription:
                    # A subscription can end without an error, and then nothing comes: ask.
                    while True:
                        message = await subscription.get_message(
                            ignore_subscribe_messages=True, timeout=_HINT_S
                        )
                        if message is not None:
                            with suppress(trio.WouldBlock):  # one hint is as good as many
                                send.send_nowait(cast("bytes", message["data"]))
            await trio.sleep(_HINT_S)

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
        server = _info(await self.command("INFO", "server"))
        version = server.get("valkey_version") or server.get("redis_version", "0")
        if int(version.partition(".")[0] or 0) < _OLDEST:
            raise UnsuitableServer(
                self.name, f"it has version {version}", "use Valkey, or Redis 6 or later"
            )
        memory = _info(await self.command("INFO", "memory"))
        policy = memory.get("maxmemory_policy", "noeviction")
        if int(memory.get("maxmemory", "0")) and policy != "noeviction":
            raise UnsuitableServer(
                self.name,
                f"it forgets keys when its memory is full (maxmemory-policy {policy})",
                "set maxmemory-policy noeviction",
            )
        if keeps and _info(await self.command("INFO", "persistence")).get("aof_enabled") != "1":
            raise UnsuitableServer(
                self.name,
                "it keeps nothing on disk (appendonly no), and what it lost would be paid twice",
                "set appendonly yes",
            )

    @contextmanager
    def _translated(self, within_s: float) -> Generator[None]:
        from coredis import exceptions  # noqa: PLC0415  # needs the extra
        from coredis.typing import RedisError  # noqa: PLC0415

        try:
            with trio.fail_after(within_s):
                yield
        except (trio.TooSlowError, TimeoutError):
            raise ServerAway(self.name, f"no answer in {within_s:g} s") from None
        except exceptions.AuthenticationError as error:
            raise UnsuitableServer(
                self.name, _first_line(error), "check the user name and password in the URL"
            ) from None
        except (exceptions.ConnectionError, OSError) as error:
            raise ServerAway(self.name, _first_line(error)) from None
        except exceptions.ReadOnlyError as error:
            raise ServerAway(self.name, _first_line(error)) from None
        except RedisError as error:
            text = _first_line(error)
            if text.startswith(("OOM", "MISCONF", "LOADING", "BUSY", "CLUSTERDOWN", "MASTERDOWN")):
                raise ServerAway(self.name, text, "make room for it, or wait") from None
            raise UnsuitableServer(self.name, text) from None


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

    Args:
        url: where the server is.

    Raises:
        UnsuitableServer: coredis is not installed.
    """
    coredis = _coredis(url)
    from coredis.retry import NoRetryPolicy  # noqa: PLC0415  # needs the extra

    client = coredis.Redis(
        host=url.host or None,
        port=url.port if url.host else None,
        db=url.database,
        username=url.username or None,
        password=url.password or None,
        unix_socket_path=url.socket or None,
        ssl=url.tls,
        connect_timeout=_CONNECT_S,
        verify_version=False,
        decode_responses=False,
        retry_policy=NoRetryPolicy(),
    )
    async with client:
        yield ValkeyClient(url, client)


def _coredis(url: ServerUrl) -> ModuleType:
    try:
        import coredis  # noqa: PLC0415  # needs the extra
    except ModuleNotFoundError:
        raise UnsuitableServer(
            f"the shared server {url}", "coredis is not installed", _EXTRA
        ) from None
    return coredis


def _info(reply: object) -> dict[str, str]:
    """Return what INFO reports, by name."""
    text = reply.decode(errors="replace") if isinstance(reply, bytes) else str(reply)
    pairs = (line.partition(":") for line in text.splitlines() if ":" in line)
    return {name: value.strip() for name, _, value in pairs}


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
