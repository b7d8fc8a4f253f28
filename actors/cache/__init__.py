"""The response cache: CacheActor, its memory, and the file behind it."""

from .actor import CacheActor, CacheStatistics, ClearCache, GetCacheStatistics, PeekCache
from .policy import CachePolicy
from .store import CacheStore

__all__ = [
    "CacheActor",
    "CachePolicy",
    "CacheStatistics",
    "CacheStore",
    "ClearCache",
    "GetCacheStatistics",
    "PeekCache",
]
