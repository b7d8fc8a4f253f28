"""`PageFeed` reads the gateway once a second for all who look at the page, and not for no one."""

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from math import inf
from typing import Protocol, final

import trio

from ...actors import CallFailed, CostStatistics, Reading
from ...runtime import AskFailed
from .document import DocumentMaker, GatewayState, PageClock, TenantReading, to_json
from .recorder import CallRecorder

_EVERY_S = 1.0
# A reading of many actors and calls is given for longer, so that readings take at most about a
# twentieth of the program's time. That is also true for the sums of a long ledger.
_TIMES_ITS_DURATION = 20.0
_SELDOM_S = 30.0  # the longest time between two documents
_COSTS_EVERY_S = 5.0
_WITHIN_S = 1.0  # a ledger that takes longer is shown as it was
_MAX_VIEWERS = 32


class GatewayView(Protocol):
    """What the page asks of the gateway."""

    @property
    def recorder(self) -> CallRecorder:
        """What observes the calls of all troupes."""
        ...

    @property
    def started_at(self) -> float:
        """When the gateway started, in seconds on Trio's clock."""
        ...

    @property
    def draining(self) -> trio.Event:
        """Set when the gateway takes no more calls; then the streams of the page end."""
        ...

    def tenants(self) -> Sequence[TenantReading]:
        """Return the tenants with calls, those with the most calls that wait first."""
        ...

    async def readings(self) -> Mapping[str, Reading]:
        """Return {name of the endpoint: the reading of its troupe}, in the order to show."""
        ...

    async def costs(self) -> CostStatistics | None:
        """Return the sums of the ledger, which all troupes share; None without a ledger."""
        ...


@final
class PageFeed:
    """The documents of one gateway, each of which is made once for all viewers.

    Args:
        view: the gateway that it reads.
        unix_now: returns the time in seconds since 1970 (UTC).

    Attributes:
        next_at: when the next document is made, in seconds on Trio's clock.
        readings: how many documents were made.
    """

    def __init__(self, view: GatewayView, *, unix_now: Callable[[], float] = time.time) -> None:
        self._view = view
        self._unix_now = unix_now
        self._maker = DocumentMaker(view.recorder)
        self._turn = trio.Lock()
        self._latest = b""
        self._costs: CostStatistics | None = None
        self._costs_until = -inf
        self._viewers = 0
        self.next_at = -inf
        self.readings = 0

    def __repr__(self) -> str:
        return f"<PageFeed for {self._viewers} viewers, {self.readings} readings>"

    @property
    def has_room(self) -> bool:
        """Whether one more viewer can be served."""
        return self._viewers < _MAX_VIEWERS

    @contextmanager
    def viewer(self) -> Generator[None]:
        """Count a viewer while the block runs."""
        self._viewers += 1
        try:
            yield
        finally:
            self._viewers -= 1

    async def latest(self) -> bytes:
        """Return the document of this second as JSON."""
        async with self._turn:
            if trio.current_time() >= self.next_at:
                self._latest = await self._read()
            return self._latest

    async def _read(self) -> bytes:
        view, began = self._view, trio.current_time()
        readings = await view.readings()
        if trio.current_time() >= self._costs_until:
            await self._read_costs()
        now = trio.current_time()
        every_s = min(_SELDOM_S, max(_EVERY_S, (now - began) * _TIMES_ITS_DURATION))
        clock = PageClock(
            now=now, unix_s=self._unix_now(), started_at=view.started_at, every_s=every_s
        )
        state: GatewayState = "draining" if view.draining.is_set() else "serving"
        document = self._maker.make(
            readings, self._costs, clock, tenants=view.tenants(), state=state
        )
        body = to_json(document)
        self.next_at = now + every_s
        self.readings += 1
        return body

    async def _read_costs(self) -> None:
        """Ask for the sums of the ledger; the former ones stay if it does not reply in time."""
        asked = trio.current_time()
        with suppress(AskFailed, CallFailed), trio.move_on_after(_WITHIN_S):
            self._costs = await self._view.costs()
        took_s = trio.current_time() - asked
        self._costs_until = asked + max(_COSTS_EVERY_S, took_s * _TIMES_ITS_DURATION)
