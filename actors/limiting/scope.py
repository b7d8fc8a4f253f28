"""What the calls of one model, or group of models, share: limits, lanes, and what was found out."""

import copy
import heapq
from collections.abc import Sequence
from math import inf
from operator import add
from typing import final

import attrs

from .bucket import Bucket
from .finder import Finder
from .lanes import FairQueue, Waiting
from .learned import Learned
from .limits import DIMENSIONS, Cost, Limits, Rate

__all__ = ["Ask", "Entry", "Limit", "Note", "Reservation", "Scope", "changed"]

_LEAST_DEPTH_S = 1e-3  # seconds' worth, of what is not counted in whole numbers


@attrs.frozen
class Ask:
    """What a call needs to go.

    Args:
        model: of which model.
        cost: what it takes.
        lane: in which it waits.
        deadline: after which it is of no use.
    """

    model: str
    cost: Cost
    lane: str = ""
    deadline: float = inf


@final
@attrs.define(eq=False)
class Reservation:
    """What a call that was let through has taken; for the limiter alone.

    Args:
        scope: whose limits.
        cost: how much of each dimension, corrections included.
        since: when.
        mark: what its scope had taken when it went, this included.
        is_first: it is not of a renewal.
    """

    scope: "Scope"
    cost: Cost
    since: float
    mark: Sequence[float]
    is_first: bool = True


@final
class Limit:
    """A limit of the user's, and its bucket."""

    __slots__ = ("bucket", "index", "rate")

    def __init__(self, rate: Rate, now: float) -> None:
        self.rate = rate
        self.index = rate.index
        self.bucket = Bucket(*self._shape(), now)

    def change(self, rate: Rate, now: float) -> None:
        """Another rate from now on."""
        self.rate = rate
        self.bucket.set(*self._shape(), now)

    def _shape(self) -> tuple[float, float]:
        rate = self.rate
        per_s = rate.amount / rate.per_s
        worth = per_s * (rate.burst_s or 0.0)
        if rate.dimension == "usd":
            return per_s, max(worth, per_s * _LEAST_DEPTH_S)
        # The provider's own bucket may be just as deep. One less keeps a margin of one interval
        # against calls that reach it closer together than they were sent.
        return per_s, max(1.0, worth - 1.0)


@final
class Scope:
    """A model, or several that share limits."""

    def __init__(
        self, name: str, limits: Limits, own: Limits | None, shared: list[Limit], now: float
    ) -> None:
        self.name = name
        self.most = inf if own is None else own.in_flight
        self.limits = [] if own is None else [Limit(rate, now) for rate in own.all_rates]
        self.every = [*shared, *self.limits]  # those that all models share, and its own
        self.learned: dict[int, Learned] = {}
        self.finder = Finder(now, starts_slowly=limits.find)
        self.pace: Bucket | None = None  # of what the finder has found
        self._burst_s = limits.burst_s
        self._learns = limits.learn
        self.taken: Sequence[float] = (0.0,) * len(DIMENSIONS)
        self.set_pace(now)
        self.queue: FairQueue[Entry] = FairQueue(limits.lane, limits.ageing_s)
        self.renewals: list[tuple[float, int, Entry]] = []  # a heap: (not before, order, who)
        self.in_flight = 0
        self.parked_until = -inf

    @property
    def is_idle(self) -> bool:
        """Whether nobody waits or is under way."""
        return not (self.in_flight or len(self.queue) or self.renewals)

    def set_pace(self, now: float) -> None:
        """Go as fast as was found that one may."""
        rate = self.finder.rate
        if rate == inf or self.learned:
            self.pace = None
            return
        depth = max(1.0, rate * self._burst_s - 1.0)
        if self.pace is None:
            self.pace = Bucket(rate, depth, now)
        else:
            self.pace.set(rate, depth, now)

    def resume(self, now: float) -> None:
        """The pause after a refusal is over: go on, and not all of those that wait at once."""
        self.finder.decide(now)
        self.set_pace(now)
        if self.pace is not None:
            self.pace.set_used(self.pace.depth, now)

    def use(self, limits: list[Limit], shared: list[Limit]) -> None:
        """Other limits from now on."""
        self.limits = limits
        self.every = [*shared, *limits]

    def copy(self, shared: list[Limit]) -> "Scope":
        """One that can be driven without harm to this one."""
        other = copy.copy(self)
        other.use(copy.deepcopy(self.limits), shared)
        other.learned = copy.deepcopy(self.learned)
        other.pace = copy.deepcopy(self.pace)
        other.finder = copy.deepcopy(self.finder)
        other.queue = self.queue.copy()
        other.renewals = list(self.renewals)
        return other

    def head(self, now: float, *, only_renewals: bool) -> "tuple[Entry, float] | None":
        """Who goes first, and when it came; a renewal came before everybody."""
        if self.finder.is_undecided and self.parked_until <= now:
            self.resume(now)
        renewals = self.renewals
        while renewals and renewals[0][2].done:
            heapq.heappop(renewals)
        if renewals and renewals[0][0] <= now:
            return renewals[0][2], -inf
        if only_renewals or self.in_flight >= self.most or self.in_flight >= self.finder.in_flight:
            return None
        return self.queue.head()

    def is_ready(self, cost: Cost, now: float) -> bool:
        """Whether nothing at all is in the way of a call that nobody waits before."""
        finder = self.finder
        if (
            self.renewals
            or len(self.queue)
            or self.in_flight >= self.most
            or self.in_flight >= finder.in_flight
            or self.parked_until > now
            or finder.is_undecided
        ):
            return False
        for limit in self.every:
            if limit.bucket.ready_at(cost[limit.index], now) > now:
                return False
        return not (self.learned or self.pace is not None) or self.ready_at(cost, now) <= now

    def ready_at(self, cost: Cost, now: float) -> float:
        """When its own limits allow that."""
        at = max(now, self.parked_until)
        for limit in self.limits:
            ready = limit.bucket.ready_at(cost[limit.index], now)
            at = max(at, ready)
        for index, learned in self.learned.items():
            ready = learned.ready_at(cost[index], now)
            at = max(at, ready)
        if self.pace is not None:
            ready = self.pace.ready_at(1.0, now)
            at = max(at, ready)
        return at

    def take(self, cost: Cost, now: float) -> Sequence[float]:
        """Debit every limit; what was taken by now, all in all."""
        for limit in self.every:
            limit.bucket.take(cost[limit.index], now)
        self.finder.send(now)
        if self.pace is not None:
            self.set_pace(now)
            self.pace.take(1.0, now)
        for index, learned in self.learned.items():
            learned.take(cost[index], now)
        if not self._learns:
            return ()
        self.taken = tuple(map(add, self.taken, cost))
        return self.taken

    def taken_since(self, reservation: Reservation, index: int) -> float:
        """What was taken since a call went."""
        mark = reservation.mark
        return self.taken[index] - mark[index] if mark else 0.0


@final
@attrs.define(eq=False)
class Entry:
    """Somebody who waits, and for what."""

    waiting: Waiting
    ask: Ask

    @property
    def done(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.waiting.done


@final
class Note:
    """Stands for somebody, on paper."""

    done = False


def changed(limits: list[Limit], rates: tuple[Rate, ...], now: float) -> list[Limit]:
    """Limits at other rates; what is missing of a dimension in a time stays missing."""
    known = {(limit.rate.dimension, limit.rate.per_s): limit for limit in limits}
    found: list[Limit] = []
    for rate in rates:
        limit = known.get((rate.dimension, rate.per_s))
        if limit is None:
            limit = Limit(rate, now)
        else:
            limit.change(rate, now)
        found.append(limit)
    return found
