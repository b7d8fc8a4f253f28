"""Stores in memory, for troupes of one process: tests of programs, and of Callsheet itself."""

from collections.abc import Callable
from typing import TYPE_CHECKING, final

import trio

from .stores import Outage

if TYPE_CHECKING:
    from ..cache import CachePolicy, SharedCache, SharedMemory
    from ..ledger import MemoryLedgerStore
    from ..rate_limit import MemoryLimitStore
    from .records import MemoryRecords


@final
class MemoryStores:
    """What the troupes of one process share if they have the same object.

    Args:
        outage: what a troupe does while the stores are away, which a test can arrange.
        clock: returns the time in seconds on Trio's clock.

    Attributes:
        cached: what the caches share; None before there is one.
    """

    def __init__(
        self, *, outage: Outage = "divide", clock: Callable[[], float] = trio.current_time
    ) -> None:
        self.outage: Outage = outage
        self._clock = clock
        self._records: dict[str, MemoryRecords] = {}
        self._limits: dict[str, MemoryLimitStore] = {}  # {endpoint: ...}
        self._ledgers: dict[str, MemoryLedgerStore] = {}
        self.cached: SharedMemory | None = None

    @property
    def name(self) -> str:
        """See `SharedStores`."""
        return "the shared memory"

    def limits(self, endpoint: str) -> "MemoryLimitStore":
        """Return the store of the limits of an endpoint, the same one for each process.

        Args:
            endpoint: what identifies the account whose limits are shared.
        """
        from ..rate_limit import MemoryLimitStore  # noqa: PLC0415  # the stores of a troupe alone

        found = self._limits.get(endpoint)
        if found is None:
            found = self._limits[endpoint] = MemoryLimitStore(self.name, clock=self._clock)
        return found

    async def check(self) -> None:
        """See `SharedStores`."""
        await trio.lowlevel.checkpoint()

    def records(self, kind: str) -> "MemoryRecords":
        """See `SharedStores`."""
        from .records import MemoryRecords  # noqa: PLC0415  # most programs share no keys

        return self._records.setdefault(kind, MemoryRecords(f"{kind} in {self.name}"))

    def reports(self) -> None:
        """See `SharedStores`. No other process can look into this memory."""

    def ledger(self, shared_name: str = "") -> "MemoryLedgerStore":
        """See `SharedStores`."""
        from ..ledger import MemoryLedgerStore  # noqa: PLC0415  # only with budgets

        if shared_name not in self._ledgers:
            self._ledgers[shared_name] = MemoryLedgerStore(self._clock)
        return self._ledgers[shared_name]

    def cache(self, policy: "CachePolicy") -> "SharedCache":
        """See `SharedStores`."""
        from ..cache import MemorySharedCache, SharedMemory  # noqa: PLC0415  # if there is a cache

        if self.cached is None:
            self.cached = SharedMemory(self._clock)
        return MemorySharedCache(self.cached, policy)
