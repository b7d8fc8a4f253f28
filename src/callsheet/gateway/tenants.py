"""The actor of the keys: it sees new and revoked ones, and tells the endpoints of them."""

from math import inf
from typing import final

import structlog
import trio

from ..actors import Budget, Lane, LeaseExchange, SharedLimiting, StorageError
from ..runtime import Actor
from .endpoints import ServedEndpoints
from .keys import ApiKey, KeyStore, Tenants, TurnLeases

_log = structlog.get_logger("callsheet.gateway")


@final
class KeysActor(Actor):
    """Looks for changes of the key store once a second, and when it hears of one.

    While the store cannot be read, the keys that were read last stay valid: those of a file for as
    long as it is away, those on a server for some time.

    Args:
        store: the keys of the gateway.
        tenants: the limits of each key's own.
        endpoints: the endpoints that learn of lanes and budgets.
    """

    def __init__(self, store: KeyStore, tenants: Tenants, endpoints: ServedEndpoints) -> None:
        self._store = store
        self._tenants = tenants
        self._endpoints = endpoints
        self._is_readable = True
        self._read_at = trio.current_time()

    async def started(self) -> None:
        """Open the store, apply the keys, and look for changes from now on.

        Raises:
            StorageError: the store cannot be used. The keys of a server that is away are read when
                it answers; no call is accepted before that.
        """
        store = self._store
        await self.enter_async_context(store.open())
        if store.known.is_current:
            await self._apply()
        else:
            _log.warning("keys_not_read", store=store.name, until="the server answers")
            self._is_readable = False
        self.nursery.start_soon(self._watch)

    async def _watch(self) -> None:
        known = self._store.known.valid()
        while True:
            await self._store.wait_for_news()
            await self._read()
            valid = self._store.known.valid()  # a key that expires changes nothing in the store
            if valid != known:
                known = valid
                await self._apply()

    async def _read(self) -> None:
        try:
            await self._store.refresh()
        except StorageError as error:
            self._is_away(error)
            return
        if not self._is_readable:
            _log.warning("key_store_back", store=self._store.name)
        self._is_readable = self._store.known.is_current = True
        self._read_at = trio.current_time()

    def _is_away(self, error: StorageError) -> None:
        """Log that the store is away, and refuse calls when its keys are too old."""
        store, lasting_s = self._store, self._store.lasting_s
        if self._is_readable:
            for_s = {} if lasting_s == inf else {"keys_valid_s": lasting_s}
            _log.warning("key_store_unreadable", store=store.name, reason=str(error), **for_s)
        self._is_readable = False
        if store.known.is_current and trio.current_time() - self._read_at > lasting_s:
            store.known.is_current = False
            _log.error("keys_too_old", store=store.name, after_s=lasting_s)

    async def _apply(self) -> None:
        valid = self._store.known.valid()
        self._tenants.keep(valid)
        await self._endpoints.change_tenants(lanes_of(valid), budgets_of(valid))


@final
class SharedTurnsActor(Actor):
    """Leases what the calls of keys take of their own limits, which all replicas share.

    Args:
        shared: the store of the limits, and what is leased; it outlives the actor (R2).
        turns: the limits of the keys.
    """

    def __init__(self, shared: SharedLimiting, turns: TurnLeases) -> None:
        self._shared = shared
        self._turns = turns
        self._exchange: LeaseExchange | None = None
        self._is_draining = False

    async def started(self) -> None:
        """Open the store, and begin to ask it.

        Raises:
            StorageError: the store must not be used. One that is away is asked again.
        """
        await self.enter_async_context(self._shared.store.open())
        exchange = LeaseExchange(
            self._shared, self._turns, self.random, self._turns.wake, limits="of keys"
        )
        self._exchange, self._turns.poke = exchange, exchange.poke
        self.nursery.start_soon(exchange.run)
        self.nursery.start_soon(exchange.listen)

    async def draining(self) -> None:
        """Record that this process ends, rather than restarts this actor."""
        self._is_draining = True

    async def stopped(self) -> None:
        """Return what is leased, if this process ends."""
        if self._exchange is not None and self._is_draining:
            await self._exchange.leave()


def lanes_of(keys: tuple[ApiKey, ...]) -> dict[str, Lane]:
    """Return the lanes of keys; one that several keys share has the largest of their weights.

    Args:
        keys: the valid keys.
    """
    weights: dict[str, float] = {}
    for key in keys:
        weights[key.lane] = max(key.weight, weights.get(key.lane, 0.0))
    return {lane: Lane(weight=weight) for lane, weight in weights.items()}


def budgets_of(keys: tuple[ApiKey, ...]) -> tuple[Budget, ...]:
    """Return the budgets of keys. Keys of one name have the same.

    Args:
        keys: the valid keys.
    """
    latest = {key.name: key for key in keys}
    return tuple(budget for key in latest.values() for budget in key.ledger_budgets())
