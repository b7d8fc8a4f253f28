"""What the parts of a run share: how far it has come, and what wakes whom.

Wakes the one task that waits for something to do (L4).
"""

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from math import inf
from typing import final

import trio

from ..errors import MAKE_ROOM, RunEnding
from ..files.archive import Archive
from ..files.outcome import RowOutcome
from ..progress import RowObserver
from ..settings import BulkSettings
from .counts import RunCounts
from .queue import RowQueue

__all__ = [
    "DRAINED",
    "LATE",
    "RunState",
    "WakeEvent",
    "no_room",
]


@final
class WakeEvent:
    """Rung any number of times, it wakes whoever waits, or comes to wait, once."""

    def __init__(self) -> None:
        self._event = trio.Event()

    def ring(self) -> None:
        """There is something to do."""
        self._event.set()

    async def wait(self) -> None:
        """Wait until it has rung since the last time."""
        await self._event.wait()
        self._event = trio.Event()


Acknowledge = Callable[[Iterable[str]], Awaitable[None]]

DRAINED = RunEnding("drained", "the run was stopped", "the same command goes on from there")
LATE = RunEnding(
    "late", "the deadline of the run has passed", "the same command goes on from there"
)


@final
class RunState:
    """How a run stands.

    Args:
        archive: where answers are kept; open.
        settings: of the run.
        ahead: rows that may be under way, see `RowQueue`.
        in_flight: calls that may be.
        is_recovered: what was sent is not lost when the process dies: the Batch API's journal.
        observers: are told of each row that has ended.

    Attributes:
        line: what is to be asked for.
        goes_live: a row has gone another way than by a batch.
        acknowledge: says that answers are kept, to whoever keeps them until then.
        kept: custom ids of answers that are kept and were not said to be.
        tally: what became of the rest.
        ended: rows that are not kept yet.
        unkept: bytes of their lines.
        results: rows that were not iterated over yet; see `take_result`.
        scopes: {custom id of a row that is asked for: what takes it back}
        reading: what ends the reading; None before it begins.
        turn: the archive is one thread's at a time.
        to_read, to_ask, to_keep, to_tell, to_look, to_acknowledge: wake whoever does that.
        lost: HTTP requests that may have been charged for nothing, those of earlier runs included.
        cost_usd: USD of all answers, those of earlier runs included.
        is_read: the input has ended.
        is_over: nothing more is asked for, and nothing is under way.
        is_heedless: nobody iterates over the results.
        takes_back: what is not under way is not waited for any more.
        ending: why it has ended before its input, or will; None if it has not.
        requests: HTTP requests that were sent.
        answered_at: when the latest answer came, on Trio's clock; before all times if none did.
        trouble: what the latest attempt has failed with, if no answer came since.
        started_at: when it began, in seconds on Trio's clock.
        due: when it is to end; None for no time.
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
    ) -> None:
        self.archive = archive
        self.settings = settings
        self.is_recovered = is_recovered
        self.in_flight = in_flight
        self.goes_live = settings.deadline_s is not None  # when that is near, at the latest
        self.acknowledge: Acknowledge | None = None
        self.kept: list[str] = []
        self.line = RowQueue(ahead)
        self.tally = RunCounts()
        self.ended: list[RowOutcome] = []
        self.unkept = 0
        self.results: deque[RowOutcome] = deque()
        self._results_bytes = 0
        self.scopes: dict[str, trio.CancelScope] = {}
        self.reading: trio.CancelScope | None = None
        self.turn = trio.CapacityLimiter(1)
        self.to_read, self.to_ask, self.to_keep = WakeEvent(), WakeEvent(), WakeEvent()
        self.to_tell, self.to_look, self.to_acknowledge = WakeEvent(), WakeEvent(), WakeEvent()
        self.lost = archive.account.lost
        self.cost_usd = archive.account.cost_usd
        self.is_read = self.is_over = self.is_heedless = self.takes_back = False
        self.ending: RunEnding | None = None
        self.requests = 0
        self.answered_at, self.trouble = -inf, ""
        self.started_at = trio.current_time()
        due = settings.deadline_s
        self.due = None if due is None else self.started_at + due
        self._observers = observers

    @property
    def is_done(self) -> bool:
        """Whether every row that was to be asked for has ended and is kept."""
        return self.is_read and not self.line.waiting and not self.ended

    def at_risk(self, note: int) -> int:
        """How many rows are lost at most if the process dies, but its batches are not.

        Args:
            note: so many rows may have been begun, of all that ever were.
        """
        return min(note - self.line.over, self.in_flight) if self.goes_live else 0

    @property
    def room(self) -> int:
        """How many rows may be read."""
        settings, most = self.settings, self.settings.window_bytes
        if self.line.held + self.unkept >= most or self._results_bytes >= most:
            return 0
        room = self.archive.window.room
        return room if self.is_heedless else min(room, settings.window_rows - len(self.results))

    def take_result(self) -> RowOutcome:
        """The next one that was not iterated over."""
        ended = self.results.popleft()
        self._results_bytes -= len(ended.line)
        self.to_read.ring()
        return ended

    def drop_results(self) -> None:
        """Nobody will iterate over them."""
        self.is_heedless = True
        self.results.clear()
        self._results_bytes = 0
        self.to_read.ring()

    def end(self, ending: RunEnding, *, takes_back: bool = True) -> None:
        """Begin nothing more.

        Args:
            ending: why.
            takes_back: what is not under way is not waited for: what was not sent, and what waits
                for another attempt, be it for an outage to end.
        """
        if self.ending is not None or self.is_over:
            return
        self.ending = ending
        self.line.is_closed = True
        if self.reading is not None:
            self.reading.cancel()
        if takes_back:
            self.takes_back = True
            self.take_back()
            self._cancel(self.line.resting)
        self.to_ask.ring()

    def heed(self, trouble: str) -> None:
        """Begin nothing more if there is trouble with the disk."""
        if trouble:
            self.end(no_room(trouble))

    def take_back(self) -> None:
        """What was not sent is not waited for."""
        self._cancel(self.line.unsent)

    def _cancel(self, custom_ids: Iterable[str]) -> None:
        for custom_id in custom_ids:
            if (scope := self.scopes.get(custom_id)) is not None:
                scope.cancel()

    def tell(self, ended: Sequence[RowOutcome], left: Sequence[RowOutcome]) -> None:
        """Tell of rows that are on disk.

        Args:
            ended: rows that have ended.
            left: rows whose turn it was in OUTPUT.
        """
        for one in ended:
            self.tally.add(one.told)
            for observer in self._observers:
                observer(one.told)
        if left:
            if not self.is_heedless:
                self.results.extend(left)
                self._results_bytes += sum(len(one.line) for one in left)
            self.to_tell.ring()
            self.to_read.ring()


def no_room(trouble: str, remedy: str = MAKE_ROOM) -> RunEnding:
    """What is written has no room."""
    return RunEnding("disk", trouble, f"{remedy}; the same command goes on from there")
