"""The calls of one lane, first come, first served. Pure (R14)."""

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from math import floor
from operator import attrgetter
from typing import Generic, NamedTuple, Protocol, TypeVar, final

import attrs

from ..validation import gt, instance_of

PURGE_AT = 256
"""Calls in a lane; beyond it, calls that were given up are removed."""

_ROUNDING = 1e-9  # of a call; tags are sums


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


class Place(NamedTuple, Generic[W]):
    """A call in a queue; see `FairQueue.push` for the fields. `order` counts the calls."""

    waiting: W
    size: float
    cost: Sequence[float]
    came: float
    order: int


_came = attrgetter("came")


@final
class LaneQueue(Generic[W]):
    """The queue of one lane."""

    __slots__ = (
        "calls",
        "is_in",
        "lane",
        "name",
        "purge_at",
        "size",
        "tag",
        "totals",
        "unit",
        "weight",
    )

    def __init__(self, name: str, lane: Lane) -> None:
        self.name = name
        self.lane = lane
        self.weight = lane.weight  # less if calls of the lane wait in other processes, too
        self.calls: deque[Place[W]] = deque()
        self.tag = 0.0
        self.totals: list[float] = []  # sums of the costs of its calls, by dimension
        self.size = 0.0  # sum of the sizes of its calls
        self.unit = 0.0  # the size of each call, if all are of one size; 0 otherwise
        self.is_in = False  # whether it is in the heap of its class
        self.purge_at = PURGE_AT

    def add(self, place: "Place[W]") -> None:
        """Add a call at the end, or before those that came later."""
        calls = self.calls
        if not calls:
            self.unit = place.size
            calls.append(place)
        else:
            if self.unit != place.size:
                self.unit = 0.0
            if place.came >= calls[-1].came:
                calls.append(place)
            else:
                calls.insert(bisect_right(calls, place.came, key=_came), place)
        self.size += place.size
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
            self.size -= place.size
        else:  # rounding errors do not accumulate
            self.totals = []
            self.size = 0.0
        return place

    def until(self, tag: float, came: float) -> float:
        """Return how many of its calls start before a call of another lane, of the same class.

        It is exact if all of them are of one size. Otherwise it is the least number that their
        mean size allows.

        Args:
            tag: the virtual time at which the other call would start.
            came: when the other call came, which decides between equal tags.
        """
        calls, size = self.calls, (tag - self.tag) * self.weight
        if not self.unit:
            first = calls[0].size
            is_first = size > 0 or (size == 0 and calls[0].came <= came)
            return len(calls) * min(1.0, max(size, first * is_first) / self.size)
        before = size / self.unit
        whole = floor(before + _ROUNDING)
        if before - whole > _ROUNDING:
            return min(whole + 1, len(calls))
        if whole < len(calls) and calls[whole].came <= came:
            whole += 1
        return min(whole, len(calls))

    def keep(self, places: "deque[Place[W]]") -> None:
        """Replace all calls by these."""
        sizes = [place.size for place in places]
        self.calls, self.size = places, sum(sizes)
        self.unit = sizes[0] if len(set(sizes)) == 1 else 0.0
        self.totals = [sum(column) for column in zip(*(p.cost for p in places), strict=True)]
