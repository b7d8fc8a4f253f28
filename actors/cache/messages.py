"""What a `CacheActor` can be asked."""

from decimal import Decimal

import attrs

from ...runtime import Message
from ..messages import Request
from .store import CacheUsage


@attrs.frozen(kw_only=True)
class CacheStatistics:
    """The counts of a `CacheActor` since it started, and what it contains.

    Args:
        memory_hits: requests with a response in memory.
        disk_hits: requests with a response in the store.
        misses: cacheable requests that went to the next stage.
        stored: responses that were stored.
        saved_usd: the cost in USD of the responses of all hits, as far as it is known.
        memory: how much is in memory.
        disk: how much is in the store; None without a store, or when it cannot be used.
        elsewhere: requests that waited for the call of another process.
    """

    memory_hits: int
    disk_hits: int
    misses: int
    stored: int
    saved_usd: Decimal
    memory: CacheUsage
    disk: CacheUsage | None
    elsewhere: int = 0

    @property
    def is_on_disk(self) -> bool:
        """Whether responses are stored on disk."""
        return self.disk is not None


@attrs.frozen
class GetCacheStatistics(Message[CacheStatistics]):
    """Ask a `CacheActor` for its `CacheStatistics`."""


@attrs.frozen
class PeekCache(Message[bool]):
    """Ask whether a request would be a hit now. Nothing is changed.

    Args:
        request: the request; it is not sent.
    """

    request: Request


@attrs.frozen
class ClearCache(Message[None]):
    """Tell a `CacheActor` to delete all responses."""
