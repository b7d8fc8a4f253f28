"""Which rows may be asked for now: bounds, pauses, and what is left of the money. Pure (R14)."""

import heapq
from collections import deque
from collections.abc import Iterable, Sequence
from typing import final

from ..files.archive import Placed
from .size import size_of

__all__ = [
    "RowQueue",
]


@final
class RowQueue:
    """The rows that are to be asked for, and those that are.

    A row that is asked for is first unsent, and then sent; it rests while it waits for its next
    attempt. As many rows as there may be calls in flight are asked for or have ended and are not on
    disk yet, those that rest aside: so a process that dies loses no more answers than were under
    way (L7). The next row is begun when the end of another one is on disk, not when it is there.

    That bound is on disk as well, as a note: so many rows, of all that were ever asked for in this
    run, may have been begun. So it is known afterwards how many may have been charged for nothing.

    When the money is short for one row, the others under way may leave enough of what was put
    aside for them. So one waits until none is under way, and then asks for one alone. If that is
    refused as well, the money is spent.

    Args:
        ahead: rows that may be under way.

    Attributes:
        noted: rows that may be begun, as the disk knows.
        begun: rows that were ever begun; one that comes back and goes again counts twice.
        over: of them, those that have ended or come back.
        held: characters of the rows that have not ended.
        is_paused: none may be begun.
        is_closed: none may be begun any more.
        is_spent: the money is.
    """

    def __init__(self, ahead: int) -> None:
        self.ahead = ahead
        self.noted = self.begun = self.over = self.held = 0
        self.is_paused = self.is_closed = self.is_spent = False
        self._waiting: deque[Placed] = deque()
        self._returned: list[tuple[int, Placed]] = []  # a heap of (place, row)
        self._unsent: dict[str, Placed] = {}  # {custom id: its row}
        self._sent: set[str] = set()  # custom ids
        self._resting: set[str] = set()  # of them
        self._is_short = self._is_alone = False

    def __repr__(self) -> str:
        return f"<Line {self.waiting} wait, {len(self._unsent)} unsent, {self.asked} asked>"

    @property
    def waiting(self) -> int:
        """Rows that nobody has asked for, or that came back."""
        return len(self._waiting) + len(self._returned)

    @property
    def asked(self) -> int:
        """Rows that are asked for."""
        return self.begun - self.over

    @property
    def under_way(self) -> int:
        """Rows that the provider may be at work on."""
        return len(self._sent) - len(self._resting)

    @property
    def unsent(self) -> Iterable[str]:
        """The ids of rows that are asked for and not sent."""
        return list(self._unsent)

    @property
    def resting(self) -> Sequence[str]:
        """The ids of rows that wait for their next attempt."""
        return list(self._resting)

    @property
    def note(self) -> int:
        """What is to be noted, once all that is over is on disk."""
        most = self.over + self.ahead + len(self._resting)
        return max(self.begun, min(most, self.begun + self.waiting))

    @property
    def wants_note(self) -> bool:
        """Whether somebody should see to that now."""
        return not self.is_closed and self.noted < self.note

    def take_note(self) -> int:
        """What somebody is about to note; nothing is begun beyond it meanwhile."""
        note = self.note
        self.noted = min(self.noted, note)
        return note

    def note_kept(self, note: int) -> None:
        """It is on disk that so many may have been begun, and so is all that was over by then."""
        self.noted = note

    def add(self, rows: Iterable[Placed]) -> None:
        """These are to be asked for."""
        for placed in rows:
            self._waiting.append(placed)
            self.held += size_of(placed.row.request)

    def next(self) -> Placed | None:
        """The next one, which is asked for from now on; None if none may be."""
        if self.is_closed or self.is_paused or not self.waiting or self.begun >= self.noted:
            return None
        if self._is_short and self.asked:
            return None
        self._is_alone = self._is_short
        if self._returned:
            _, placed = heapq.heappop(self._returned)
        else:
            placed = self._waiting.popleft()
        self._unsent[placed.row.custom_id] = placed
        self.begun += 1
        return placed

    def sent(self, custom_id: str) -> None:
        """A row, if it is one, is on its way."""
        if self._unsent.pop(custom_id, None) is not None:
            self._sent.add(custom_id)
        self._resting.discard(custom_id)

    def is_under_way(self, custom_id: str) -> bool:
        """Whether the provider may be at work on a row now."""
        return custom_id in self._sent and custom_id not in self._resting

    def rests(self, custom_id: str) -> None:
        """A row, if it is one, waits for its next attempt."""
        if custom_id in self._sent:
            self._resting.add(custom_id)

    def ended(self, placed: Placed) -> None:
        """A row has its answer or its error."""
        self._leave(placed)
        self.held -= size_of(placed.row.request)
        self._is_short = self._is_short and not self._is_alone
        self._is_alone = False

    def back(self, placed: Placed) -> None:
        """A row was taken back."""
        heapq.heappush(self._returned, (placed.place, placed))
        self._leave(placed)

    def put_off(self, placed: Placed) -> None:
        """A row is asked for again, after those that wait now: they may fare better."""
        self._waiting.append(placed)
        self._leave(placed)

    def refused(self, placed: Placed) -> None:
        """The money was too short for a row."""
        heapq.heappush(self._returned, (placed.place, placed))
        self._leave(placed)
        self.is_spent = self._is_alone
        self._is_short, self._is_alone = True, False

    def _leave(self, placed: Placed) -> None:
        self.over += 1
        custom_id = placed.row.custom_id
        self._sent.discard(custom_id)
        self._resting.discard(custom_id)
        self._unsent.pop(custom_id, None)
