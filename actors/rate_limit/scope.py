"""What the calls of one model, or group of models, share: limits, lanes, and what was found out."""

import copy
import heapq
from collections.abc import Sequence
from math import inf
from operator import add
from typing import final

import attrs

from ..permit import DIMENSIONS, Report
from .bucket import Bucket, Limit, changed, check_possible
from .explanation import BucketState, ScopeState
from .finder import Finder
from .lanes import FairQueue, Waiting
from .learned import Learned
from .limits import Cost, Limits, TooLate

__all__ = [
    "LimitScope",
    "Note",
    "PermitRequest",
    "QueuedCall",
    "Reservation",
]


@attrs.frozen
class PermitRequest:
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

    scope: "LimitScope"
    cost: Cost
    since: float
    mark: Sequence[float]
    is_first: bool = True


@final
class LimitScope:
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
        self.queue: FairQueue[QueuedCall] = FairQueue(limits.lane, limits.ageing_s)
        self.renewals: list[tuple[float, int, QueuedCall]] = []  # a heap: (not before, order, who)
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

    def change(self, limits: Limits, own: Limits | None, shared: list[Limit], now: float) -> None:
        """Other limits from now on; the arguments are those of a new one."""
        self.most = inf if own is None else own.in_flight
        rates = () if own is None else own.all_rates
        self.limits = changed(self.limits, rates, now)
        self.every = [*shared, *self.limits]
        self._burst_s = limits.burst_s
        self._learns = limits.learn
        if not limits.learn:
            self.learned.clear()
        self.queue.use(limits.lane, limits.ageing_s)

    def copy(self, shared: list[Limit]) -> "LimitScope":
        """One that can be driven without harm to this one."""
        other = copy.copy(self)
        other.limits = copy.deepcopy(self.limits)
        other.every = [*shared, *other.limits]
        other.learned = copy.deepcopy(self.learned)
        other.pace = copy.deepcopy(self.pace)
        other.finder = copy.deepcopy(self.finder)
        other.queue = self.queue.copy()
        other.renewals = list(self.renewals)
        return other

    def head(self, now: float, *, only_renewals: bool) -> "tuple[QueuedCall, float] | None":
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

    def learn(
        self,
        reservation: Reservation,
        report: Report,
        now: float,
        *,
        resumes_at: float | None = None,
    ) -> None:
        """Take up what a report says; see `Learned.report`."""
        index = DIMENSIONS.index(report.dimension)
        mark, since = reservation.mark, 0.0
        if mark and reservation.scope is self:  # else a limiter that was replaced let it through
            since = self.taken[index] - mark[index]
        learned = self.learned.get(index)
        if learned is None:
            self.learned[index] = Learned(report, self._burst_s, since, now)
            self.finder.stop_seeking()
            self.set_pace(now)
        else:
            learned.report(report, since, reservation.since, now, resumes_at=resumes_at)

    def correct(self, index: int, more: float, since: float, now: float) -> None:
        """A call that went at `since` has taken more of a dimension than was thought, or less."""
        found: list[Bucket | Learned] = [
            limit.bucket for limit in self.every if limit.index == index
        ]
        if index in self.learned:
            found.append(self.learned[index])
        for bucket in found if more else ():
            if more > 0:
                bucket.take(more, now)
            else:
                bucket.give_back(-more, since, now)

    # ---------------------------------------------------------------- one call

    def check_possible(self, cost: Cost) -> None:
        """See whether a call could ever go.

        Raises:
            Impossible: it could not.
        """
        for limit in self.every:
            if cost[limit.index] > limit.rate.amount:
                check_possible(limit.rate, cost)
        for index, learned in self.learned.items():
            if cost[index] > learned.limit:
                check_possible(learned.as_rate, cost)

    def check_in_time(self, ask: PermitRequest, now: float) -> None:
        """See whether it could go in time if only those were there that are before it in its lane.

        Raises:
            TooLate: it could not.
        """
        ahead = self.queue.ahead(ask.lane)
        for limit in self.every:
            bucket, index = limit.bucket, limit.index
            amount = ask.cost[index] + (ahead[index] if ahead else 0.0)
            missing = bucket.used(now) + amount - bucket.depth
            # One that is larger than the bucket may leave it in debt.
            wait_s = (missing - max(0.0, ask.cost[index] - bucket.depth)) / bucket.rate
            if now + wait_s > ask.deadline:
                raise TooLate(
                    f"it would wait at least {wait_s:.1f} s for its turn within {limit.rate}, and "
                    f"its deadline is in {max(0.0, ask.deadline - now):.1f} s",
                    wait_s,
                )

    def size(self, cost: Cost) -> float:
        """The greatest share that a call takes of any limit, in seconds of it; 1 without limits."""
        size = 0.0
        for limit in self.every:
            size = max(size, cost[limit.index] / limit.bucket.rate)
        for index, learned in self.learned.items():
            size = max(size, cost[index] / learned.rate)
        return size or 1.0

    # ---------------------------------------------------------------- seeing in

    def obstacle(self, cost: Cost, now: float) -> str:
        """Which limit keeps a call from going for longest."""
        if self.parked_until > now:
            return "the provider said that calls come too fast"
        worst, name = now, "others wait for what all models share"
        for limit in self.every:
            at = limit.bucket.ready_at(cost[limit.index], now)
            if at > worst:
                worst, name = at, f"the limit of {limit.rate}"
        for index, learned in self.learned.items():
            at = learned.ready_at(cost[index], now)
            if at > worst:
                worst, name = at, f"the provider's limit of {learned.as_rate}"
        if self.pace is not None and self.pace.ready_at(1.0, now) > worst:
            name = f"the {self.finder.rate:.3g} calls a second that the provider was found to bear"
        return name

    def state(self, now: float) -> ScopeState:
        """How it stands."""
        return ScopeState(
            name=self.name,
            in_flight=self.in_flight,
            waiting=self.queue.depths(),
            renewals=len(self.renewals),
            parked_s=max(0.0, self.parked_until - now),
            found=self.finder.statistics(),
        )

    def bucket_states(self, now: float) -> list[BucketState]:
        """How its own limits stand."""
        return [
            *(limit.state(self.name, now) for limit in self.limits),
            *(learned.state(self.name, now) for learned in self.learned.values()),
        ]


@final
@attrs.define(eq=False)
class QueuedCall:
    """Somebody who waits, and for what."""

    waiting: Waiting
    ask: PermitRequest

    @property
    def done(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.waiting.done


@final
class Note:
    """Stands for somebody, on paper."""

    done = False
