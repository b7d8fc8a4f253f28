"""A least-recently-used cache, bounded by bytes and by number of entries. Pure (R14)."""

from collections import OrderedDict
from math import inf
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class _Entry(NamedTuple, Generic[T]):
    value: T
    size: int
    written_at: float


class MemoryCache(Generic[T]):
    """A cache in memory that drops the least recently used values to make room.

    Args:
        max_bytes: the bytes that all values may take; a single larger value is not stored.
        max_entries: the number of values.
        ttl_s: seconds for which a value is valid after it was written; None for ever.

    Attributes:
        bytes: the bytes that all values take.
        evicted: the number of values that were dropped to make room.
    """

    def __init__(self, max_bytes: int, max_entries: int, ttl_s: float | None = None) -> None:
        self.bytes = 0
        self.evicted = 0
        self._max_bytes = max_bytes
        self._max_entries = max_entries
        self._ttl_s = inf if ttl_s is None else ttl_s
        self._entries: OrderedDict[str, _Entry[T]] = OrderedDict()  # least recently used first

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: str) -> bool:
        """Return whether there is a value, which may have expired."""
        return key in self._entries

    def __repr__(self) -> str:
        return f"<MemoryCache {len(self)} of {self._max_entries}, {self.bytes} bytes>"

    def peek(self, key: str, now: float) -> T | None:
        """Return a value without marking it as used; None if it is missing or expired."""
        entry = self._entries.get(key)
        if entry is None or now - entry.written_at >= self._ttl_s:
            return None
        return entry.value

    def get(self, key: str, now: float) -> T | None:
        """Return a value and mark it as used; None if it is missing. Drop it if it has expired."""
        value = self.peek(key, now)
        if value is not None:
            self._entries.move_to_end(key)
        else:
            self._drop(key)
        return value

    def put(self, key: str, value: T, *, size: int, written_at: float) -> None:
        """Store a value; it replaces the value of the same key.

        Args:
            key: the key to find it by.
            value: the value to store.
            size: the bytes that it takes.
            written_at: when it was written, in seconds on the clock of `now`.
        """
        self._drop(key)
        if size > self._max_bytes or not self._max_entries:
            return
        self._entries[key] = _Entry(value, size, written_at)
        self.bytes += size
        while self.bytes > self._max_bytes or len(self._entries) > self._max_entries:
            _, dropped = self._entries.popitem(last=False)
            self.bytes -= dropped.size
            self.evicted += 1

    def clear(self) -> None:
        """Drop all values. They do not count as evicted."""
        self._entries.clear()
        self.bytes = 0

    def _drop(self, key: str) -> None:
        dropped = self._entries.pop(key, None)
        if dropped is not None:
            self.bytes -= dropped.size
