"""What stands behind the memory of a cache: the seam for files, and for servers to come."""

from collections.abc import Sequence
from typing import Protocol

import attrs

__all__ = ["CacheStore", "Entry", "Holding", "StoreUnavailable"]


@attrs.frozen
class Entry:
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

    async def get_many(self, keys: Sequence[str], now: float) -> Sequence[Entry]:
        """What is there of these keys and not too old."""
        ...

    async def put_many(self, entries: Sequence[Entry], used: Sequence[str], now: float) -> None:
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
