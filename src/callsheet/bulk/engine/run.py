"""A bulk run, and the methods by which the caller controls it."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from typing import final

import trio

from ...actors import BatchingStatistics, Limits, Troupe
from ...runtime import AskFailed, Ref
from ..errors import DRAINED, BulkRefused, BulkStopped, RunEnding
from ..files.lines import Result
from ..progress import Progress
from ..shared.counts import SharedCounts
from .dispatch import Dispatch
from .dispatcher import ChangeInFlight, Control, EndAtOnce, EndRun, PauseRows
from .reporting import SampleLimits, SeenLimits
from .writer import OutputState

_QUIET_S = 2.0  # without a response, after which the reason is shown


@final
class BulkRun:
    """A bulk run, made by `bulk`. Iterate over it once to get results; each is on disk by then.

    Args:
        state: the rows, calls and money of the run.
        written: what the writer has written.
        limits: the limiter's state as it was read last.
        troupe: sends the requests.
        dispatcher: the actor that sends rows.
        limits_reader: the actor that reads the limiter's state.
        ahead: returns how many rows may be dispatched, from the number of calls in flight.
        max_in_flight: the upper bound of the number of calls in flight.
        total: the number of rows of the input, if it is known.
        remark: a sentence about the route that the user may not expect; "" for none.
        misfits: why rows cannot be in a pack, with the number of them.
        shared: what is known of the workers of a shared run; None for another run.
        shared_name: the name of a shared run; "" for another run.

    Attributes:
        remark: a sentence about the route that the user may not expect; "" for none.
        misfits: why rows cannot be in a pack, with the number of them; a row that was sent again
            counts again.
        shared_name: the name of a shared run, for `callsheet work`; "" for another run.
        packing: what became of packs, once the run has ended; None for another route.
        lost_before: HTTP requests of earlier runs that may have been billed without a response.
        is_finished: True if no row is in flight, and the files are complete.
        left: set when the block of `bulk` is left.
    """

    def __init__(
        self,
        state: Dispatch,
        written: OutputState,
        limits: SeenLimits,
        *,
        troupe: Troupe,
        dispatcher: Ref[Control],
        limits_reader: Ref[SampleLimits],
        ahead: Callable[[int], int],
        max_in_flight: int,
        total: int | None,
        remark: str,
        misfits: Mapping[str, int],
        shared: SharedCounts | None = None,
        shared_name: str = "",
    ) -> None:
        self.remark = remark
        self.misfits = misfits
        self.packing: BatchingStatistics | None = None
        self.lost_before = state.spending.lost
        self.is_finished = False
        self.left = trio.Event()
        self._state = state
        self._written = written
        self._limits = limits
        self._troupe = troupe
        self._dispatcher = dispatcher
        self._limits_reader = limits_reader
        self._ahead = ahead
        self._max_in_flight = max_in_flight
        self._total = total
        self._shared = shared
        self.shared_name = shared_name
        self._is_paused = self._is_draining = False
        self._final: RunEnding | None = None  # once the run is finished

    def __repr__(self) -> str:
        return f"<BulkRun {self._state.queue!r}>"

    @property
    def ending(self) -> RunEnding | None:
        """Why the run ends, or has ended, before its input; None if it does not."""
        return self._final if self.is_finished else self._state.ending

    @property
    def started_at(self) -> float:
        """The start of the run, in seconds on Trio's clock."""
        return self._state.started_at

    # ---------------------------------------------------------------- control

    @property
    def is_complete(self) -> bool:
        """Whether every row of the input has ended, with a response or an error."""
        return self.is_finished and self._state.is_done and self.ending is None

    @property
    def is_paused(self) -> bool:
        """Whether the run is paused."""
        return self._is_paused

    def pause(self) -> None:
        """Send no more requests until `resume`; calls in flight go on."""
        self._is_paused = True
        self._tell(PauseRows(is_paused=True))

    def resume(self) -> None:
        """Continue after `pause`."""
        self._is_paused = False
        self._tell(PauseRows(is_paused=False))

    def drain(self) -> int:
        """Send no more requests, and end the run when the calls in flight have ended.

        Returns:
            The number of calls in flight.
        """
        self._is_draining = True
        self._tell(EndRun(DRAINED))
        return self._state.queue.running if self._shared is None else self._shared.taken

    async def change_limits(self, limits: Limits) -> None:
        """Change the rate limits; see `Troupe.change_limits`.

        Args:
            limits: the new limits.

        Raises:
            ValueError: the run is shared; its workers have the limits that it began with.
        """
        if self._shared is not None:
            raise ValueError("the limits of a shared run are those that it was started with")
        await self._troupe.change_limits(limits)
        in_flight = min(limits.in_flight, self._max_in_flight)
        self._tell(ChangeInFlight(self._ahead(in_flight), in_flight))

    def progress(self) -> Progress:
        """Return the progress; its limits are those known at the previous call of this method.

        It is built in one step from what each actor has counted.
        """
        with suppress(AskFailed):  # the run has ended
            self._limits_reader.tell_nowait(SampleLimits())
        state, now = self._state, trio.current_time()
        queue, spending, health = state.queue, state.spending, state.health
        counts, window = self._written.counts, self._written.window
        # A connection that fails before any response is reported at once: the address may be wrong.
        quiet_s = now - max(health.answered_at, state.started_at)
        is_quiet = health.is_unreached or quiet_s >= _QUIET_S
        retrying, shared = len(queue.retrying), self._shared
        in_flight = queue.dispatched - retrying
        return Progress(
            started_at=state.started_at,
            now=now,
            total=counts.read if state.is_read else self._total,
            read=counts.read,
            answered=counts.answered,
            reused=counts.reused,
            failed=counts.failed,
            bad=counts.bad,
            in_flight=in_flight if shared is None else min(in_flight, shared.taken),
            shared=None if shared is None else shared.progress(),
            retrying=retrying,
            requests=state.requests,
            rerouted=state.rerouted,
            in_batches=state.in_batches,
            unwritten=window.waiting,
            window=window.rows,
            usage=counts.usage,
            cost_usd=counts.cost_usd,
            unpriced=counts.unpriced,
            maybe_billed=spending.maybe_billed,
            unknown_usd=spending.unknown_usd,
            maybe_usd=spending.all_maybe_usd,
            spent_usd=spending.at_most_usd,
            budget_usd=state.max_cost,
            budget_room=state.room,
            errors=dict(counts.errors),
            cut=dict(counts.cut),
            slowest=tuple(counts.slowest),
            limits=self._limits.latest,
            trouble=health.trouble if is_quiet else "",
            is_paused=self._is_paused,
            is_draining=self._is_draining or queue.is_closed,
        )

    def _tell(self, message: Control) -> None:
        with suppress(AskFailed):  # the run has ended
            self._dispatcher.tell_nowait(message)

    # ---------------------------------------------------------------- results

    async def wait(self) -> None:
        """Wait for the end of the run, and discard the results.

        Raises:
            BulkStopped: the run ended before every row did.
            BulkRefused: it would pay again for most of its first rows; nothing was sent.
        """
        self._written.results.discard()
        self._state.wake()  # more rows may be read
        await self._written.results.wait_closed()
        self._raise_ending()

    def __aiter__(self) -> AsyncIterator[Result]:
        return self

    async def __anext__(self) -> Result:
        """Return the next row that has ended, in the order of OUTPUT.

        Raises:
            BulkStopped: the run ended before every row did.
            BulkRefused: it would pay again for most of its first rows; nothing was sent.
        """
        ended = await self._written.results.take()
        if ended is None:
            self._raise_ending()
            raise StopAsyncIteration
        self._state.wake()  # more rows may be read
        return Result(ended.event, ended.line.removesuffix(b"\n"))

    def _raise_ending(self) -> None:
        if self.ending is None:
            return
        if self.ending.kind == "refused":
            raise BulkRefused(self.ending.reason, self.ending.remedy)
        raise BulkStopped(self.ending)

    # ---------------------------------------------------------------- internal

    async def wait_finished(self) -> None:
        """Wait until no row is in flight, and the files are complete."""
        await self._written.results.wait_closed()

    def finish(self, ending: RunEnding | None) -> None:
        """Record that the files are complete; the actors' tree calls this.

        Args:
            ending: why the run has ended before its input; None if it has not.
        """
        self._final = ending
        self.is_finished = True
        self._written.results.close()

    def leave(self, *, at_once: bool = False) -> None:
        """Let the run end, because the block of `bulk` is left; `bulk` calls this.

        Args:
            at_once: True to cancel the calls in flight rather than to wait for them.
        """
        self._tell(EndAtOnce() if at_once else EndRun(DRAINED))
        self.left.set()
