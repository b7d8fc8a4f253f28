"""The deadlines of a whole runtime, and the one task that waits for the nearest.

A cancel scope for each ask would cost more than the ask itself. Nearly all asks of a program are
made with one of a few time-outs, and those made with the same one expire in the order in which they
were made: they stand in a lane, which is a dict, so that adding one and taking it out again are one
step each and leave nothing behind. Deadlines at arbitrary instants stand in a heap; one that is
settled early is merely marked there, and the heap is cleaned when half of it is marked.
"""

import heapq
import itertools
from math import inf
from typing import Protocol

import trio

__all__ = [
    "DeadlineLane",
    "Deadlines",
    "Due",
]


_TOO_FEW_TO_CLEAN = 256
_MOST_LANES = 64  # a program with more time-outs than that computes them; those go to the heap


class Due(Protocol):
    """Something that happens at an instant unless it was settled before."""

    @property
    def done(self) -> bool:
        """Whether nothing is left to happen."""
        ...

    def expire(self) -> None:
        """The instant has come."""
        ...


DeadlineLane = dict[Due, float]
"""When what is due, in the order of the instants; whoever is settled takes itself out."""


class Deadlines:
    """When what is due; `run` makes it happen."""

    def __init__(self) -> None:
        self._lanes: dict[float, DeadlineLane] = {}  # {time-out in seconds: its lane}
        self._heap: list[tuple[float, int, Due]] = []
        self._order = itertools.count()  # equal instants happen in the order they were added
        self._settled = 0  # marked ones in the heap
        self._scope = trio.CancelScope()
        self._next = inf  # its deadline, which costs more to read

    def __len__(self) -> int:
        return len(self._heap) + sum(len(lane) for lane in self._lanes.values())

    def add_after(self, timeout: float, when: float, due: Due) -> DeadlineLane | None:
        """Let `due` expire at `when`, which is `timeout` seconds from now.

        Returns:
            The lane that it must take itself out of when it is settled; or None, and then
            `settled` is to be called.
        """
        lane = self._lanes.get(timeout)
        if lane is None:
            if len(self._lanes) >= _MOST_LANES:
                self.add(when, due)
                return None
            lane = self._lanes[timeout] = {}
        lane[due] = when
        if when < self._next:
            self._next = self._scope.deadline = when
        return lane

    def add(self, when: float, due: Due) -> None:
        """Let `due` expire at `when`, in seconds on Trio's clock."""
        heapq.heappush(self._heap, (when, next(self._order), due))
        if when < self._next:
            self._next = self._scope.deadline = when

    def settled(self) -> None:
        """One that `add` was called for is done before its time."""
        self._settled += 1
        if self._settled * 2 > len(self._heap) > _TOO_FEW_TO_CLEAN:
            self._heap = [entry for entry in self._heap if not entry[2].done]
            heapq.heapify(self._heap)
            self._settled = 0

    def expire(self, now: float) -> float:
        """Let everything expire that is due at `now`; returns the next instant, or infinity."""
        next_at = inf
        for lane in list(self._lanes.values()):
            # In one pass: to look for the first one again after each would look through all gaps.
            expired: list[Due] = []
            for due, when in lane.items():
                if when > now:
                    next_at = min(next_at, when)
                    break
                expired.append(due)
            for due in expired:
                if lane.pop(due, None) is not None:  # one that expires may have settled others
                    due.expire()
        while self._heap and self._heap[0][0] <= now:
            due = heapq.heappop(self._heap)[2]
            if due.done:
                self._settled = max(0, self._settled - 1)
            else:
                due.expire()
        return min(next_at, self._heap[0][0]) if self._heap else next_at

    async def run(self) -> None:
        """Wait for the nearest instant, for ever (L4: one timer, no polling)."""
        while True:
            self._next = self.expire(trio.current_time())
            with trio.CancelScope(deadline=self._next) as self._scope:
                await trio.sleep_forever()
