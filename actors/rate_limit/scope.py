"""What the calls of one model, or group of models, share: limits, lanes, learned limits."""

import copy
import heapq
from collections.abc import Sequence
from math import inf
from typing import final

import attrs

from ..permit import DIMENSIONS, Report, ThrottleReason
from .bucket import Bucket, BucketMaker, Limit, changed, check_possible, needs, own_bucket
from .explanation import BucketState, ScopeState
from .finder import Finder
from .lanes import FairQueue, FirstCall
from .learned import Learned
from .limits import Cost, Impossible, Limits, PermitRequest, QueuedCall, TooLate
from .reported_limits import ReportedLimits
from .waits import Bounds, Pause, Places

_REQUESTS = DIMENSIONS.index("requests")


@final
@attrs.define(eq=False)
class Reservation:
    """What an admitted call has taken of the limits. Only the limiter reads it.

    Args:
        scope: the scope of the call.
        cost: how much it has taken of each dimension, corrections included.
        since: when it was admitted.
        mark: the totals of its scope at that time, this call included.
        is_first: whether it belongs to the first attempt, and not to a renewal.
        member: the member of a pool that it is for; "" without a pool.
        model: the model of its call, in a pool.
    """

    scope: "LimitScope"
    cost: Cost
    since: float
    mark: Sequence[float]
    is_first: bool = True
    member: str = ""
    model: str = ""


