"""What the caller learns of a run: counts of rows that ended, results, and calls of observers."""

import contextlib
import heapq
from collections import Counter, deque
from collections.abc import Sequence
from decimal import Decimal
from typing import final

import attrs
import trio

from ...actors import LimiterSnapshot, Response, Troupe, Usage
from ...runtime import Actor, AskFailed, Message, handles
from ..errors import RUN_AGAIN, RunEnding
from ..files.lines import RowOutcome
from ..progress import RowEnded, RowObserver
from ..row import BAD_ROW, Row, ended_by
from ..settings import RETRIED_REASONS

_SLOWEST = 5


def row_answered(row: Row, response: Response, now: float) -> RowEnded:
    """Return the event of a row with a response.

    Args:
        row: the row that was asked.
        response: the response, with the tokens, cost and requests of this run.
        now: the current time, in seconds on Trio's clock.
    """
    return RowEnded(
        at=now,
        number=row.number,
        custom_id=row.custom_id,
        seconds=response.seconds,
        attempts=response.http_requests,
        route=response.route,
        usage=response.usage,
        cost_usd=response.cost_usd,
        finish_reason=ended_by(response),
    )


@final
class RunCounts:
    """The counts of one run.

    Attributes:
        read: rows that were read.
        answered: rows with a response, reused ones included.
        reused: rows whose response is from an earlier run.
        failed: rows that ended with an error.
        bad: lines that are not valid requests.
        usage: the tokens of this run's responses.
        cost_usd: the cost in USD, as far as prices are known.
        unpriced: responses whose price is not known.
        errors: {kind of error: number of rows}
        cut: {finish reason: number of this run's responses}, for those that are not complete
    """

    def __init__(self) -> None:
        self.read = self.answered = self.reused = self.failed = self.bad = self.unpriced = 0
        self.usage = Usage()
        self.cost_usd = Decimal(0)
        self.errors: Counter[str] = Counter()
        self.cut: Counter[str] = Counter()
        self._slowest: list[tuple[float, str]] = []  # a heap, the fastest of them first

    def add(self, event: RowEnded) -> None:
        """Count a row that has ended."""
        if event.error == BAD_ROW:
            self.bad += 1
            return
        if event.error is not None:
            self.failed += 1
            self.errors[event.error] += 1
            self._pay(event)  # for a response that is not valid
            return
        self.answered += 1
        if event.is_reused:
            self.reused += 1
            self._pay(event)  # for calls that were to replace the response
            return
        self._pay(event)
        if event.finish_reason in RETRIED_REASONS:
            self.cut[event.finish_reason] += 1
        if len(self._slowest) < _SLOWEST:
            heapq.heappush(self._slowest, (event.seconds, event.custom_id))
        elif event.seconds > self._slowest[0][0]:
            heapq.heapreplace(self._slowest, (event.seconds, event.custom_id))

    def _pay(self, event: RowEnded) -> None:
        self.usage += event.usage
        if event.cost_usd is None:
            self.unpriced += 1
        else:
            self.cost_usd += event.cost_usd

    @property
    def slowest(self) -> Sequence[tuple[str, float]]:
        """The custom ids and the seconds of the slowest responses, the slowest first."""
        return tuple((name, took) for took, name in sorted(self._slowest, reverse=True))


@final
class ResultFeed:
    """Results on their way to the caller, who takes them by iterating over the run.

    Attributes:
        size: the bytes of the lines that wait.
        discards: True if the caller does not iterate over the results.
        is_closed: True if no result will follow.
    """

    def __init__(self) -> None:
        self.size = 0
        self.discards = self.is_closed = False
        self._waiting: deque[RowOutcome] = deque()
        self._changed = trio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    def __repr__(self) -> str:
        return f"<ResultFeed {len(self)} waiting>"

    def put(self, rows: Sequence[RowOutcome]) -> None:
        """Add results in the order of OUTPUT."""
        if not self.discards:
            self._waiting.extend(rows)
            self.size += sum(row.size for row in rows)
        self._notify()

    def close(self) -> None:
        """Let the caller know that no result will follow."""
        self.is_closed = True
        self._notify()

    def discard(self) -> None:
        """Drop the results, and those that follow."""
        self.discards = True
        self._waiting.clear()
        self.size = 0

    async def take(self) -> RowOutcome | None:
        """Wait for the next result and return it; None if none will follow."""
        while not self._waiting:
            if self.is_closed:
                return None
            await self._changed.wait()
        await trio.lowlevel.checkpoint()
        row = self._waiting.popleft()
        self.size -= row.size
        return row

    async def wait_closed(self) -> None:
        """Wait until no result will follow."""
        while not self.is_closed:
            await self._changed.wait()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


@attrs.frozen
class ReportRows(Message[None]):
    """Report rows to the observers.

    Args:
        events: how each row ended; all are on disk (L7).
    """

    events: Sequence[RowEnded]


class ObserverFailed(Exception):
    """An observer raised an error.

    Attributes:
        ending: the ending of the run because of it.
    """

    def __init__(self, error: Exception) -> None:
        reason = f"an observer of the rows failed with {type(error).__name__}: {error}"
        super().__init__(reason)
        self.ending = RunEnding("crashed", reason, RUN_AGAIN)


class ObserverActor(Actor[ReportRows]):
    """Calls the observers of a run. One that has raised an error is not called again (R17).

    Args:
        observers: the observers; the list is of the actor's place, so it outlives a restart.
    """

    def __init__(self, observers: list[RowObserver]) -> None:
        self._observers = observers

    @handles(ReportRows, raises=(ObserverFailed,))
    async def report(self, message: ReportRows) -> None:
        """Call each observer for each row.

        Raises:
            ObserverFailed: an observer has raised an error; the others were called.
        """
        failed: Exception | None = None
        for event in message.events:
            for observer in tuple(self._observers):
                try:
                    observer(event)
                except Exception as error:  # noqa: BLE001  # it is raised below
                    self._observers.remove(observer)
                    failed = error
        if failed is not None:
            raise ObserverFailed(failed) from failed


@attrs.frozen
class SampleLimits(Message[None]):
    """Read the state of the limiter."""


@attrs.define
class SeenLimits:
    """The limiter's state as it was read last.

    Args:
        latest: the state; None before it was read.
    """

    latest: LimiterSnapshot | None = None


class LimitsActor(Actor[SampleLimits]):
    """Reads the state of the limiter, so that the progress can be built without a wait.

    Args:
        troupe: has the limiter; None if no limiter is in this process.
        seen: gets the state.
    """

    def __init__(self, troupe: Troupe | None, seen: SeenLimits) -> None:
        self._troupe = troupe
        self._seen = seen

    @handles(SampleLimits)
    async def sample(self, message: SampleLimits) -> None:  # noqa: ARG002  # a handler
        """Read the state again."""
        if self._troupe is None:
            return
        with contextlib.suppress(AskFailed):  # then the limits are those of before
            self._seen.latest = (await self._troupe.limiter_statistics()).limiter
