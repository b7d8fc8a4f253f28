"""The deadlines of a whole runtime, and one task that waits for the next (L4: no polling).

A cancel scope for each ask would cost more than the ask itself. Most asks of a program use one of a
few timeouts, and asks with the same timeout expire in the order in which they were made. They share
a lane: a dict, in which adding and removing one take one step each and leave nothing behind.
Deadlines at arbitrary times are in a heap. One that is settled early is only counted there; the
heap is cleaned when half of it is settled.
"""

import heapq
import itertools
from math import inf
from typing import Protocol

import trio

_MIN_CLEANED = 256
_MAX_LANES = 64  # a program with more timeouts computes them; those go to the heap


class Due(Protocol):
    """Something that happens at a given time unless it is settled before."""

    @property
    def done(self) -> bool:
        """Whether it is settled."""
        ...

    def expire(self) -> None:
        """Act on the deadline."""
        ...


DeadlineLane = dict[Due, float]
"""The times at which items expire, in ascending order; a settled item removes itself."""


class Deadlines:
    """Items and the times at which they expire; `run` expires them."""

    def __init__(self) -> None:
        self._lanes: dict[float, DeadlineLane] = {}  # {timeout in seconds: lane}
        self._heap: list[tuple[float, int, Due]] = []
        self._order = itertools.count()  # equal times expire in the order in which they were added
        self._settled = 0  # settled items in the heap
        self._scope = trio.CancelScope()
        self._next = inf  # the deadline of the scope, which is slow to read

    def __len__(self) -> int:
        return len(self._heap) + sum(len(lane) for lane in self._lanes.values())

    def add_after(self, timeout: float, when: float, due: Due) -> DeadlineLane | None:
        """Let `due` expire at `when`, which is `timeout` seconds from now.

        Returns:
            The lane from which `due` must remove itself when it is settled; or None, and then
            `settled` must be called.
        """
        lane = self._lanes.get(timeout)
        if lane is None:
            if len(self._lanes) >= _MAX_LANES:
                self.add(when, due)
                return None
            lane = self._lanes[timeout] = {}
        lane[due] = when
        if when < self._next:
            self._next = self._scope.deadline = when
        return lane

    def add(self, when: float, due: Due) -> None:
        """Let `due` expire at `when`, a time on Trio's clock in seconds."""
        heapq.heappush(self._heap, (when, next(self._order), due))
        if when < self._next:
            self._next = self._scope.deadline = when

    def settled(self) -> None:
        """Count an item, added by `add`, that was settled before its time."""
        self._settled += 1
        if self._settled * 2 > len(self._heap) > _MIN_CLEANED:
            self._heap = [entry for entry in self._heap if not entry[2].done]
            heapq.heapify(self._heap)
            self._settled = 0

    def expire(self, now: float) -> float:
        """Expire all items that are due at `now`; return the time of the next one, or infinity."""
        next_at = inf
        for lane in list(self._lanes.values()):
            # In one pass: a dict is slow to find its first item after many removals.
            expired: list[Due] = []
            for due, when in lane.items():
                if when > now:
                    next_at = min(next_at, when)
                    break
                expired.append(due)
            for due in expired:
                if lane.pop(due, None) is not None:  # an expired item may settle others
                    due.expire()
        while self._heap and self._heap[0][0] <= now:
            due = heapq.heappop(self._heap)[2]
            if due.done:
                self._settled = max(0, self._settled - 1)
            else:
                due.expire()
        return min(next_at, self._heap[0][0]) if self._heap else next_at

    async def run(self) -> None:
        """Expire each item at its time, until cancelled."""
        while True:
            self._next = self.expire(trio.current_time())
            with trio.CancelScope(deadline=self._next) as self._scope:
                await trio.sleep_forever()
