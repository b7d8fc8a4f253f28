"""The store behind a cache's memory: the protocol, and a wrapper that goes on when it fails."""

from collections.abc import Iterable, Sequence
from typing import Protocol

import attrs

from callsheet.runtime import get_logger

from ..responses import Response
from ..storage import DamagedFile, StorageError
from .stored import decode, encode


@attrs.frozen
class CacheEntry:
    """A response in a store.

    Args:
        key: the cache key of the request.
        value: the encoded response; a store does not read it.
        written_at: when the response arrived, in Unix seconds.
    """

    key: str
    value: bytes
    written_at: float


@attrs.frozen
class CacheUsage:
    """How much a store, or the memory, contains.

    Args:
        entries: the number of responses.
        bytes: the bytes that they take.
        evicted: the number of responses that were dropped to make room since it was opened.
    """

    entries: int
    bytes: int
    evicted: int


class CacheStore(Protocol):
    """Stores responses by key; drops expired ones, and the least recently used ones for room.

    Each method but `close` may raise `StorageError`. `now` is Unix time in seconds. Several methods
    may run at the same time.
    """

    @property
    def name(self) -> str:
        """The place of the store for logs, without secrets (L8)."""
        ...

    async def open(self) -> None:
        """Open the store; also after `close`."""
        ...

    async def get_many(self, keys: Sequence[str], now: float) -> Sequence[CacheEntry]:
        """Return the entries of these keys that exist and have not expired."""
        ...

    async def put_many(
        self, entries: Sequence[CacheEntry], used: Sequence[str], now: float
    ) -> None:
        """Store entries, all of them or none.

        Args:
            entries: the entries; each replaces an entry with the same key.
            used: keys of other entries that were used since the last call.
            now: Unix time in seconds.
        """
        ...

    async def usage(self) -> CacheUsage:
        """Return how much the store contains."""
        ...

    async def clear(self) -> None:
        """Delete all entries."""
        ...

    async def set_aside(self) -> str | None:
        """Move a damaged store away once it is closed, if it is certainly this cache's.

        Returns:
            Its new place, for logs; None if it is left where it is.
        """
        ...

    async def close(self) -> None:
        """Close the store; harmless if it is not open."""
        ...


_log = get_logger("callsheet.cache")


@attrs.frozen
class CachedResponse:
    """A response, and when it arrived, in Unix seconds."""

    response: Response
    written_at: float


class FailOpenStore:
    """Reads and writes responses in a store, and goes on without it when it fails.

    The first error is logged as the event `cache_unavailable`, and the store is closed; a damaged
    one is set aside. From then on lookups find nothing, and nothing is stored.

    Args:
        store: the store; None for none.
    """

    def __init__(self, store: CacheStore | None) -> None:
        self._store = store

    @property
    def is_usable(self) -> bool:
        """Whether there is a store that has not failed."""
        return self._store is not None

    async def open(self) -> None:
        """Open the store."""
        if self._store is not None:
            try:
                await self._store.open()
            except StorageError as error:
                await self._give_up(error)

    async def get_many(self, keys: Sequence[str], now: float) -> dict[str, CachedResponse]:
        """Return the responses that are stored, without those that cannot be decoded."""
        if self._store is None:
            return {}
        try:
            entries = await self._store.get_many(keys, now)
        except StorageError as error:
            await self._give_up(error)
            return {}
        found: dict[str, CachedResponse] = {}
        for entry in entries:
            try:
                found[entry.key] = CachedResponse(decode(entry.value), entry.written_at)
            except ValueError:
                continue  # the next response to this request replaces it
        return found

    async def put_many(
        self, responses: dict[str, CachedResponse], used: Iterable[str], now: float
    ) -> None:
        """Store responses, and note the keys of others that were used."""
        if self._store is None:
            return
        entries = [
            CacheEntry(key, encode(one.response), one.written_at) for key, one in responses.items()
        ]
        try:
            await self._store.put_many(entries, [key for key in used if key not in responses], now)
        except StorageError as error:
            await self._give_up(error)

    async def usage(self) -> CacheUsage | None:
        """Return how much the store contains; None without a store."""
        if self._store is None:
            return None
        try:
            return await self._store.usage()
        except StorageError as error:
            await self._give_up(error)
            return None

    async def clear(self) -> None:
        """Delete all responses."""
        if self._store is not None:
            try:
                await self._store.clear()
            except StorageError as error:
                await self._give_up(error)

    async def close(self) -> None:
        """Close the store."""
        store, self._store = self._store, None
        if store is not None:
            await store.close()

    async def _give_up(self, error: StorageError) -> None:
        store, self._store = self._store, None
        if store is None:  # another task has logged it
            return
        await store.close()
        aside = await store.set_aside() if isinstance(error, DamagedFile) else None
        remedy = error.remedy if aside is None else f"none is needed: it is moved to {aside}"
        _log.warning("cache_unavailable", path=store.name, reason=error.reason, remedy=remedy)
