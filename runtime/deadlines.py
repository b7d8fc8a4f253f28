"""One heap of deadlines for a whole runtime, and the one task that waits for the nearest.

A cancel scope for each ask would cost more than the ask itself. Here an entry is a heap push, and
an entry that is settled early is merely marked: the heap is cleaned when half of it is marked.
"""

import heapq
import itertools
from math import inf
from typing import Protocol

import trio

__all__ = ["Deadlines", "Due"]

_TOO_FEW_TO_CLEAN = 256


class Due(Protocol):
    """Something that happens at an instant unless it was settled before."""

    @property
    def done(self) -> bool:
        """Whether nothing is left to happen."""
        ...

    def expire(self) -> None:
        """The instant has come."""
        ...


class Deadlines:
    """When what is due; `run` makes it happen."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Due]] = []
        self._order = itertools.count()  # equal instants happen in the order they were added
        self._settled = 0
        self._scope = trio.CancelScope()

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, when: float, due: Due) -> None:
        """Let `due` expire at `when`, in seconds on Trio's clock."""
        heapq.heappush(self._heap, (when, next(self._order), due))
        if when < self._scope.deadline:  # noqa: PLR1730  # setting it, even to the same, costs
            self._scope.deadline = when

    def settled(self) -> None:
        """One entry is done before its time."""
        self._settled += 1
        if self._settled * 2 > len(self._heap) > _TOO_FEW_TO_CLEAN:
            self._heap = [entry for entry in self._heap if not entry[2].done]
            heapq.heapify(self._heap)
            self._settled = 0

    def expire(self, now: float) -> float:
        """Let everything expire that is due at `now`; returns the next instant, or infinity."""
        while self._heap and self._heap[0][0] <= now:
            due = heapq.heappop(self._heap)[2]
            if not due.done:
                due.expire()
            else:
                self._settled = max(0, self._settled - 1)
        return self._heap[0][0] if self._heap else inf

    async def run(self) -> None:
        """Wait for the nearest instant, for ever (L4: one timer, no polling)."""
        while True:
            next_at = self.expire(trio.current_time())
            with trio.CancelScope(deadline=next_at) as self._scope:
                await trio.sleep_forever()
