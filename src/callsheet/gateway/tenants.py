"""The actor of the keys: it sees new and revoked ones, and tells the endpoints of them."""

from typing import Final, final

import structlog
import trio

from ..actors import Budget, Lane, StorageError
from ..runtime import Actor
from .endpoints import ServedEndpoints
from .keys import ApiKey, KeyStore, Tenants

_log = structlog.get_logger("callsheet.gateway")
_LOOK_S: Final = 1.0  # no file system reports the changes of other machines


@final
class KeysActor(Actor):
    """Looks for changes of the key store once a second.

    While the file cannot be read, the keys that were read last stay valid.

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

    async def started(self) -> None:
        """Apply the keys, and look for changes from now on."""
        await self._apply()
        self.nursery.start_soon(self._watch)

    async def _watch(self) -> None:
        known = self._store.valid()
        while True:
            await trio.sleep(_LOOK_S)
            await self._read()
            valid = self._store.valid()  # a key that expires changes nothing in the file
            if valid != known:
                known = valid
                await self._apply()

    async def _read(self) -> None:
        try:
            changes = await trio.to_thread.run_sync(self._store.read_changes)
        except StorageError as error:
            if self._is_readable:
                _log.warning("key_store_unreadable", path=str(self._store.path), reason=str(error))
            self._is_readable = False
            return
        self._is_readable = True
        self._store.apply(changes)

    async def _apply(self) -> None:
        valid = self._store.valid()
        self._tenants.keep(valid)
        await self._endpoints.change_tenants(lanes_of(valid), budgets_of(valid))


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
