"""Decide which rows may be dispatched: concurrency, pauses, and the budget. Pure (R14)."""

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import final

import attrs

from ..row import EarlierAnswer, Placed, Row


@attrs.define(eq=False)
class RowCall:
    """The call of a row that was dispatched.

    Args:
        placed: the row with its place.
        began_at: the time of the dispatch, in seconds on Trio's clock.
        how: cancels the call; None until it can be cancelled.
        is_cancelled: True if the call is to be cancelled.
        maybe_billed: failed attempts that may have been charged for.
        is_in_batch: True if the provider has the row in a batch.
    """

    placed: Placed
    began_at: float
    how: Callable[[], object] | None = None
    is_cancelled: bool = False
    maybe_billed: int = 0
    is_in_batch: bool = False

    @property
    def row(self) -> Row:
        """The row."""
        return self.placed.row

    def cancel(self) -> None:
        """Cancel the call; its end is reported afterwards."""
        self.is_cancelled = True
        if self.how is not None:
            self.how()

    def cancel_by(self, how: Callable[[], object]) -> None:
        """Cancel the call in this way, at once if it was cancelled meanwhile."""
        self.how = how
        if self.is_cancelled:
            how()


@final
class RowQueue:
    """The rows that wait to be dispatched, and those that are dispatched.

    A dispatched row is first unsent, then sent; between two attempts it is retrying. At most
    `ahead` rows, not counting retrying ones, are dispatched or have ended without being on disk
    yet. So a process that dies loses no more responses than were in flight (L7). The next row
    starts when the end of another row is on disk, not when it has ended.

    The bound on the number of started rows is on disk as well. After a crash, it limits how many
    calls may have been billed without a response. Several bounds may be on their way to the disk;
    no row starts beyond any of them.

    If the budget is too small for one more row, each call that ends may release enough of what it
    reserved. So no more rows are dispatched at a time than when the row was refused. After as many
    ends as there may be rows, one more is tried. A row that is refused again lowers the number,
    down to one. If a row that is dispatched alone is over the budget too, the budget is spent; if
    it ends, the number grows by one with each end until the next refusal.

    Args:
        ahead: the number of rows that may be dispatched at a time.

    Attributes:
        written_bound: the number of rows that may be started: no more than is written to disk, or
            is on its way there.
        started: the number of rows ever started; a row that was put back and started again counts
            twice.
        finished: the number of started rows that have ended or were put back.
        held: the characters of the requests that have not ended.
        is_paused: True if no row may start until the run is resumed.
        is_closed: True if no row may start any more.
        is_spent: True if the budget is spent.
    """

    def __init__(self, ahead: int) -> None:
        self.ahead = ahead
        self.written_bound = self.started = self.finished = self.held = 0
        self.is_paused = self.is_closed = self.is_spent = False
        self._waiting: deque[Placed] = deque()
        self._returned: list[tuple[int, Placed]] = []  # a heap of (place, row)
        self._unsent: dict[str, Placed] = {}  # {custom id: its row}
        self._sent: set[str] = set()  # custom ids
        self._retrying: set[str] = set()  # of them
        self._most: int | None = None  # the rows that the budget has room for; None: not known
        self._is_alone = False
        self._ends = 0  # of rows since `_most` has changed
        self._ends_per_row = 1  # after which it grows
        self._bounds: deque[int] = deque()  # those on their way to the disk, in order

    def __repr__(self) -> str:
        unsent = len(self._unsent)
        return f"<RowQueue {self.waiting} waiting, {unsent} unsent, {self.dispatched} dispatched>"

    @property
    def waiting(self) -> int:
        """The number of rows that are not dispatched yet, or were put back."""
        return len(self._waiting) + len(self._returned)

    @property
    def dispatched(self) -> int:
        """The number of rows that are dispatched."""
        return self.started - self.finished

    @property
    def running(self) -> int:
        """The number of rows that the provider may be processing."""
        return len(self._sent) - len(self._retrying)

    @property
    def unsent(self) -> Iterable[str]:
        """The custom ids of rows that are dispatched but not sent."""
        return list(self._unsent)

    @property
    def retrying(self) -> Sequence[str]:
        """The custom ids of rows that wait for their next attempt."""
        return list(self._retrying)

    @property
    def bound(self) -> int:
        """The bound to write to disk together with everything that has ended."""
        most = self.finished + self.ahead + len(self._retrying)
        return max(self.started, min(most, self.started + self.waiting))

    @property
    def needs_bound(self) -> bool:
        """Whether a higher bound should be written now."""
        known = self._bounds[-1] if self._bounds else self.written_bound
        return not self.is_closed and known < self.bound

    def take_bound(self) -> int:
        """Return the bound that the caller will write; until then no row starts beyond it."""
        bound = self.bound
        self._bounds.append(bound)
        self.written_bound = min(self.written_bound, bound)
        return bound

    def bound_written(self, bound: int) -> None:
        """Record that a bound, and every end of a row before its `take_bound`, are on disk."""
        self._bounds.remove(bound)
        self.written_bound = min([bound, *self._bounds])

    def bound_lost(self, bound: int) -> None:
        """Record that a bound could not be written."""
        self._bounds.remove(bound)

    def add(self, rows: Iterable[Placed]) -> None:
        """Add rows to dispatch."""
        for placed in rows:
            self._waiting.append(placed)
            self.held += placed.size

    def next(self) -> Placed | None:
        """Dispatch the next row and return it; None if no row may start now."""
        if (
            self.is_closed
            or self.is_paused
            or not self.waiting
            or self.started >= self.written_bound
        ):
            return None
        if self._most is not None and self.dispatched >= self._most:
            return None
        self._is_alone = self._most == 1
        if self._returned:
            _, placed = heapq.heappop(self._returned)
        else:
            placed = self._waiting.popleft()
        self._unsent[placed.row.custom_id] = placed
        self.started += 1
        return placed

    def mark_sent(self, custom_id: str) -> None:
        """Record that a call was sent; calls that are not rows of this run are ignored."""
        if self._unsent.pop(custom_id, None) is not None:
            self._sent.add(custom_id)
        self._retrying.discard(custom_id)

    def is_in_flight(self, custom_id: str) -> bool:
        """Return whether the provider may be processing a row now."""
        return custom_id in self._sent and custom_id not in self._retrying

    def mark_retrying(self, custom_id: str) -> None:
        """Record that a row waits for its next attempt; other calls are ignored."""
        if custom_id in self._sent:
            self._retrying.add(custom_id)

    def end(self, placed: Placed) -> None:
        """Record that a row has ended, with a response or an error."""
        self._leave(placed)
        self.held -= placed.size
        self._note_budget()

    def put_back(self, placed: Placed) -> None:
        """Return a cancelled row to the front of the queue."""
        heapq.heappush(self._returned, (placed.place, placed))
        self._leave(placed)

    def ask_again(self, placed: Placed, earlier: EarlierAnswer) -> None:
        """Return a row to the end of the queue although it has a response.

        Args:
            placed: the row, which is dispatched.
            earlier: its response, which is on its way to the disk.
        """
        self._waiting.append(placed.again(earlier))
        self._leave(placed)
        self._note_budget()

    def defer(self, placed: Placed) -> None:
        """Return a row to the end of the queue, so that the other rows go first."""
        self._waiting.append(placed)
        self._leave(placed)

    def put_back_over_budget(self, placed: Placed) -> None:
        """Return a row to the front of the queue because it was over the budget."""
        heapq.heappush(self._returned, (placed.place, placed))
        self._leave(placed)
        self.is_spent = self._is_alone
        self._is_alone = False
        self._most = max(1, self.dispatched)
        self._ends, self._ends_per_row = 0, self._most

    def _note_budget(self) -> None:
        """Record that a row has ended; so the budget may have room for more rows at a time."""
        if self._most is None:
            return
        if self._is_alone:
            self._is_alone, self._ends_per_row = False, 1
        self._ends += 1
        if self._ends >= self._ends_per_row:
            self._ends = 0
            self._most += 1
            if self._ends_per_row > 1:
                self._ends_per_row = self._most
            if self._most >= self.ahead:
                self._most = None

    def take_answered(self) -> list[Placed]:
        """Remove and return the waiting rows that have a response, when no row may start."""
        waiting = [*self._waiting, *(placed for _, placed in self._returned)]
        found = [placed for placed in waiting if placed.earlier is not None]
        if found:
            self._waiting = deque(one for one in self._waiting if one.earlier is None)
            self._returned = [one for one in self._returned if one[1].earlier is None]
            heapq.heapify(self._returned)
        for placed in found:
            self.held -= placed.size
        return found

    def _leave(self, placed: Placed) -> None:
        self.finished += 1
        custom_id = placed.row.custom_id
        self._sent.discard(custom_id)
        self._retrying.discard(custom_id)
        self._unsent.pop(custom_id, None)
