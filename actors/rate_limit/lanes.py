"""Weighted fair queueing between lanes, and first come, first served within a lane. Pure (R14).

This is start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996). Each lane has a tag, the
virtual time at which its next call would start. The lane with the least tag is served; its tag
grows by the size of the call divided by the weight of the lane, and virtual time becomes the tag of
the last call served. A lane that was idle starts at virtual time, so that idle time earns nothing.
Between two lanes that always have calls, service differs by at most one call each, divided by their
weights.

Priority is a head start: compared with lanes of other priorities, the calls of a lane of priority p
count as p times `ageing_s` older. So a call that waits long enough precedes any other.
"""

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar, final

import attrs
from attrs.validators import gt, instance_of

_PURGE_AT = 256  # calls in a lane; beyond it, calls that were given up are removed
_MAX_QUEUES = 1024  # lanes; beyond it, lanes without calls are forgotten


class Waiting(Protocol):
    """A call in a queue."""

    @property
    def done(self) -> bool:
        """Whether it was given up: the queue removes it without serving it."""
        ...


W = TypeVar("W", bound=Waiting)


@attrs.frozen(kw_only=True)
class Lane:
    """Weight and priority of a lane.

    Args:
        weight: its share of the limits, relative to the weights of the other lanes with calls that
            wait; above 0.
        priority: its head start, in units of `Limits.ageing_s`; 0 is the usual priority.
    """

    weight: float = attrs.field(default=1.0, validator=gt(0))
    priority: int = attrs.field(default=0, validator=instance_of(int))


@final
class _LaneQueue(Generic[W]):
    """The queue of one lane."""

    __slots__ = ("calls", "is_in", "lane", "name", "purge_at", "tag", "totals")

    def __init__(self, name: str, lane: Lane) -> None:
        self.name = name
        self.lane = lane
        self.calls: deque[Place[W]] = deque()
        self.tag = 0.0
        self.totals: list[float] = []  # sums of the costs of its calls, by dimension
        self.is_in = False  # whether it is in the heap of its class
        self.purge_at = _PURGE_AT

    def add(self, place: "Place[W]") -> None:
        """Add a call at the end."""
        self.calls.append(place)
        if len(self.totals) < len(place.cost):
            self.totals = [0.0] * len(place.cost)
        totals = self.totals
        for at, amount in enumerate(place.cost):
            totals[at] += amount

    def take(self) -> "Place[W]":
        """Remove and return the first call."""
        place = self.calls.popleft()
        totals = self.totals
        if self.calls:
            for at, amount in enumerate(place.cost):
                totals[at] -= amount
        else:  # rounding errors do not accumulate
            self.totals = []
        return place

    def keep(self, places: "deque[Place[W]]") -> None:
        """Replace all calls by these."""
        self.calls = places
        self.totals = [sum(column) for column in zip(*(p.cost for p in places), strict=True)]


class Place(NamedTuple, Generic[W]):
    """A call in a queue; see `FairQueue.push` for the fields."""

    waiting: W
    size: float
    cost: Sequence[float]
    came: float


@final
class _PriorityClass(Generic[W]):
    """The lanes of one priority."""

    __slots__ = ("heap", "virtual")

    def __init__(self) -> None:
        self.virtual = 0.0
        self.heap: list[tuple[float, int, _LaneQueue[W]]] = []  # (tag, order, lane with calls)


