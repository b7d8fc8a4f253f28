"""Whose turn it is: weighted fair queueing between lanes, first come first served within. Pure.

Start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996): each lane has a tag, the virtual time
at which its next call would start; the lane with the least tag goes, its tag grows by the call's
size over the lane's weight, and virtual time is the tag of what went last. A lane that was idle
begins at virtual time, so nobody saves up turns. Between two lanes that always wait, service
differs by at most one call each, over their weights.

Priority is a head start: a lane of priority p goes as if its calls had come p times `ageing_s`
earlier, against lanes of other priorities. So whoever waits long enough goes before anybody.
"""

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar, final

import attrs
from attrs.validators import gt, instance_of

__all__ = [
    "FairQueue",
    "Lane",
    "Place",
    "Waiting",
]


_PURGE_AT = 256  # waiting in a lane; then those that nobody waits for any more are looked for

_MOST_LINES = 1024  # lanes to remember; then those in which nobody waits are forgotten


class Waiting(Protocol):
    """Something that waits for its turn."""

    @property
    def done(self) -> bool:
        """Whether nobody waits for it any more."""
        ...


W = TypeVar("W", bound=Waiting)


@attrs.frozen(kw_only=True)
class Lane:
    """How a lane stands to the others.

    Args:
        weight: its share, against the sum of the weights of those that wait.
        priority: its head start, in units of `Limits.ageing_s`; 0 is usual.
    """

    weight: float = attrs.field(default=1.0, validator=gt(0))
    priority: int = attrs.field(default=0, validator=instance_of(int))


@final
class _LaneQueue(Generic[W]):
    """One lane's queue."""

    __slots__ = ("is_in", "lane", "name", "purge_at", "queue", "tag", "totals")

    def __init__(self, name: str, lane: Lane) -> None:
        self.name = name
        self.lane = lane
        self.queue: deque[Place[W]] = deque()
        self.tag = 0.0
        self.totals: list[float] = []  # of the costs of all that wait
        self.is_in = False  # its class's heap
        self.purge_at = _PURGE_AT

    def add(self, place: "Place[W]") -> None:
        """One more waits."""
        self.queue.append(place)
        if len(self.totals) < len(place.cost):
            self.totals = [0.0] * len(place.cost)
        totals = self.totals
        for at, amount in enumerate(place.cost):
            totals[at] += amount

    def take(self) -> "Place[W]":
        """The first goes."""
        place = self.queue.popleft()
        totals = self.totals
        if self.queue:
            for at, amount in enumerate(place.cost):
                totals[at] -= amount
        else:  # sums of floats forget where they came from
            self.totals = []
        return place

    def keep(self, places: "deque[Place[W]]") -> None:
        """Only these wait."""
        self.queue = places
        self.totals = [sum(column) for column in zip(*(p.cost for p in places), strict=True)]


class Place(NamedTuple, Generic[W]):
    """Somebody in a queue; see `FairQueue.push`."""

    waiting: W
    size: float
    cost: Sequence[float]
    came: float


@final
class _Class(Generic[W]):
    """The lanes of one priority."""

    __slots__ = ("heap", "virtual")

    def __init__(self) -> None:
        self.virtual = 0.0
        self.heap: list[tuple[float, int, _LaneQueue[W]]] = []  # (tag, order, lane that waits)


