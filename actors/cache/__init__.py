"""The response cache: `CacheActor` answers repeated requests from memory or from a file."""

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .actor import CacheActor, CacheStatistics, ClearCache, GetCacheStatistics, PeekCache
    from .policy import CachePolicy
    from .store import CacheStore
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        actor="CacheActor CacheStatistics ClearCache GetCacheStatistics PeekCache",
        policy="CachePolicy",
        store="CacheStore",
    )

__all__ = [
    "CacheActor",
    "CachePolicy",
    "CacheStatistics",
    "CacheStore",
    "ClearCache",
    "GetCacheStatistics",
    "PeekCache",
]
