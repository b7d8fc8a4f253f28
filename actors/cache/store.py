"""What stands behind the memory of a cache: the seam for files, and for servers to come.

A store that may be missing or break: the work goes on without it.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol

import attrs
import structlog

from ..messages import Response
from .stored import decode, encode

__all__ = [
    "CacheEntry",
    "CacheStore",
    "CachedResponse",
    "FailOpenStore",
    "Holding",
    "StoreUnavailable",
]


@attrs.frozen
class CacheEntry:
    """An answer as a store has it.

    Args:
        key: what it is found by.
        value: the answer, as bytes that mean nothing to the store.
        written_at: when it was answered, in seconds of the wall clock.
    """

    key: str
    value: bytes
    written_at: float


@attrs.frozen
class Holding:
    """What a store, or a memory, holds.

    Args:
        entries: how many answers.
        bytes: what they take.
        evicted: how many were dropped for want of room since it was opened.
    """

    entries: int
    bytes: int
    evicted: int


class StoreUnavailable(Exception):
    """The store cannot be used; the cache goes on without it.

    Args:
        reason: why.
        remedy: what to do about it.
    """

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(f"{reason}; {remedy}")
        self.reason = reason
        self.remedy = remedy


class CacheStore(Protocol):
    """Keeps entries, drops those that are too old and the longest unused ones for room.

    Any of it may raise `StoreUnavailable`, but for `close`. `now` is always the wall clock, in
    seconds. Several of them may be under way at a time.
    """

    @property
    def name(self) -> str:
        """Where it is, for logs; no secret (L8)."""
        ...

    async def open(self) -> None:
        """Make it ready; also after a `close`."""
        ...

    async def get_many(self, keys: Sequence[str], now: float) -> Sequence[CacheEntry]:
        """What is there of these keys and not too old."""
        ...

    async def put_many(
        self, entries: Sequence[CacheEntry], used: Sequence[str], now: float
    ) -> None:
        """Keep entries, all or none of them.

        Args:
            entries: to be kept; they take the place of those of the same keys.
            used: keys of others that were used since the last time.
            now: the wall clock.
        """
        ...

    async def count(self) -> Holding:
        """What it holds."""
        ...

    async def clear(self) -> None:
        """Drop everything."""
        ...

    async def close(self) -> None:
        """Let go of it; harmless if it is not open."""
        ...


_log = structlog.stdlib.get_logger("callsheet.cache")


@attrs.frozen
class CachedResponse:
    """An answer, and when it was given, in seconds of the wall clock."""

    response: Response
    written_at: float


class FailOpenStore:
    """Puts answers into a store and takes them out again.

    The first error of the store is logged as one event, `cache_unavailable`, and is the end of it:
    from then on there is nothing on the shelf.

    Args:
        store: None if there is none.
    """

    def __init__(self, store: CacheStore | None) -> None:
        self._store = store

    @property
    def is_there(self) -> bool:
        """Whether there is a store that works."""
        return self._store is not None

    async def open(self) -> None:
        """Make the store ready."""
        if self._store is not None:
            try:
                await self._store.open()
            except StoreUnavailable as error:
                await self._give_up(error)

    async def get_many(self, keys: Sequence[str], now: float) -> dict[str, CachedResponse]:
        """What is there of these; what cannot be read is as if it were not there."""
        if self._store is None:
            return {}
        try:
            entries = await self._store.get_many(keys, now)
        except StoreUnavailable as error:
            await self._give_up(error)
            return {}
        kept: dict[str, CachedResponse] = {}
        for entry in entries:
            try:
                kept[entry.key] = CachedResponse(decode(entry.value), entry.written_at)
            except ValueError:
                continue  # the next answer takes its place
        return kept

    async def put_many(
        self, kept: dict[str, CachedResponse], used: Iterable[str], now: float
    ) -> None:
        """Keep answers, and say what else was used."""
        if self._store is None:
            return
        entries = [
            CacheEntry(key, encode(one.response), one.written_at) for key, one in kept.items()
        ]
        try:
            await self._store.put_many(entries, [key for key in used if key not in kept], now)
        except StoreUnavailable as error:
            await self._give_up(error)

    async def count(self) -> Holding | None:
        """What is there; None if there is no store."""
        if self._store is None:
            return None
        try:
            return await self._store.count()
        except StoreUnavailable as error:
            await self._give_up(error)
            return None

    async def clear(self) -> None:
        """Drop everything."""
        if self._store is not None:
            try:
                await self._store.clear()
            except StoreUnavailable as error:
                await self._give_up(error)

    async def close(self) -> None:
        """Let go of the store."""
        store, self._store = self._store, None
        if store is not None:
            await store.close()

    async def _give_up(self, error: StoreUnavailable) -> None:
        store, self._store = self._store, None
        if store is not None:  # else another one was first
            _log.warning(
                "cache_unavailable", path=store.name, reason=error.reason, remedy=error.remedy
            )
            await store.close()
