"""The store behind a cache's memory: the protocol, and a wrapper that goes on when it fails."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Protocol, TypeVar

import attrs
import trio

from callsheet.runtime import get_logger

from ..responses import Response
from ..storage import DamagedFile, StorageError
from ..valkey import ServerAway
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
        """Store entries, all of them or none; a server may get them in several steps.

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
_RETRY_S = 5.0  # between two attempts to reach a server that is away

T = TypeVar("T")


@attrs.frozen
class CachedResponse:
    """A response, and when it arrived, in Unix seconds."""

    response: Response
    written_at: float


class FailOpenStore:
    """Reads and writes responses in a store, and goes on without it when it fails.

    The first error is logged as the event `cache_unavailable`, and the store is closed; a damaged
    one is set aside. From then on lookups find nothing, and nothing is stored. A server that is
    away is not given up: `try_again` asks it every 5 seconds, and logs `cache_back`.

    Args:
        store: the store; None for none.
    """

    def __init__(self, store: CacheStore | None) -> None:
        self._store = store
        self._is_away = False
        self._went_away = trio.Event()

    @property
    def is_usable(self) -> bool:
        """Whether there is a store that has not failed, and that is not away."""
        return self._store is not None and not self._is_away

    async def open(self) -> None:
        """Open the store."""
        if self._store is not None:
            await self.attempt(self._store.open)

    async def get_many(self, keys: Sequence[str], now: float) -> dict[str, CachedResponse]:
        """Return the responses that are stored, without those that cannot be decoded."""
        store = self._store
        if store is None:
            return {}
        found: dict[str, CachedResponse] = {}
        for entry in await self.attempt(lambda: store.get_many(keys, now)) or ():
            try:
                found[entry.key] = CachedResponse(decode(entry.value), entry.written_at)
            except ValueError:
                continue  # the next response to this request replaces it
        return found

    async def put_many(
        self, responses: dict[str, CachedResponse], used: Iterable[str], now: float
    ) -> None:
        """Store responses, and note the keys of others that were used."""
        store = self._store
        if store is None or self._is_away:
            return
        entries = [
            CacheEntry(key, encode(one.response), one.written_at) for key, one in responses.items()
        ]
        others = [key for key in used if key not in responses]
        await self.attempt(lambda: store.put_many(entries, others, now))

    async def usage(self) -> CacheUsage | None:
        """Return how much the store contains; None without a store."""
        return None if self._store is None else await self.attempt(self._store.usage)

    async def clear(self) -> None:
        """Delete all responses."""
        if self._store is not None:
            await self.attempt(self._store.clear)

    async def close(self) -> None:
        """Close the store."""
        store, self._store = self._store, None
        if store is not None:
            await store.close()

    async def attempt(self, action: Callable[[], Awaitable[T]]) -> T | None:
        """Do something with the store; return None if it fails, or the store cannot be used."""
        if not self.is_usable:
            return None
        try:
            return await action()
        except ServerAway as error:
            if not self._is_away:
                self._is_away = True
                self._went_away.set()
                _log_failure(self._store, error, error.remedy)
        except StorageError as error:
            await self._give_up(error)
        return None

    async def try_again(self) -> None:
        """Ask a server that is away every 5 seconds, and use it when it answers.

        Calls meanwhile do not wait for it.
        """
        while True:
            await self._went_away.wait()
            self._went_away = trio.Event()
            while self._is_away and self._store is not None:
                await trio.sleep(_RETRY_S)
                try:
                    await self._store.usage()
                except ServerAway:
                    continue
                except StorageError as error:
                    await self._give_up(error)
                    return
                self._is_away = False
                _log.warning("cache_back", path=self._store.name)

    async def _give_up(self, error: StorageError) -> None:
        store, self._store = self._store, None
        if store is None:  # another task has logged it
            return
        await store.close()
        aside = await store.set_aside() if isinstance(error, DamagedFile) else None
        remedy = error.remedy if aside is None else f"none is needed: it is moved to {aside}"
        _log_failure(store, error, remedy)


def _log_failure(store: CacheStore | None, error: StorageError, remedy: str) -> None:
    path = "" if store is None else store.name
    _log.warning("cache_unavailable", path=path, reason=error.reason, remedy=remedy)