@final
class FairQueue(Generic[W]):
    """All calls that wait, in order; a step takes the logarithm of the number of lanes.

    Args:
        lane_of: returns weight and priority of a lane, by its name.
        ageing_s: head start of one step of priority, in seconds.
    """

    def __init__(self, lane_of: Callable[[str], Lane], ageing_s: float) -> None:
        self._lane_of = lane_of
        self._ageing_s = ageing_s
        self._queues: dict[str, _LaneQueue[W]] = {}
        self._classes: dict[int, _PriorityClass[W]] = {}
        self._order = itertools.count()
        self._size = 0
        self._max_queues = _MAX_QUEUES
        self._found: tuple[_PriorityClass[W], _LaneQueue[W]] | None = (
            None  # the head, if just looked at
        )

    def __len__(self) -> int:
        """Return the number of calls; those given up may still be counted."""
        return self._size

    def push(
        self, waiting: W, name: str, size: float, now: float, cost: Sequence[float] = ()
    ) -> bool:
        """Add a call; return whether it may be the next one.

        Args:
            waiting: the call that waits.
            name: name of its lane.
            size: how much of the limits it takes, in a unit that is the same for all calls.
            now: the current time.
            cost: what it takes of each dimension, for `ahead`; of the same length for all calls.
        """
        queue = self._queues.get(name)
        if queue is None:
            queue = self._new_queue(name)
        is_behind = queue.is_in and bool(queue.calls) and not queue.calls[0].waiting.done
        if not queue.is_in:
            self._enter(queue)
        queue.add(Place(waiting, size, cost, now))
        self._found = None
        self._size += 1
        if len(queue.calls) > queue.purge_at:
            self._purge(queue)
        return not is_behind

    def head(self) -> tuple[W, float] | None:
        """Return the next call, and its arrival less the head start of its lane; None if empty."""
        found = self._found = self._find()
        if found is None:
            return None
        lane, place = found[1].lane, found[1].calls[0]
        return place.waiting, place.came - lane.priority * self._ageing_s

    def pop(self) -> W | None:
        """Remove and return the next call; None if there is none."""
        found = self._found
        if found is None or found[1].calls[0].waiting.done:
            found = self._find()
        if found is None:
            return None
        group, queue = found
        self._found = None
        place = queue.take()
        self._size -= 1
        group.virtual = queue.tag
        queue.tag += place.size / queue.lane.weight
        if queue.calls:
            heapq.heapreplace(group.heap, (queue.tag, next(self._order), queue))
        else:
            heapq.heappop(group.heap)
            queue.is_in = False
        return place.waiting

    def ahead(self, name: str) -> Sequence[float]:
        """Return the sums of the costs of all calls in a lane; empty without calls."""
        queue = self._queues.get(name)
        return () if queue is None else queue.totals

    def depths(self) -> dict[str, int]:
        """Return the number of calls, by lane."""
        return {name: len(queue.calls) for name, queue in self._queues.items() if queue.calls}

    def use(self, lane_of: Callable[[str], Lane], ageing_s: float) -> None:
        """Replace the settings; calls keep their order within their lanes."""
        self._lane_of = lane_of
        self._ageing_s = ageing_s
        self._found = None
        self._classes.clear()
        for queue in self._queues.values():
            queue.lane = self._lane_of(queue.name)
            queue.tag, queue.is_in = 0.0, False
            if queue.calls:
                self._enter(queue)

    def drain(self) -> "list[Place[W]]":
        """Remove and return all calls, lane by lane; some may be given up."""
        queues, self._queues = self._queues, {}
        self._classes.clear()
        self._size, self._found = 0, None
        return [place for queue in queues.values() for place in queue.calls]

    def copy(self) -> "FairQueue[W]":
        """Return an independent copy."""
        other: FairQueue[W] = FairQueue(self._lane_of, self._ageing_s)
        other._size = self._size
        for name, queue in self._queues.items():
            twin: _LaneQueue[W] = _LaneQueue(name, queue.lane)
            twin.calls, twin.tag, twin.is_in = (
                queue.calls.copy(),
                queue.tag,
                queue.is_in,
            )
            twin.totals = list(queue.totals)
            other._queues[name] = twin
        for priority, group in self._classes.items():
            copied: _PriorityClass[W] = _PriorityClass()
            copied.virtual = group.virtual
            copied.heap = [
                (tag, order, other._queues[queue.name]) for tag, order, queue in group.heap
            ]
            other._classes[priority] = copied
        other._order = itertools.count(next(self._order))
        return other

    def _find(self) -> "tuple[_PriorityClass[W], _LaneQueue[W]] | None":
        """Return the lane that is served next, and its class."""
        best: tuple[_PriorityClass[W], _LaneQueue[W]] | None = None
        best_at = 0.0
        for priority, group in self._classes.items():
            queue = self._first(group)
            if queue is None:
                continue
            at = queue.calls[0].came - priority * self._ageing_s
            if best is None or at < best_at:
                best, best_at = (group, queue), at
        return best

    def _first(self, group: _PriorityClass[W]) -> _LaneQueue[W] | None:
        """Return the lane that is served first in its class; drop given-up calls at its front."""
        while group.heap:
            queue = group.heap[0][2]
            while queue.calls and queue.calls[0].waiting.done:
                queue.take()
                self._size -= 1
            if queue.calls:
                return queue
            heapq.heappop(group.heap)
            queue.is_in = False
        return None

    def _enter(self, queue: _LaneQueue[W]) -> None:
        group = self._classes.get(queue.lane.priority)
        if group is None:
            group = self._classes[queue.lane.priority] = _PriorityClass()
        queue.tag = max(queue.tag, group.virtual)
        queue.is_in = True
        heapq.heappush(group.heap, (queue.tag, next(self._order), queue))

    def _new_queue(self, name: str) -> _LaneQueue[W]:
        if len(self._queues) >= self._max_queues:
            self._queues = {key: queue for key, queue in self._queues.items() if queue.is_in}
            self._max_queues = max(_MAX_QUEUES, 2 * len(self._queues))
        queue = self._queues[name] = _LaneQueue(name, self._lane_of(name))
        return queue

    def _purge(self, queue: _LaneQueue[W]) -> None:
        kept = deque(place for place in queue.calls if not place.waiting.done)
        self._size -= len(queue.calls) - len(kept)
        queue.keep(kept)
        queue.purge_at = max(_PURGE_AT, 2 * len(kept))
