"""A bulk run, and the methods by which the caller controls it."""

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import final

import trio

from ...actors import (
    CallEvent,
    CallFailed,
    CostBound,
    CostTotals,
    InThread,
    LimiterSnapshot,
    Limits,
    Request,
    Troupe,
)
from ...runtime import AskFailed
from ..errors import BulkStopped, RunEnding
from ..files.archive import Archive
from ..files.outcome import Result
from ..progress import Progress, RowObserver
from ..row import BadRow, Row
from ..settings import BulkSettings
from .dispatcher import Dispatcher
from .reader import Reader
from .state import DRAINED, LATE, RunState
from .writer import Writer

_LEDGER_S = 5.0  # for an answer of the ledger, whose disk may be slow
_QUIET_S = 2.0  # without a response, after which the reason is shown


@final
class BulkRun:
    """A bulk run, made by `bulk`. Iterate over it once to get results; each is on disk by then.

    Args:
        rows: the rows of the input.
        archive: the open archive that stores results.
        settings: the settings of the run.
        prepare: makes the request to send from a row's request and the seconds that are left.
        ahead: returns how many rows may be dispatched, from the number of calls in flight.
        in_flight: the number of calls that may be in flight at a time.
        max_in_flight: the upper bound of `in_flight`, also after a change of limits.
        is_recovered: True if calls survive the death of the process, through the Batch API's
            journal.
        observers: called for each row that has ended.
        in_thread: runs blocking disk access.
        wall_clock: returns the Unix time in seconds.
        bound: bounds what one attempt of a request can cost.
        remark: a sentence about the route that the user may not expect; "" for none.

    Attributes:
        lost_before: HTTP requests of earlier runs that may have been billed without a response.
    """

    def __init__(
        self,
        rows: Iterator[Row | BadRow],
        archive: Archive,
        settings: BulkSettings,
        *,
        prepare: Callable[[Request, float | None], Request],
        ahead: Callable[[int], int],
        in_flight: int,
        max_in_flight: int,
        is_recovered: bool,
        observers: Sequence[RowObserver],
        in_thread: InThread,
        wall_clock: Callable[[], float],
        bound: CostBound,
        remark: str = "",
    ) -> None:
        self.remark = remark
        self._state = RunState(
            archive,
            settings,
            ahead=ahead(in_flight),
            in_flight=in_flight,
            is_recovered=is_recovered,
            observers=observers,
            bound=bound,
        )
        self._reader = Reader(self._state, rows, in_thread)
        self._lane = archive.lane
        self._dispatcher = Dispatcher(self._state, prepare, archive.lane, wall_clock)
        self._writer = Writer(self._state, in_thread)
        self._ahead = ahead
        self._max_in_flight = max_in_flight
        self._limits: LimiterSnapshot | None = None
        self._troupe: Troupe | None = None
        self._has_ended = False
        self._deadline_scope = trio.CancelScope()  # around the wait for the deadline
        self.lost_before = archive.account.lost

    def __repr__(self) -> str:
        return f"<BulkRun {self._state.queue!r}>"

    @property
    def ending(self) -> RunEnding | None:
        """Why the run ends, or has ended, before its input; None if it does not."""
        return self._state.ending

    @property
    def started_at(self) -> float:
        """The start of the run, in seconds on Trio's clock."""
        return self._state.started_at

    # ---------------------------------------------------------------- control

    @property
    def is_complete(self) -> bool:
        """Whether every row of the input has ended, with a response or an error."""
        state = self._state
        return state.is_finished and state.is_done and state.ending is None

    @property
    def is_paused(self) -> bool:
        """Whether the run is paused."""
        return self._state.queue.is_paused

    def pause(self) -> None:
        """Send no more requests until `resume`; calls in flight go on."""
        self._state.queue.is_paused = True
        self._state.cancel_unsent()

    def resume(self) -> None:
        """Continue after `pause`."""
        self._state.queue.is_paused = False
        self._state.wake_dispatcher.set()

    def drain(self) -> int:
        """Send no more requests, and end the run when the calls in flight have ended.

        Returns:
            The number of calls in flight.
        """
        self._state.end(DRAINED)
        return self._state.queue.running

    async def change_limits(self, limits: Limits) -> None:
        """Change the rate limits; see `Troupe.change_limits`.

        Args:
            limits: the new limits.
        """
        if self._troupe is not None:
            await self._troupe.change_limits(limits)
            state = self._state
            in_flight = min(limits.in_flight, self._max_in_flight)
            state.in_flight = max(state.in_flight, in_flight)  # calls in flight go on
            state.queue.ahead = self._ahead(in_flight)
            self._state.wake_dispatcher.set()

    def progress(self) -> Progress:
        """Return the progress; its limits are those known at the previous call of this method."""
        state, now = self._state, trio.current_time()
        state.limits_wanted.set()
        counts, queue, window = state.counts, state.queue, state.archive.window
        # A connection that fails before any response is reported at once: the address may be wrong.
        is_quiet = state.is_unreached or now - max(state.answered_at, state.started_at) >= _QUIET_S
        return Progress(
            started_at=state.started_at,
            now=now,
            total=counts.read if state.is_read else state.settings.total,
            read=counts.read,
            answered=counts.answered,
            reused=counts.reused,
            failed=counts.failed,
            bad=counts.bad,
            in_flight=queue.dispatched - len(queue.retrying),
            retrying=len(queue.retrying),
            requests=state.requests,
            rerouted=state.rerouted,
            unwritten=window.waiting,
            window=window.rows,
            usage=counts.usage,
            cost_usd=counts.cost_usd,
            unpriced=counts.unpriced,
            maybe_billed=state.spending.lost,
            unknown_usd=state.spending.unknown_usd,
            maybe_usd=state.spending.maybe_usd,
            errors=dict(counts.errors),
            slowest=tuple(counts.slowest),
            limits=self._limits,
            trouble=state.trouble if is_quiet else "",
            is_paused=queue.is_paused,
            is_draining=queue.is_closed,
        )

    # ---------------------------------------------------------------- results

    async def wait(self) -> None:
        """Wait for the end of the run, and discard the results.

        Raises:
            BulkStopped: the run ended before every row did.
        """
        state = self._state
        state.drop_results()
        while not self._has_ended:
            await state.results_changed.wait()
        self._raise_ending()

    def __aiter__(self) -> AsyncIterator[Result]:
        return self

    async def __anext__(self) -> Result:
        """Return the next row that has ended, in the order of OUTPUT.

        Raises:
            BulkStopped: the run ended before every row did.
        """
        state = self._state
        while not state.results:
            if self._has_ended:
                self._raise_ending()
                raise StopAsyncIteration
            await state.results_changed.wait()
        await trio.lowlevel.checkpoint()
        ended = state.take_result()
        return Result(ended.event, ended.line.removesuffix(b"\n"))

    def _raise_ending(self) -> None:
        if self.ending is not None:
            raise BulkStopped(self.ending)

    # ---------------------------------------------------------------- internal

    async def run(self, troupe: Troupe) -> None:
        """Run the tasks of the run; `bulk` calls this.

        Args:
            troupe: sends the requests; its call events must be passed to `observe`.
        """
        state, self._troupe = self._state, troupe
        state.acknowledge = troupe.acknowledge if state.is_recovered else None
        try:
            async with trio.open_nursery() as background:
                background.start_soon(self._writer.run)
                background.start_soon(self._writer.acknowledge)
                background.start_soon(self._poll_limits, troupe)
                async with trio.open_nursery() as work:
                    work.start_soon(self._reader.run)
                    work.start_soon(self._end_in_time, work)
                    await self._dispatcher.run(troupe, work)
                    self._deadline_scope.cancel()
                state.is_finished = True
                if state.is_done and state.ending in (DRAINED, LATE):
                    state.ending = None  # every row has ended anyway
                state.wake_writer.set()
                state.wake_acknowledger.set()
                state.limits_wanted.set()
        finally:
            # However the run ends: store what was received, and report what was not.
            state.is_finished = True
            with trio.CancelScope(shield=True):
                await self._count_exactly(troupe)
                await self._writer.keep_all()
                await self._writer.finish()
            self._has_ended = True
            state.results_changed.set()

    def observe(self, event: CallEvent) -> None:
        """Record a call event; this method is an `Observer`."""
        self._dispatcher.observe(event)

    async def _count_exactly(self, troupe: Troupe) -> None:
        """Read from the ledger, if there is one, what the calls of this run may have cost."""
        if troupe.ledger is None:
            return
        with trio.move_on_after(_LEDGER_S), contextlib.suppress(AskFailed, CallFailed):
            tenants = (await troupe.costs()).by["tenant"]
            self._state.spending.count_exactly(tenants.get(self._lane, CostTotals()))

    async def _poll_limits(self, troupe: Troupe) -> None:
        """Ask for the limiter's statistics whenever `progress` was called."""
        while not self._state.is_finished:
            self._limits = (await troupe.limiter_statistics()).limiter
            await self._state.limits_wanted.wait()

    async def _end_in_time(self, work: trio.Nursery) -> None:
        if self._state.due is None:
            return
        with self._deadline_scope:
            await trio.sleep_until(self._state.due)
            self._state.end(LATE)
            work.cancel_scope.cancel()
