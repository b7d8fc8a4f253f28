"""What one may ask of a cache, besides answers."""

from decimal import Decimal

import attrs

from ...runtime import Message
from ..messages import Request
from .store import Holding

__all__ = ["CacheStatistics", "ClearCache", "CountCache", "PeekCache"]


@attrs.frozen(kw_only=True)
class CacheStatistics:
    """What a `CacheActor` has done since it began, and what it holds.

    Args:
        memory_hits: requests answered from memory.
        disk_hits: requests answered from the store behind it.
        misses: cacheable requests that went on.
        stored: answers that were taken in.
        saved_usd: what the answers of all hits had cost, as far as that is known.
        memory: what is in memory.
        disk: what is in the store; None if there is none, or it cannot be used.
    """

    memory_hits: int
    disk_hits: int
    misses: int
    stored: int
    saved_usd: Decimal
    memory: Holding
    disk: Holding | None

    @property
    def is_on_disk(self) -> bool:
        """Whether answers outlive the program."""
        return self.disk is not None


@attrs.frozen
class CountCache(Message[CacheStatistics]):
    """Ask a `CacheActor` what it has done."""


@attrs.frozen
class PeekCache(Message[bool]):
    """Ask whether a request would be answered at once if it came now. Nothing is changed."""

    request: Request


@attrs.frozen
class ClearCache(Message[None]):
    """Have a `CacheActor` drop every answer that it holds."""
