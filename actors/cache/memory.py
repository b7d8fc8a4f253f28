"""The answers that were used last, bounded by bytes and by number. Pure (R14)."""

from collections import OrderedDict
from math import inf
from typing import Generic, NamedTuple, TypeVar

__all__ = [
    "MemoryCache",
]


T = TypeVar("T")


class _InMemory(NamedTuple, Generic[T]):
    value: T
    size: int
    written_at: float


class MemoryCache(Generic[T]):
    """Keeps what was used last; what was not used for the longest time makes room.

    Args:
        max_bytes: what all values may take together; one that is larger alone is not kept.
        max_entries: how many there may be.
        ttl_s: for how many seconds a value holds after it was written; None for ever.
    """

    def __init__(self, max_bytes: int, max_entries: int, ttl_s: float | None = None) -> None:
        self.bytes = 0
        self.evicted = 0  # for want of room, since it was made
        self._max_bytes = max_bytes
        self._max_entries = max_entries
        self._ttl_s = inf if ttl_s is None else ttl_s
        self._kept: OrderedDict[str, _InMemory[T]] = OrderedDict()  # the longest unused first

    def __len__(self) -> int:
        return len(self._kept)

    def __repr__(self) -> str:
        return f"<MemoryCache {len(self)} of {self._max_entries}, {self.bytes} bytes>"

    def peek(self, key: str, now: float) -> T | None:
        """The value, None if it is not here or too old. Changes nothing."""
        kept = self._kept.get(key)
        if kept is None or now - kept.written_at >= self._ttl_s:
            return None
        return kept.value

    def get(self, key: str, now: float) -> T | None:
        """The same, and it was used now; one that is too old is gone."""
        value = self.peek(key, now)
        if value is not None:
            self._kept.move_to_end(key)
        else:
            self._drop(key)
        return value

    def put(self, key: str, value: T, *, size: int, written_at: float) -> None:
        """Keep a value, in place of the one of this key if there is any.

        Args:
            key: what it is found by.
            value: what to keep.
            size: how many bytes it takes.
            written_at: from when it holds, in seconds of the clock that `now` is of.
        """
        self._drop(key)
        if size > self._max_bytes or not self._max_entries:
            return
        self._kept[key] = _InMemory(value, size, written_at)
        self.bytes += size
        while self.bytes > self._max_bytes or len(self._kept) > self._max_entries:
            _, gone = self._kept.popitem(last=False)
            self.bytes -= gone.size
            self.evicted += 1

    def clear(self) -> None:
        """Keep nothing; that is no eviction."""
        self._kept.clear()
        self.bytes = 0

    def _drop(self, key: str) -> None:
        gone = self._kept.pop(key, None)
        if gone is not None:
            self.bytes -= gone.size
