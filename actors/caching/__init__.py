"""Answers that serve again: what is kept, where, and for how long."""

from ..identity import cache_key
from .flights import Flight, Flights
from .memory import MemoryCache
from .policy import CachePolicy
from .questions import CacheStatistics, ClearCache, CountCache, PeekCache
from .shelf import Kept, Shelf
from .sqlite_store import SqliteStore
from .store import CacheStore, Entry, Holding, StoreUnavailable
from .stored import for_keeping, from_cache, is_kept, size_in_memory

__all__ = [
    "CachePolicy",
    "CacheStatistics",
    "CacheStore",
    "ClearCache",
    "CountCache",
    "Entry",
    "Flight",
    "Flights",
    "Holding",
    "Kept",
    "MemoryCache",
    "PeekCache",
    "Shelf",
    "SqliteStore",
    "StoreUnavailable",
    "cache_key",
    "for_keeping",
    "from_cache",
    "is_kept",
    "size_in_memory",
]
