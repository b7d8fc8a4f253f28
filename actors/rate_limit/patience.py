"""The calls whose turn must come by a certain time. Pure (R14)."""

import heapq
import itertools
from collections.abc import Hashable
from math import inf
from typing import Generic, TypeVar, final

T = TypeVar("T", bound=Hashable)

_SPARE = 64  # entries of calls that have left; beyond as many as wait, they are removed


@final
class PatientCalls(Generic[T]):
    """Calls that wait with a limited patience, and when the first of them loses it."""

    def __init__(self) -> None:
        self._numbers: dict[T, int] = {}
        self._calls: dict[int, T] = {}
        self._heap: list[tuple[float, int]] = []  # (when its patience ends, number of a call)
        self._next = itertools.count()

    def __len__(self) -> int:
        return len(self._calls)

    @property
    def next_at(self) -> float:
        """When the patience of a call ends next; infinity without calls."""
        heap, calls = self._heap, self._calls
        while heap and heap[0][1] not in calls:
            heapq.heappop(heap)
        return heap[0][0] if heap else inf

    def add(self, call: T, until: float) -> None:
        """Add a call.

        Args:
            call: the call that waits.
            until: when its patience ends, in seconds.
        """
        number = self._numbers[call] = next(self._next)
        self._calls[number] = call
        heapq.heappush(self._heap, (until, number))

    def remove(self, call: T) -> None:
        """Remove a call that has its turn or was given up; it may have been removed before.

        Args:
            call: the call that was added.
        """
        number = self._numbers.pop(call, None)
        if number is None:
            return
        del self._calls[number]
        if len(self._heap) > 2 * len(self._calls) + _SPARE:
            self._heap = [entry for entry in self._heap if entry[1] in self._calls]
            heapq.heapify(self._heap)

    def expired(self, now: float) -> list[T]:
        """Remove and return the calls whose patience has ended.

        Args:
            now: the current time, in seconds.
        """
        found: list[T] = []
        while self.next_at <= now:
            call = self._calls.pop(heapq.heappop(self._heap)[1])
            del self._numbers[call]
            found.append(call)
        return found
