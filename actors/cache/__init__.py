"""The response cache: `CacheActor` answers repeated requests from memory or from a file."""

from ..lazy import lazy_imports

with lazy_imports(__name__):
    from .actor import CacheActor as CacheActor
    from .actor import CacheStatistics as CacheStatistics
    from .actor import ClearCache as ClearCache
    from .actor import GetCacheStatistics as GetCacheStatistics
    from .actor import PeekCache as PeekCache
    from .policy import CachePolicy as CachePolicy
    from .store import CacheStore as CacheStore