@final
class LimitScope:
    """A model, or several models that share limits.

    Args:
        name: the model, or the pattern of the group.
        limits: limits of all models.
        own: limits of this scope; None if it has none.
        shared: the buckets of `limits`.
        now: the current time.
        make: makes the buckets of its own limits.
    """

    def __init__(
        self,
        name: str,
        limits: Limits,
        own: Limits | None,
        shared: list[Limit],
        now: float,
        *,
        make: BucketMaker = own_bucket,
    ) -> None:
        self.name = name
        self.set_most = inf if own is None else own.in_flight
        self.most = self.set_most  # less if other processes have calls in flight
        self.likely_most = self.set_most  # when the processes have what they need
        self._make = make
        self.limits = [] if own is None else [Limit(rate, now, make) for rate in own.all_rates]
        self.every = [*shared, *self.limits]
        self.reported = ReportedLimits(limits)
        self.learned = self.reported.by_source  # the same dict: each call looks at it
        self.finder = Finder(now, starts_slowly=limits.find)
        self.pace: Bucket | None = None  # a bucket at the rate of the finder
        self._burst_s = limits.burst_s
        self.set_pace(now)
        self.queue: FairQueue[QueuedCall] = FairQueue(limits.lane, limits.ageing_s)
        self.renewals: list[tuple[float, int, QueuedCall]] = []  # a heap: (not before, order, call)
        self.in_flight = 0
        self.parked_until = -inf

    @property
    def is_idle(self) -> bool:
        """Whether no call waits or is in flight."""
        return not (self.in_flight or len(self.queue) or self.renewals)

    @property
    def counts_use(self) -> bool:
        """Whether a limit counts tokens or USD, which are known for certain after a call only."""
        for limit in self.every:
            if limit.index != _REQUESTS:
                return True
        for learned in self.learned.values():  # noqa: SIM110  # `any` takes twice as long
            if learned.index != _REQUESTS:
                return True
        return False

    @property
    def knows_pace(self) -> bool:
        """Whether the provider reports a limit for up to a minute, so that none need be found."""
        return self.reported.knows_pace

    def set_pace(self, now: float) -> None:
        """Set the pace to the rate of the finder, unless the provider reports its limits."""
        rate = self.finder.rate
        if rate == inf or self.knows_pace:
            self.pace = None
            return
        depth = max(1.0, rate * self._burst_s - 1.0)
        if self.pace is None:
            self.pace = Bucket(rate, depth, now)
        else:
            self.pace.set(rate, depth, now)

    def resume(self, now: float) -> None:
        """End the pause after a refusal; the pace starts empty, so that calls come one by one."""
        self.finder.decide(now)
        self.set_pace(now)
        if self.pace is not None:
            self.pace.set_used(self.pace.depth, now)

    def resume_if_due(self, now: float) -> None:
        """Resume if a pause after a refusal has ended."""
        if self.finder.is_undecided and self.parked_until <= now:
            self.resume(now)

    def change(self, limits: Limits, own: Limits | None, shared: list[Limit], now: float) -> None:
        """Replace the limits; the arguments are those of `LimitScope`."""
        self.set_most = inf if own is None else own.in_flight
        self.most = self.likely_most = self.set_most
        rates = () if own is None else own.all_rates
        self.limits = changed(self.limits, rates, now, self._make)
        self.every = [*shared, *self.limits]
        self._burst_s = limits.burst_s
        self.reported.change(limits)
        for learned in self.learned.values():
            learned.may_guess = self._may_guess(learned.index)
        self.queue.use(limits.lane, limits.ageing_s)

    def copy(self, shared: list[Limit], now: float) -> "LimitScope":
        """Return an independent copy, to simulate with.

        Args:
            shared: copies of the buckets that all models share.
            now: the current time.
        """
        other = copy.copy(self)
        other.limits = [limit.copy(now) for limit in self.limits]
        other.most = max(1, self.most)  # other processes will give places back
        other.every = [*shared, *other.limits]
        other.reported = self.reported.copy()
        other.learned = other.reported.by_source
        other.pace = copy.deepcopy(self.pace)
        other.finder = copy.deepcopy(self.finder)
        other.queue = self.queue.copy()
        other.renewals = list(self.renewals)
        return other

    def head(self, now: float, *, only_renewals: bool) -> "FirstCall[QueuedCall] | None":
        """Return the first call, or a renewal, which came at -infinity; None without one."""
        self.resume_if_due(now)
        renewals = self.renewals
        while renewals and renewals[0][2].done:
            heapq.heappop(renewals)
        if renewals and renewals[0][0] <= now:
            return FirstCall(renewals[0][2], -inf)
        if only_renewals or self.in_flight >= self.max_in_flight:
            return None
        return self.queue.head()

    @property
    def max_in_flight(self) -> float:
        """The most calls in flight: as set, as reported, and as found by trying."""
        return min(self.most, self.reported.most_in_flight, self.finder.in_flight)

    @property
    def likely_in_flight(self) -> float:
        """The most calls in flight when other processes have given back what is due here."""
        return min(self.likely_most, self.reported.most_in_flight, self.finder.in_flight)

    def is_ready(self, cost: Cost, now: float) -> bool:
        """Return whether a call can be admitted at once: no call waits and all limits allow it."""
        finder = self.finder
        if (
            self.renewals
            or len(self.queue)
            or self.in_flight >= self.most
            or self.in_flight >= self.reported.most_in_flight
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
        """Return when the limits of this scope allow a call; at least `now`."""
        at = self.unleased_ready_at(cost, now)
        for limit in self.limits:
            ready = limit.bucket.ready_at(cost[limit.index], now)
            at = max(at, ready)
        return at

    def unleased_ready_at(self, cost: Cost, now: float) -> float:
        """Return when everything but the limits that are set allows a call; at least `now`."""
        at = max(now, self.parked_until)
        for learned in self.learned.values():
            ready = learned.ready_at(cost[learned.index], now)
            at = max(at, ready)
        if self.pace is not None:
            ready = self.pace.ready_at(1.0, now)
            at = max(at, ready)
        return at

    def take(self, cost: Cost, now: float) -> Sequence[float]:
        """Debit every limit; return the totals of the scope, which are empty without learning."""
        for limit in self.every:
            limit.bucket.take(cost[limit.index], now)
        self.finder.send(now)
        if self.pace is not None:
            self.set_pace(now)  # it has ended if the rate is out of date
        if self.pace is not None:
            self.pace.take(1.0, now)
        for learned in self.learned.values():
            learned.take(cost[learned.index], now)
        return self.reported.take(cost)

    def learn(
        self,
        reservation: Reservation,
        report: Report,
        now: float,
        *,
        resumes_at: float | None = None,
    ) -> None:
        """Apply a report of the provider; see `Learned.report`."""
        learned = self.reported.apply(
            report,
            self._mark(reservation),
            reservation.since,
            now,
            in_flight=self.in_flight,
            may_guess=self._may_guess,
            resumes_at=resumes_at,
        )
        if learned is not None:
            if learned.is_short:
                self.finder.stop_seeking()
            self.set_pace(now)

    def refused_elsewhere(
        self, why: ThrottleReason, sent_at: float, parked_until: float, now: float
    ) -> None:
        """Record that the provider refused a call of another process that shares the limits.

        Args:
            why: the kind of refusal.
            sent_at: when that call was sent.
            parked_until: the time until which no call is admitted.
            now: the current time.
        """
        self.parked_until = max(self.parked_until, parked_until)
        if why == "too_fast" and self.knows_pace:
            self.reported.refused(self.parked_until, now)
            return
        self.finder.refused_elsewhere(why, sent_at, self.in_flight, now)

    def note_refused(self, reservation: Reservation, cost: Cost) -> None:
        """Record that the provider refused a call, which has taken nothing of its limits.

        Args:
            reservation: what it had taken.
            cost: the same, before it was corrected.
        """
        self.reported.note_refused(self._mark(reservation), cost)

    def _mark(self, reservation: Reservation) -> Sequence[float]:
        """Return the totals at the start of a call; none if it was admitted before a restart."""
        return reservation.mark if reservation.scope is self else ()

    def _may_guess(self, index: int) -> bool:
        """Whether a period may be assumed: a guess lowers no limit that the user has set."""
        return all(limit.index != index for limit in self.every)

    def correct(self, index: int, more: float, since: float, now: float) -> None:
        """Correct what a call took of one dimension.

        Args:
            index: index of the dimension in `Cost`.
            more: how much more than reserved; negative for less.
            since: when the call was admitted.
            now: the current time.
        """
        if not more:
            return
        for limit in self.every:
            if limit.index == index:
                _correct(limit.bucket, more, since, now)
        for learned in self.learned.values():
            if learned.index == index:
                _correct(learned, more, since, now)

    # ---------------------------------------------------------------- one call

    def check_possible(self, cost: Cost) -> None:
        """Check that a call does not exceed a whole limit.

        Raises:
            Impossible: it exceeds one, so that it could never be admitted.
        """
        for limit in self.every:
            if cost[limit.index] > limit.rate.amount:
                check_possible(limit.rate, cost)
        for learned in self.learned.values():
            if cost[learned.index] > learned.limit:
                raise Impossible(
                    f"{needs(learned.dimension, cost)}, more than the provider's limit of "
                    f"{learned}; shorten the prompt or lower max_tokens"
                )

    def check_in_time(self, request: PermitRequest, now: float) -> None:
        """Check that a call can meet its deadline if only calls of its own lane are before it.

        Raises:
            TooLate: it cannot.
        """
        ahead = self.queue.ahead(request.lane)
        for limit in self.every:
            bucket, index = limit.bucket, limit.index
            amount = request.cost[index] + (ahead[index] if ahead else 0.0)
            missing = bucket.used(now) + amount - bucket.depth
            # A call that is larger than the bucket may leave it in debt.
            wait_s = (missing - max(0.0, request.cost[index] - bucket.depth)) / bucket.rate
            if now + wait_s > request.deadline:
                raise TooLate(
                    f"the call would wait at least {wait_s:.1f} s for the limit of {limit.rate}, "
                    f"and its deadline is in {max(0.0, request.deadline - now):.1f} s",
                    wait_s,
                )

    def bounds(self, now: float) -> Bounds:
        """Return the limits of this scope and of all models as they bound the calls that wait."""
        flows = [limit.bucket.flow(limit.index, now) for limit in self.every]
        pauses: list[Pause] = []
        if self.parked_until > now:
            pauses.append(Pause(_REQUESTS, -inf, self.parked_until - now))
        for learned in self.learned.values():
            flows += learned.flows(now)
            pauses += learned.pauses(now)
        if self.pace is not None:
            flows.append(self.pace.flow(_REQUESTS, now))
        most = max(1, self.max_in_flight)
        return Bounds(flows, pauses, [] if most == inf else [Places(self.in_flight, most)])

    def size(self, cost: Cost) -> float:
        """Return the size of a call for fair queueing: the most seconds that it takes of a limit.

        It is 1 without limits.
        """
        size = 0.0
        for limit in self.every:
            size = max(size, cost[limit.index] / limit.bucket.rate)
        for learned in self.learned.values():
            size = max(size, cost[learned.index] / learned.rate)
        return size or 1.0

    # ---------------------------------------------------------------- reports

    def obstacle(self, cost: Cost, now: float) -> str:
        """Return which limit delays a call for longest."""
        if self.parked_until > now:
            return "the pause after the provider refused calls as too fast"
        worst, name = now, "calls of other models that wait for a shared limit"
        for limit in self.every:
            at = limit.bucket.ready_at(cost[limit.index], now)
            if at > worst:
                worst, name = at, f"the limit of {limit.rate}"
        for learned in self.learned.values():
            at = learned.ready_at(cost[learned.index], now)
            if at > worst:
                worst, name = at, f"the provider's limit of {learned}"
        if self.pace is not None and self.pace.ready_at(1.0, now) > worst:
            name = f"a learned limit of {self.finder.rate:.3g} calls a second"
        return name

    def state(self, now: float) -> ScopeState:
        """Return the state of the scope."""
        return ScopeState(
            name=self.name,
            in_flight=self.in_flight,
            waiting=self.queue.depths(),
            renewals=len(self.renewals),
            parked_s=max(0.0, self.parked_until - now),
            found=self.finder.statistics(),
            max_in_flight=self.reported.most_in_flight,
        )

    def bucket_states(self, now: float) -> list[BucketState]:
        """Return the state of its own and learned limits."""
        learned = (learned.state(self.name, now) for learned in self.learned.values())
        return [
            *(limit.state(self.name, now) for limit in self.limits),
            *(state for state in learned if state is not None),
        ]


def _correct(bucket: Bucket | Learned, more: float, since: float, now: float) -> None:
    if more > 0:
        bucket.take(more, now)
    else:
        bucket.give_back(-more, since, now)
