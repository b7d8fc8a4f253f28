"""Shared limits on a Valkey or Redis server: one script answers a question."""

import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from functools import cache
from importlib.resources import files
from typing import final

import msgspec
import trio

from ...valkey import (
    Hints,
    ServerAway,
    ServerScript,
    ServerUrl,
    UnsuitableServer,
    ValkeyClient,
    open_valkey,
)
from .exchange import Lease, LimitAsk, LimitGrant, SharedRefusal, trimmed

_NEWS_S = 1.0
_EPOCH_BYTES = 8

_Reply = tuple[
    str,
    int,
    list[tuple[str, str, float, float, float]],  # leases
    list[tuple[str, float]],  # full
    list[tuple[str, float, float]],  # parts and windows
    list[float],  # weights, of the lanes of the question in their order
    list[str | int],  # places: scope, number, scope, number, ...
    list[tuple[str, str, float, float]],  # refusals
    int,
]
_replies = msgspec.msgpack.Decoder(_Reply)


@final
class ValkeyLimitStore:
    """The limits of one endpoint on a server. Their time is that of the server.

    Args:
        url: where the server is.
        endpoint: what identifies the account whose limits are shared, without secrets.
    """

    def __init__(self, url: ServerUrl, endpoint: str) -> None:
        self._url = url
        self._keys = keys_of(endpoint)
        self._channel = f"{self._keys[0]}:news"
        self._client: ValkeyClient | None = None
        self._hints: Hints | None = None
        self._is_checked = False
        self._askers: set[bytes] = set()  # the processes that ask by this store

    @property
    def name(self) -> str:
        """See `LimitStore`."""
        return f"the shared server {self._url}"

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Connect for the length of a block. The server may be away, now and later.

        Raises:
            UnsuitableServer: the server must not be used.
        """
        async with open_valkey(self._url) as client:
            with suppress(ServerAway):  # it is asked again with the first question
                await self._check(client)
            async with client.hints(self._channel) as hints:
                self._client, self._hints = client, hints
                try:
                    yield
                finally:
                    self._client = self._hints = None

    async def ask(self, ask: LimitAsk) -> LimitGrant:
        """Send a question, once.

        Args:
            ask: what the process needs and reports.

        Raises:
            ServerAway: there is no answer; the question may have been heard.
            UnsuitableServer: the server must not be used.
        """
        client = self._client
        if client is None:
            raise ServerAway(self.name, "it is not open", "open the store first")
        if not self._is_checked:
            await self._check(client)
        asked = trimmed(ask)
        self._askers.add(ask.worker.encode())
        epoch = secrets.token_hex(_EPOCH_BYTES)
        reply = await client.run(
            lease_script(), self._keys, (question(asked), "", epoch, self._channel)
        )
        try:
            return grant_of(reply, asked)
        except msgspec.DecodeError as error:
            raise UnsuitableServer(
                self.name, f"it has other data in {self._keys[0]}: {error}"
            ) from None

    async def wait_for_news(self) -> bool:
        """See `LimitStore`."""
        with trio.move_on_after(_NEWS_S):
            hints = self._hints
            if hints is None:
                await trio.sleep_forever()
            else:
                while (asker := await hints.wait()) in self._askers:
                    pass  # it is the news of this process
                return asker is not None
        return False

    async def _check(self, client: ValkeyClient) -> None:
        await client.check(keeps=False)
        self._is_checked = True


@cache
def lease_script() -> ServerScript:
    """Return the script that answers a question."""
    text = files(__name__.rpartition(".")[0]).joinpath("lease.lua").read_text(encoding="utf-8")
    return ServerScript(text)


def keys_of(endpoint: str) -> tuple[str, ...]:
    """Return the keys of the script; they have one hash tag.

    Args:
        endpoint: what identifies the account whose limits are shared.
    """
    tag = endpoint.translate({ord("{"): "(", ord("}"): ")"})
    start = f"callsheet:{{limits:{tag}}}"
    return tuple(f"{start}:{part}" for part in ("state", "workers", "deaths", "places"))


def question(ask: LimitAsk) -> bytes:
    """Return a question as the script reads it.

    Args:
        ask: the question of a process.
    """
    return msgspec.msgpack.encode(
        (
            ask.worker,
            ask.number,
            ask.epoch,
            ask.seen,
            [(one.limit, one.rate, one.depth, one.full_s, one.least_full_s) for one in ask.rates],
            [
                (
                    one.scope,
                    [
                        (name, amount, one.first.get(name, 0.0))
                        for name, amount in one.amounts.items()
                    ],
                )
                for one in ask.leases
            ],
            [(one.limit, one.amount, one.age_s, one.unused) for one in ask.corrections],
            [
                (one.scope, one.lane, one.weight, one.seconds, one.age_s, one.priority)
                for one in ask.lanes
            ],
            [(one.scope, one.most, one.held, one.wanted) for one in ask.places],
            [(one.scope, one.why, one.pause_s, one.age_s) for one in ask.refusals],
            ask.leaves,
        )
    )


def grant_of(reply: object, ask: LimitAsk) -> LimitGrant:
    """Return the grant that the script replied.

    Args:
        reply: what the script returned.
        ask: the question as it was sent.

    Raises:
        msgspec.DecodeError: it is none.
    """
    packed = reply if isinstance(reply, bytes) else b""
    epoch, workers, leases, full, parts, weights, places, refusals, seen = _replies.decode(packed)
    return LimitGrant(
        epoch=epoch,
        workers=workers,
        leases=tuple(Lease(*one) for one in leases),
        full=dict(full),
        parts={scope: part for scope, part, _ in parts},
        windows={scope: window_s for scope, _, window_s in parts},
        weights={
            (lane.scope, lane.lane): weight
            for lane, weight in zip(ask.lanes, weights, strict=False)
        },
        places={
            str(scope): int(number) for scope, number in zip(places[::2], places[1::2], strict=True)
        },
        refusals=tuple(SharedRefusal(*one) for one in refusals),
        seen=seen,
    )
