"""Weighted fair queueing between lanes, and first come, first served within a lane. Pure (R14).

This is start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996). Each lane has a tag, the
virtual time at which its next call would start. The lane with the least tag is served; its tag
grows by the size of the call divided by the weight of the lane, and virtual time becomes the tag of
the last call served. A lane that was idle starts at virtual time, so that idle time earns nothing.
When no lane has calls, virtual time becomes the highest tag, and all lanes are equal again.
Of lanes with the same tag, the one whose first call came first is served.
Between two lanes that always have calls, service differs by at most one call each, divided by their
weights.

Priority is a head start: compared with lanes of other priorities, the calls of a lane of priority p
count as p times `ageing_s` older. So a call that waits long enough precedes any other.
"""

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from operator import add
from typing import Generic, NamedTuple, TypeVar, final

from .lane_queue import PURGE_AT, Lane, LaneQueue, Place, Waiting

_MAX_QUEUES = 1024  # lanes; beyond it, lanes are forgotten that have no calls and no lead


W = TypeVar("W", bound=Waiting)


class FirstCall(NamedTuple, Generic[W]):
    """The first call of a queue.

    Args:
        waiting: the call that waits.
        came: when it came, less the head start of its lane; -infinity to precede all others.
        lane: the name of its lane.
        weight: the weight of its lane.
        priority: the priority of its lane.
    """

    waiting: W
    came: float
    lane: str = ""
    weight: float = 1.0
    priority: int = 0


