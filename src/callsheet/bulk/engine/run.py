"""One run: reads rows, asks for them, keeps their answers, and can be steered meanwhile."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import final

import trio

from ...actors import CallEvent, InThread, LimiterSnapshot, Limits, Request, Troupe
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

__all__ = [
    "BulkRun",
]


_QUIET_S = 2.0  # without an answer before anybody is told why


@final
class BulkRun:
    """A run, as `bulk` gives it. Iterate over it, once, for results; each is on disk by then.

    Args:
        rows: of the input.
        archive: where answers are kept; open.
        settings: how.
        prepare: makes of a request what is asked, with the seconds that are left for the run.
        ahead: rows that may be under way, by the calls that may be in flight.
        in_flight: calls that may be.
        max_in_flight: calls that may ever be, whatever limits are set meanwhile.
        is_recovered: what was sent is not lost when the process dies: the Batch API's journal.
        observers: are told of each row that has ended.
        in_thread: runs what waits for the disk.
        wall_clock: seconds of Unix time.

    Attributes:
        lost_before: HTTP requests of earlier runs that may have been charged for nothing.
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
    ) -> None:
        self._state = RunState(
            archive,
            settings,
            ahead=ahead(in_flight),
            in_flight=in_flight,
            is_recovered=is_recovered,
            observers=observers,
        )
        self._intake = Reader(self._state, rows, in_thread)
        self._asker = Dispatcher(self._state, prepare, archive.lane, wall_clock)
        self._keeper = Writer(self._state, in_thread)
        self._ahead = ahead
        self._most_in_flight = max_in_flight
        self._limits: LimiterSnapshot | None = None
        self._troupe: Troupe | None = None
        self._has_ended = False
        self._alarm = trio.CancelScope()  # around the wait for the deadline
        self.lost_before = archive.account.lost

    def __repr__(self) -> str:
        return f"<BulkRun {self._state.line!r}>"

    @property
    def ending(self) -> RunEnding | None:
        """Why it has ended before its input, or will; None if it has not."""
        return self._state.ending

    @property
    def started_at(self) -> float:
        """When it began, in seconds on Trio's clock."""
        return self._state.started_at

    # ---------------------------------------------------------------- steering

    @property
    def is_complete(self) -> bool:
        """Whether every row of the input has ended, one way or the other."""
        state = self._state
        return state.is_over and state.is_done and state.ending is None

    @property
    def is_paused(self) -> bool:
        """Whether nobody is asked for now."""
        return self._state.line.is_paused

    def pause(self) -> None:
        """Ask for no more rows; those that were sent are waited for."""
        self._state.line.is_paused = True
        self._state.take_back()

    def resume(self) -> None:
        """Go on."""
        self._state.line.is_paused = False
        self._state.to_ask.ring()

    def drain(self) -> int:
        """Begin nothing more, and end when all that was sent has ended.

        Returns:
            How many rows are waited for.
        """
        self._state.end(DRAINED)
        return self._state.line.under_way

    async def change_limits(self, limits: Limits) -> None:
        """Go by other limits from now on; see `Troupe.change_limits`."""
        if self._troupe is not None:
            await self._troupe.change_limits(limits)
            state = self._state
            in_flight = min(limits.in_flight, self._most_in_flight)
            state.in_flight = max(state.in_flight, in_flight)  # those that are out stay out
            state.line.ahead = self._ahead(in_flight)
            self._state.to_ask.ring()

    def progress(self) -> Progress:
        """How it stands; of the limits, how they stood when this was asked the last time."""
        state, now = self._state, trio.current_time()
        state.to_look.ring()
        tally, line, window = state.tally, state.line, state.archive.window
        is_quiet = now - max(state.answered_at, state.started_at) >= _QUIET_S
        return Progress(
            started_at=state.started_at,
            now=now,
            total=tally.read if state.is_read else state.settings.total,
            read=tally.read,
            answered=tally.answered,
            reused=tally.reused,
            failed=tally.failed,
            bad=tally.bad,
            in_flight=line.asked - len(line.resting),
            resting=len(line.resting),
            requests=state.requests,
            unwritten=window.waiting,
            window=window.rows,
            usage=tally.usage,
            cost_usd=tally.cost_usd,
            unpriced=tally.unpriced,
            maybe_billed=state.lost,
            errors=dict(tally.errors),
            slowest=tuple(tally.slowest),
            limits=self._limits,
            trouble=state.trouble if is_quiet else "",
            is_paused=line.is_paused,
            is_draining=line.is_closed,
        )

    # ---------------------------------------------------------------- results

    async def wait(self) -> None:
        """Wait for the end without a look at the results.

        Raises:
            BulkStopped: there are rows that were not asked for.
        """
        state = self._state
        state.drop_results()
        while not self._has_ended:
            await state.to_tell.wait()
        self._raise_ending()

    def __aiter__(self) -> AsyncIterator[Result]:
        return self

    async def __anext__(self) -> Result:
        """The next row that has ended, in the order of OUTPUT.

        Raises:
            BulkStopped: there is none, but there are rows that were not asked for.
        """
        state = self._state
        while not state.results:
            if self._has_ended:
                self._raise_ending()
                raise StopAsyncIteration
            await state.to_tell.wait()
        await trio.lowlevel.checkpoint()
        ended = state.take_result()
        return Result(ended.told, ended.line.removesuffix(b"\n"))

    def _raise_ending(self) -> None:
        if self.ending is not None:
            raise BulkStopped(self.ending)

    # ---------------------------------------------------------------- the engine's

    async def run(self, troupe: Troupe) -> None:
        """Do it all.

        Args:
            troupe: whom to ask; its observer is to be told what this one is told by `observe`.
        """
        state, self._troupe = self._state, troupe
        state.acknowledge = troupe.acknowledge if state.is_recovered else None
        try:
            async with trio.open_nursery() as keeping:
                keeping.start_soon(self._keeper.run)
                keeping.start_soon(self._keeper.acknowledge)
                keeping.start_soon(self._look, troupe)
                async with trio.open_nursery() as work:
                    work.start_soon(self._intake.run)
                    work.start_soon(self._end_in_time, work)
                    await self._asker.run(troupe, work)
                    self._alarm.cancel()
                state.is_over = True
                if state.is_done and state.ending in (DRAINED, LATE):
                    state.ending = None  # it was just about to end
                state.to_keep.ring()
                state.to_acknowledge.ring()
                state.to_look.ring()
        finally:
            # Whatever ends it, what was answered is kept, and what was not is told of.
            state.is_over = True
            with trio.CancelScope(shield=True):
                await self._keeper.keep_all()
                await self._keeper.finish()
            self._has_ended = True
            state.to_tell.ring()

    def observe(self, event: CallEvent) -> None:
        """Learn from the troupe what becomes of its calls."""
        self._asker.observe(event)

    async def _look(self, troupe: Troupe) -> None:
        """See how the limits stand, when somebody wants to know."""
        while not self._state.is_over:
            self._limits = (await troupe.limit_statistics()).limiter
            await self._state.to_look.wait()

    async def _end_in_time(self, work: trio.Nursery) -> None:
        if self._state.due is None:
            return
        with self._alarm:
            await trio.sleep_until(self._state.due)
            self._state.end(LATE)
            work.cancel_scope.cancel()
