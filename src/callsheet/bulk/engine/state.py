"""The state that the tasks of a run share, and the events that wake them (L4)."""

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from math import inf
from typing import final

import trio

from ...actors import CostBound
from ..errors import RUN_AGAIN, RunEnding
from ..files.archive import Archive, ArchiveFailed, Placed
from ..files.outcome import RowOutcome
from ..progress import RowObserver
from ..settings import BulkSettings
from .counts import RunCounts
from .queue import RowQueue
from .spending import Spending


@final
class WakeEvent:
    """An event that one task waits for repeatedly; setting it several times wakes the task once."""

    def __init__(self) -> None:
        self._event = trio.Event()

    def set(self) -> None:
        """Wake the task that waits, or that waits next."""
        self._event.set()

    async def wait(self) -> None:
        """Wait until the event is set, then clear it."""
        await self._event.wait()
        self._event = trio.Event()


Acknowledge = Callable[[Iterable[str]], Awaitable[None]]

DRAINED = RunEnding("drained", "the run was stopped", RUN_AGAIN)
LATE = RunEnding("late", "the deadline of the run has passed", RUN_AGAIN)


@final
class RunState:
    """The state of a run.

    Args:
        archive: the open archive that stores results.
        settings: the settings of the run.
        ahead: the number of rows that may be dispatched at a time; see `RowQueue`.
        in_flight: the number of calls that may be in flight at a time.
        is_recovered: True if calls survive the death of the process, through the Batch API's
            journal.
        observers: called for each row that has ended.
        bound: bounds what one attempt of a request can cost.

    Attributes:
        queue: the rows to dispatch.
        sends_live: True if some row may be sent by another route than a batch.
        acknowledge: reports that responses are stored, so that the batch journal can drop them.
        unacknowledged: custom ids of stored responses that were not acknowledged yet.
        counts: the counts of ended rows.
        ended: rows that have ended and are not on disk yet.
        unwritten_bytes: the bytes of their lines.
        results: rows that the caller has not iterated over yet; see `take_result`.
        scopes: {custom id of a dispatched row: the cancel scope of its task}
        reading: the cancel scope of the reader; None before it starts.
        archive_limiter: lets one thread at a time use the archive.
        spending: what this run and earlier ones have spent.
        is_read: True if the input has ended.
        is_finished: True if no row will be dispatched and none is in flight.
        discards_results: True if the caller does not iterate over the results.
        cancels_unsent: True if rows that are not in flight are cancelled rather than awaited.
        ending: why the run ends, or has ended, before its input; None if it does not.
        requests: the number of HTTP requests sent.
        rerouted: the number of rows that were sent live, and not in a batch.
        answered_at: the time of the last response, on Trio's clock; -inf if there is none.
        trouble: the error of the last attempt, if no response has arrived since; else "".
        is_unreached: True if no response has arrived, and the last attempt had no connection.
        started_at: the start of the run, in seconds on Trio's clock.
        due: the deadline of the run, in seconds on Trio's clock; None for no deadline.
    """

    def __init__(
        self,
        archive: Archive,
        settings: BulkSettings,
        *,
        ahead: int,
        in_flight: int,
        is_recovered: bool,
        observers: Sequence[RowObserver],
        bound: CostBound,
    ) -> None:
        self.archive = archive
        self.settings = settings
        self.is_recovered = is_recovered
        self.in_flight = in_flight
        self.sends_live = settings.deadline_s is not None  # near the deadline, rows are sent live
        self.acknowledge: Acknowledge | None = None
        self.unacknowledged: list[str] = []
        self.queue = RowQueue(ahead)
        self.counts = RunCounts()
        self.ended: list[RowOutcome] = []
        self.unwritten_bytes = 0
        self.results: deque[RowOutcome] = deque()
        self._results_bytes = 0
        self.scopes: dict[str, trio.CancelScope] = {}
        self.reading: trio.CancelScope | None = None
        self.archive_limiter = trio.CapacityLimiter(1)
        self.wake_reader, self.wake_dispatcher, self.wake_writer = (
            WakeEvent(),
            WakeEvent(),
            WakeEvent(),
        )
        self.results_changed, self.limits_wanted, self.wake_acknowledger = (
            WakeEvent(),
            WakeEvent(),
            WakeEvent(),
        )
        self.spending = Spending(archive.account, bound)
        self.is_read = self.is_finished = self.discards_results = self.cancels_unsent = False
        self.ending: RunEnding | None = None
        self.requests = self.rerouted = 0
        self.answered_at, self.trouble = -inf, ""
        self.is_unreached = False
        self.started_at = trio.current_time()
        due = settings.deadline_s
        self.due = None if due is None else self.started_at + due
        self._observers = observers

    @property
    def is_done(self) -> bool:
        """Whether every row of the input has ended and is on disk."""
        return self.is_read and not self.queue.waiting and not self.ended

    def at_risk(self, bound: int) -> int:
        """Return how many rows are lost at most if the process dies, while its batches survive.

        Args:
            bound: the number of rows that may have been started.
        """
        return min(bound - self.queue.finished, self.in_flight) if self.sends_live else 0

    @property
    def room(self) -> int:
        """The number of rows that may be read now."""
        settings, most = self.settings, self.settings.window_bytes
        if self.queue.held + self.unwritten_bytes >= most or self._results_bytes >= most:
            return 0
        room = self.archive.window.room
        return (
            room if self.discards_results else min(room, settings.window_rows - len(self.results))
        )

    def admit(self, rows: Sequence[Placed]) -> None:
        """Add rows to dispatch."""
        for placed in rows:
            self.spending.admit(placed.row.request)
        self.queue.add(rows)

    def take_result(self) -> RowOutcome:
        """Remove and return the next result."""
        ended = self.results.popleft()
        self._results_bytes -= len(ended.line)
        self.wake_reader.set()
        return ended

    def drop_results(self) -> None:
        """Discard the results, because the caller does not iterate over them."""
        self.discards_results = True
        self.results.clear()
        self._results_bytes = 0
        self.wake_reader.set()

    def end(self, ending: RunEnding, *, cancels_unsent: bool = True) -> None:
        """Dispatch no more rows.

        Args:
            ending: the reason, for the user.
            cancels_unsent: True to cancel rows that were not sent, and rows that wait for a retry.
        """
        if self.ending is not None or self.is_finished:
            return
        self.ending = ending
        self.queue.is_closed = True
        if self.reading is not None:
            self.reading.cancel()
        if cancels_unsent:
            self.cancels_unsent = True
            self.cancel_unsent()
            self._cancel(self.queue.retrying)
        self.wake_dispatcher.set()

    def stop_on_disk_error(self, trouble: str) -> None:
        """End the run if there is a disk error.

        Args:
            trouble: the error; "" for none.
        """
        if trouble:
            self.end(archive_ending(ArchiveFailed(trouble)))

    def cancel_unsent(self) -> None:
        """Cancel the rows that were not sent."""
        self._cancel(self.queue.unsent)

    def _cancel(self, custom_ids: Iterable[str]) -> None:
        for custom_id in custom_ids:
            if (scope := self.scopes.get(custom_id)) is not None:
                scope.cancel()

    def report(self, ended: Sequence[RowOutcome], left: Sequence[RowOutcome]) -> None:
        """Report rows that are on disk to the observers and to the caller.

        Args:
            ended: the rows that have ended.
            left: the rows that were written to OUTPUT, in its order.
        """
        for one in ended:
            self.counts.add(one.event)
            for observer in self._observers:
                observer(one.event)
        if left:
            if not self.discards_results:
                self.results.extend(left)
                self._results_bytes += sum(len(one.line) for one in left)
            self.results_changed.set()
            self.wake_reader.set()


def archive_ending(error: ArchiveFailed) -> RunEnding:
    """Return the ending of a run whose files cannot be read or written."""
    if error.is_damaged:
        return RunEnding("damaged", str(error), error.remedy)
    return RunEnding("disk", str(error), f"{error.remedy}; {RUN_AGAIN}")
