"""The response cache: `CacheActor` answers repeated requests from memory, a file or a server."""

from ..lazy import lazy_imports

with lazy_imports(__name__):
    from .actor import CacheActor as CacheActor
    from .claims import SharedCache as SharedCache
    from .messages import CacheStatistics as CacheStatistics
    from .messages import ClearCache as ClearCache
    from .messages import GetCacheStatistics as GetCacheStatistics
    from .messages import PeekCache as PeekCache
    from .policy import CachePolicy as CachePolicy
    from .shared_memory import MemorySharedCache as MemorySharedCache
    from .shared_memory import SharedMemory as SharedMemory
    from .store import CacheStore as CacheStore
    from .valkey import ValkeyCache as ValkeyCache
