"""Stores in memory, for troupes of one process: tests of programs, and of Callsheet itself."""

from collections.abc import Callable
from typing import TYPE_CHECKING, final

import trio

from .outage import Outage

if TYPE_CHECKING:
    from ..cache import CachePolicy, CacheStore
    from ..rate_limit import LimitStore


@final
class MemoryStores:
    """What the troupes of one process share if they have the same object.

    Args:
        outage: what a troupe does while the stores are away, which a test can arrange.
        clock: returns the time in seconds on Trio's clock.
    """

    def __init__(
        self, *, outage: Outage = "divide", clock: Callable[[], float] = trio.current_time
    ) -> None:
        self.outage: Outage = outage
        self._clock = clock

    @property
    def name(self) -> str:
        """See `SharedStores`."""
        return "the shared memory"

    def limits(self, endpoint: str) -> "LimitStore":
        """See `SharedStores`."""
        raise NotImplementedError(endpoint)

    def cache(self, policy: "CachePolicy") -> "CacheStore":
        """See `SharedStores`."""
        raise NotImplementedError(policy)