@final
class _PriorityClass(Generic[W]):
    """The lanes of one priority."""

    __slots__ = ("heap", "latest", "virtual")

    def __init__(self) -> None:
        self.virtual = 0.0
        self.latest = 0.0  # the highest tag of a lane
        # (tag, arrival and order of the first call, lane with calls)
        self.heap: list[tuple[float, float, int, LaneQueue[W]]] = []


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
        self._queues: dict[str, LaneQueue[W]] = {}
        self._classes: dict[int, _PriorityClass[W]] = {}
        self._order = itertools.count()
        self._size = 0
        self._max_queues = _MAX_QUEUES
        self._found: tuple[_PriorityClass[W], LaneQueue[W]] | None = (
            None  # the head, if just looked at
        )

    def __len__(self) -> int:
        """Return the number of calls; those given up may still be counted."""
        return self._size

    def push(
        self, waiting: W, name: str, size: float, came: float, cost: Sequence[float] = ()
    ) -> bool:
        """Add a call; return whether it may be the next one.

        Args:
            waiting: the call that waits.
            name: name of its lane.
            size: how much of the limits it takes, in a unit that is the same for all calls.
            came: when it came, in seconds: it precedes the calls of its lane that came later.
            cost: what it takes of each dimension, for `ahead`; of the same length for all calls.
        """
        queue = self._queues.get(name)
        if queue is None:
            queue = self._new_queue(name)
        is_behind = queue.is_in and bool(queue.calls) and not queue.calls[0].waiting.done
        if is_behind and came < queue.calls[0].came:
            is_behind = False
        place = Place(waiting, size, cost, came, next(self._order))
        if not queue.is_in:
            self._enter(queue, place)
        queue.add(place)
        self._found = None
        self._size += 1
        if len(queue.calls) > queue.purge_at:
            self._purge(queue)
        return not is_behind

    def head(self) -> FirstCall[W] | None:
        """Return the next call; None if there is none."""
        found = self._found = self._find()
        if found is None:
            return None
        queue = found[1]
        lane, place = queue.lane, queue.calls[0]
        came = place.came - lane.priority * self._ageing_s
        return FirstCall(place.waiting, came, queue.name, queue.weight, lane.priority)

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
        queue.tag += place.size / queue.weight
        group.latest = max(group.latest, queue.tag)
        if queue.calls:
            first = queue.calls[0]
            entry = (queue.tag, first.came, first.order, queue)
            heapq.heapreplace(group.heap, entry)
            return place.waiting
        heapq.heappop(group.heap)
        queue.is_in = False
        if not group.heap:  # no lane has had more than it could have
            group.virtual = group.latest
        return place.waiting

    def ahead(self, name: str) -> Sequence[float]:
        """Return the sums of the costs of all calls in a lane; empty without calls."""
        queue = self._queues.get(name)
        return () if queue is None else queue.totals

    def before(
        self,
        name: str,
        came: float,
        dimensions: int,
        is_it: Callable[[W], bool] | None = None,
    ) -> tuple[float, list[float]]:
        """Return how many calls would be served before one that joins a lane now, and their cost.

        It is an estimate, and rather too low: of a lane whose calls differ and of which only some
        would be served before, these are taken to cost as much as its mean call of that size.

        Args:
            name: the name of the lane.
            came: the time that decides its place in the lane.
            dimensions: how many dimensions a cost has.
            is_it: recognises the call, if it is in the lane already.
        """
        queue = self._queues.get(name)
        lane = self._lane_of(name) if queue is None else queue.lane
        count, ahead, costs = 0.0, 0.0, [0.0] * dimensions
        if queue is not None and queue.calls:
            if is_it is None and came >= queue.calls[-1].came:
                count, ahead, costs = len(queue.calls), queue.size, list(queue.totals)
            else:
                for place in queue.calls:
                    if place.came > came if is_it is None else is_it(place.waiting):
                        break
                    count, ahead = count + 1, ahead + place.size
                    costs = list(map(add, costs, place.cost))
        group = self._classes.get(lane.priority)
        if group is not None:
            tag = 0.0 if queue is None else queue.tag
            weight = lane.weight if queue is None else queue.weight
            start = max(tag, group.virtual) + ahead / weight
            for tag, _, _, other in group.heap:
                if tag <= start and other is not queue and other.calls:
                    calls = other.until(start, came)
                    count += calls
                    share = calls / len(other.calls)
                    costs = [
                        cost + share * more for cost, more in zip(costs, other.totals, strict=False)
                    ]
        for priority, group in self._classes.items():
            head_start_s = (priority - lane.priority) * self._ageing_s
            others = [one for *_, one in group.heap if one.calls]
            # A class is ordered by its tags: only if all of its calls are older, all are before.
            if priority != lane.priority and all(
                one.calls[-1].came - head_start_s <= came for one in others
            ):
                for other in others:
                    count += len(other.calls)
                    costs = list(map(add, costs, other.totals))
        return count, costs

    def purge(self) -> None:
        """Remove all calls that were given up."""
        for queue in self._queues.values():
            if queue.calls:
                self._purge(queue)
        self._found = None

    def loads(self) -> Iterator[tuple[str, Lane, int, Sequence[float]]]:
        """Yield name, weight and priority, number of calls and their cost of each lane in use."""
        for name, queue in self._queues.items():
            if queue.calls:
                yield name, queue.lane, len(queue.calls), queue.totals

    def upcoming(self) -> Iterator[Place[W]]:
        """Yield the calls in the order in which they are served, if no other one comes."""
        lines: list[tuple[int, list[tuple[float, float, int, int, LaneQueue[W]]]]] = []
        for priority, group in self._classes.items():
            line = [(tag, came, order, 0, queue) for tag, came, order, queue in group.heap]
            if line:
                lines.append((priority, line))
        while lines:
            priority, line = (
                lines[0]
                if len(lines) == 1
                else min(lines, key=lambda one: one[1][0][1] - one[0] * self._ageing_s)
            )
            tag, _, _, at, queue = line[0]
            if at >= len(queue.calls):
                heapq.heappop(line)
                if not line:
                    lines.remove((priority, line))
                continue
            place = queue.calls[at]
            size = 0.0 if place.waiting.done else place.size
            if size:
                yield place
            later = queue.calls[at + 1] if at + 1 < len(queue.calls) else place
            entry = (tag + size / queue.weight, later.came, later.order, at + 1, queue)
            heapq.heapreplace(line, entry)

    def demands(self) -> Iterator[LaneQueue[W]]:
        """Yield each lane in use; it may be changed by `weigh` only."""
        return (queue for queue in self._queues.values() if queue.calls)

    def weigh(self, name: str, weight: float) -> None:
        """Give a lane another weight from its next call on: its tag stays.

        Args:
            name: the name of the lane.
            weight: its weight, until `use` replaces it.
        """
        queue = self._queues.get(name)
        if queue is not None:
            queue.weight = weight
            self._found = None

    def depths(self) -> dict[str, int]:
        """Return the number of calls, by lane."""
        return {name: len(queue.calls) for name, queue in self._queues.items() if queue.calls}

    def use(self, lane_of: Callable[[str], Lane], ageing_s: float) -> None:
        """Replace weights and priorities; calls keep their places, and lanes what they have had."""
        self._lane_of, self._ageing_s = lane_of, ageing_s
        self._reorder(1.0)

    def revise(self, size_of: Callable[[Place[W]], float | None]) -> None:
        """Give calls another size, by the limits as they are now.

        Args:
            size_of: returns the size of a call; None to remove it.
        """
        before = sum(queue.size for queue in self._queues.values())
        for queue in self._queues.values():
            kept: deque[Place[W]] = deque()
            for place in queue.calls:
                size = size_of(place)
                if size is not None:
                    kept.append(place._replace(size=size))
            self._size -= len(queue.calls) - len(kept)
            queue.keep(kept)
        after = sum(queue.size for queue in self._queues.values())
        self._reorder(after / before if before and after else 1.0)

    def _reorder(self, ratio: float) -> None:
        """Start virtual time anew; each lane stays ahead of it by as much service as before.

        Args:
            ratio: the new size of a call over the old one.
        """
        self._found = None
        classes, self._classes = self._classes, {}
        for queue in self._queues.values():
            group, weight = classes.get(queue.lane.priority), queue.weight
            lead = 0.0 if group is None else max(0.0, queue.tag - group.virtual)
            queue.lane, queue.is_in = self._lane_of(queue.name), False
            queue.weight = queue.lane.weight
            queue.tag = lead * ratio * weight / queue.weight
            group = self._group(queue.lane.priority)
            group.latest = max(group.latest, queue.tag)
            if queue.calls:
                self._enter(queue, queue.calls[0])

    def copy(self) -> "FairQueue[W]":
        """Return an independent copy."""
        other: FairQueue[W] = FairQueue(self._lane_of, self._ageing_s)
        other._size = self._size
        for name, queue in self._queues.items():
            twin: LaneQueue[W] = LaneQueue(name, queue.lane)
            twin.calls, twin.tag, twin.is_in = (
                queue.calls.copy(),
                queue.tag,
                queue.is_in,
            )
            twin.totals, twin.weight = list(queue.totals), queue.weight
            other._queues[name] = twin
        for priority, group in self._classes.items():
            copied: _PriorityClass[W] = _PriorityClass()
            copied.virtual, copied.latest = group.virtual, group.latest
            copied.heap = [
                (tag, came, order, other._queues[queue.name])
                for tag, came, order, queue in group.heap
            ]
            other._classes[priority] = copied
        other._order = itertools.count(next(self._order))
        return other

    def _find(self) -> "tuple[_PriorityClass[W], LaneQueue[W]] | None":
        """Return the lane that is served next, and its class."""
        best: tuple[_PriorityClass[W], LaneQueue[W]] | None = None
        best_at = 0.0
        for priority, group in self._classes.items():
            queue = self._first(group)
            if queue is None:
                continue
            at = queue.calls[0].came - priority * self._ageing_s
            if best is None or at < best_at:
                best, best_at = (group, queue), at
        return best

    def _first(self, group: _PriorityClass[W]) -> LaneQueue[W] | None:
        """Return the lane that is served first in its class; drop given-up calls at its front."""
        while group.heap:
            queue = group.heap[0][3]
            while queue.calls and queue.calls[0].waiting.done:
                queue.take()
                self._size -= 1
            if queue.calls:
                return queue
            heapq.heappop(group.heap)
            queue.is_in = False
        return None

    def _enter(self, queue: LaneQueue[W], first: Place[W]) -> None:
        group = self._group(queue.lane.priority)
        queue.tag = max(queue.tag, group.virtual)
        queue.is_in = True
        heapq.heappush(group.heap, (queue.tag, first.came, first.order, queue))

    def _group(self, priority: int) -> _PriorityClass[W]:
        group = self._classes.get(priority)
        if group is None:
            group = self._classes[priority] = _PriorityClass()
        return group

    def _new_queue(self, name: str) -> LaneQueue[W]:
        if len(self._queues) >= self._max_queues:
            kept = (item for item in self._queues.items() if not self._may_forget(item[1]))
            self._queues = dict(kept)
            self._max_queues = max(_MAX_QUEUES, 2 * len(self._queues))
        queue = self._queues[name] = LaneQueue(name, self._lane_of(name))
        return queue

    def _may_forget(self, queue: LaneQueue[W]) -> bool:
        """Return whether a lane would start where it does if it were new."""
        group = self._classes.get(queue.lane.priority)
        return not queue.is_in and (group is None or queue.tag <= group.virtual)

    def _purge(self, queue: LaneQueue[W]) -> None:
        kept = deque(place for place in queue.calls if not place.waiting.done)
        self._size -= len(queue.calls) - len(kept)
        queue.keep(kept)
        queue.purge_at = max(PURGE_AT, 2 * len(kept))