@final
class FairQueue(Generic[W]):
    """All that wait, and who goes next; a step costs the logarithm of the number of lanes.

    Args:
        lane_of: the settings of a lane, by name.
        ageing_s: seconds that one step of priority is worth.
    """

    def __init__(self, lane_of: Callable[[str], Lane], ageing_s: float) -> None:
        self._lane_of = lane_of
        self._ageing_s = ageing_s
        self._lines: dict[str, _LaneQueue[W]] = {}
        self._classes: dict[int, _Class[W]] = {}
        self._order = itertools.count()
        self._size = 0
        self._most_lines = _MOST_LINES
        self._found: tuple[_Class[W], _LaneQueue[W]] | None = None  # the head, if just looked at

    def __len__(self) -> int:
        """How many wait, those nobody waits for any more included."""
        return self._size

    def push(
        self, waiting: W, name: str, size: float, now: float, cost: Sequence[float] = ()
    ) -> bool:
        """One more waits; whether it may be the one who goes next.

        Args:
            waiting: who.
            name: of the lane.
            size: how much of the limits it takes, in any unit that is the same for all.
            now: the present.
            cost: what it takes, for `ahead`; of the same length for all.
        """
        line = self._lines.get(name)
        if line is None:
            line = self._new_line(name)
        is_behind = line.is_in and bool(line.queue) and not line.queue[0].waiting.done
        if not line.is_in:
            self._enter(line)
        line.add(Place(waiting, size, cost, now))
        self._found = None
        self._size += 1
        if len(line.queue) > line.purge_at:
            self._purge(line)
        return not is_behind

    def head(self) -> tuple[W, float] | None:
        """Who goes next, and when it came, less its lane's head start; None if nobody waits."""
        found = self._found = self._find()
        if found is None:
            return None
        lane, place = found[1].lane, found[1].queue[0]
        return place.waiting, place.came - lane.priority * self._ageing_s

    def pop(self) -> W | None:
        """The same, taken out."""
        found = self._found
        if found is None or found[1].queue[0].waiting.done:
            found = self._find()
        if found is None:
            return None
        group, line = found
        self._found = None
        place = line.take()
        self._size -= 1
        group.virtual = line.tag
        line.tag += place.size / line.lane.weight
        if line.queue:
            heapq.heapreplace(group.heap, (line.tag, next(self._order), line))
        else:
            heapq.heappop(group.heap)
            line.is_in = False
        return place.waiting

    def ahead(self, name: str) -> Sequence[float]:
        """What all that wait in a lane take together; empty if nobody does."""
        line = self._lines.get(name)
        return () if line is None else line.totals

    def depths(self) -> dict[str, int]:
        """How many wait in each lane."""
        return {name: len(line.queue) for name, line in self._lines.items() if line.queue}

    def use(self, lane_of: Callable[[str], Lane], ageing_s: float) -> None:
        """Other settings from now on; who waits keeps the place in his own lane."""
        self._lane_of = lane_of
        self._ageing_s = ageing_s
        self._found = None
        self._classes.clear()
        for line in self._lines.values():
            line.lane = self._lane_of(line.name)
            line.tag, line.is_in = 0.0, False
            if line.queue:
                self._enter(line)

    def drain(self) -> "list[Place[W]]":
        """Take all out, lane by lane; some may have gone."""
        lines, self._lines = self._lines, {}
        self._classes.clear()
        self._size, self._found = 0, None
        return [place for line in lines.values() for place in line.queue]

    def copy(self) -> "FairQueue[W]":
        """One that can be emptied without harm to this one."""
        other: FairQueue[W] = FairQueue(self._lane_of, self._ageing_s)
        other._size = self._size
        for name, line in self._lines.items():
            twin: _LaneQueue[W] = _LaneQueue(name, line.lane)
            twin.queue, twin.tag, twin.is_in = line.queue.copy(), line.tag, line.is_in
            twin.totals = list(line.totals)
            other._lines[name] = twin
        for priority, group in self._classes.items():
            copied: _Class[W] = _Class()
            copied.virtual = group.virtual
            copied.heap = [(tag, order, other._lines[line.name]) for tag, order, line in group.heap]
            other._classes[priority] = copied
        other._order = itertools.count(next(self._order))
        return other

    def _find(self) -> "tuple[_Class[W], _LaneQueue[W]] | None":
        """The lane that goes next, and its class."""
        best: tuple[_Class[W], _LaneQueue[W]] | None = None
        best_at = 0.0
        for priority, group in self._classes.items():
            line = self._first(group)
            if line is None:
                continue
            at = line.queue[0].came - priority * self._ageing_s
            if best is None or at < best_at:
                best, best_at = (group, line), at
        return best

    def _first(self, group: _Class[W]) -> _LaneQueue[W] | None:
        """The lane that goes first in its class, without those at its front that have gone."""
        while group.heap:
            line = group.heap[0][2]
            while line.queue and line.queue[0].waiting.done:
                line.take()
                self._size -= 1
            if line.queue:
                return line
            heapq.heappop(group.heap)
            line.is_in = False
        return None

    def _enter(self, line: _LaneQueue[W]) -> None:
        group = self._classes.get(line.lane.priority)
        if group is None:
            group = self._classes[line.lane.priority] = _Class()
        line.tag = max(line.tag, group.virtual)
        line.is_in = True
        heapq.heappush(group.heap, (line.tag, next(self._order), line))

    def _new_line(self, name: str) -> _LaneQueue[W]:
        if len(self._lines) >= self._most_lines:
            self._lines = {key: line for key, line in self._lines.items() if line.is_in}
            self._most_lines = max(_MOST_LINES, 2 * len(self._lines))
        line = self._lines[name] = _LaneQueue(name, self._lane_of(name))
        return line

    def _purge(self, line: _LaneQueue[W]) -> None:
        kept = deque(place for place in line.queue if not place.waiting.done)
        self._size -= len(line.queue) - len(kept)
        line.keep(kept)
        line.purge_at = max(_PURGE_AT, 2 * len(kept))
