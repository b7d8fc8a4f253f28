"""Decides which call is admitted next to a pool of endpoints. Pure (R14).

The calls wait here, in lanes for each model, and the first one goes to the member that can serve it
first; see `PoolMembers`.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from math import inf
from operator import attrgetter
from typing import Generic, TypeVar, cast, final

import attrs

from ..permit import Report, ThrottleReason
from ..pool_health import PoolHealth
from ..responses import Usage
from .core import Limiter
from .explanation import BucketState, Explanation, LimiterSnapshot, ScopeState
from .finder import FinderStatistics
from .lane_order import LaneOrder
from .lane_queue import Place, Waiting
from .lanes import FairQueue, FirstCall
from .limits import Cost, Impossible, Limits, PermitRequest, QueuedCall
from .pool_members import MovableRenewal, PoolMembers
from .scope import Reservation
from .scope_table import BucketSource, before_in
from .simulation import Grant, simulate
from .spread import PoolMember
from .waits import Places, Wait, bounds_together, wait_for

W = TypeVar("W", bound=Waiting)
_MAX_QUEUES = 256  # beyond it, those of models without calls are forgotten
_FOUND_NONE = FinderStatistics(inf, inf, 0, 0)


@final
class PoolLimiter(Generic[W]):
    """Admits calls within the limits of several members; see `Limiter`, whose methods it has.

    Args:
        members: the members of the pool.
        health: which of them are left out.
        limits: the limits of each member without limits of its own. The calls in flight are those
            of all members together.
        now: the current time, in seconds of a monotonic clock.
        source_of: returns where other processes share the limits of a member, by its name; None
            without sharing.

    Attributes:
        max_in_flight: the most calls in flight now: `limits.in_flight`, or the part of it that
            this process has.
        likely_in_flight: the most calls in flight soon, by estimate.
    """

    def __init__(
        self,
        members: Sequence[PoolMember],
        health: PoolHealth,
        limits: Limits,
        now: float,
        source_of: Callable[[str], BucketSource] | None = None,
    ) -> None:
        self.max_in_flight = self.likely_in_flight = limits.in_flight
        self._limits = limits
        self._members = PoolMembers(members, health, limits, now, source_of)
        self._queues: dict[str, FairQueue[QueuedCall]] = {}
        self._renewals: list[MovableRenewal] = []
        self._lane_order = LaneOrder()  # of all queues together
        self._may_have_left = False  # whether calls that wait may have been given up

    def __repr__(self) -> str:
        return f"<PoolLimiter of {len(self.members)}, {self.in_flight} in flight>"

    @property
    def members(self) -> Mapping[str, Limiter[Waiting]]:
        """The limits of each member."""
        return self._members.limiters

    @property
    def health(self) -> PoolHealth:
        """Which members are left out."""
        return self._members.health

    @property
    def queues(self) -> Mapping[str, FairQueue[QueuedCall]]:
        """The calls that wait, by model or group of models."""
        return self._queues

    @property
    def set_in_flight(self) -> int:
        """The most calls in flight, of all processes that share the limits together."""
        return self._limits.in_flight

    @property
    def in_flight(self) -> int:
        """Number of calls that were admitted and have not ended."""
        return self._members.in_flight

    @property
    def waiting(self) -> int:
        """Number of calls and renewals that wait; those given up may still be counted."""
        return sum(map(len, self._queues.values())) + len(self._renewals)

    # ---------------------------------------------------------------- calls that wait

    def push(self, waiting: W, request: PermitRequest, now: float) -> bool:
        """Add a call to its lane; return whether the result of `advance` may differ now.

        Raises:
            Impossible: the call exceeds a limit of each member.
            TooLate: no member could admit it before its deadline.
        """
        self._members.check(request, now)
        came = request.came_at(now)
        return self._enqueue(QueuedCall(waiting, request), request, now, came=came)

    def try_admit(self, request: PermitRequest, now: float) -> Reservation | None:
        """Admit a call that need not wait; None if it must be pushed.

        Raises:
            Impossible: the call exceeds a limit of each member.
        """
        self._members.check(attrs.evolve(request, deadline=inf), now)
        if self.waiting or self.in_flight >= self.max_in_flight:
            return None
        member, _ = self._members.choose(request, now)
        return None if member is None else self._members.admit(member, request, now)

    def push_renewal(
        self,
        waiting: W,
        reservation: Reservation,
        not_before: float,
        *,
        moves: Collection[str] | None = None,
        was_sent: bool = True,
    ) -> None:
        """Add a call in flight that waits for one more attempt; it stays in flight.

        Args:
            waiting: the renewal that waits for its grant.
            reservation: what it has taken so far.
            not_before: when other members than those in `moves` may serve it, in seconds.
            moves: the members that may serve it at once; None keeps it at its member.
            was_sent: whether the last attempt was sent.
        """
        self._members.end_probe(reservation)
        call = QueuedCall(waiting, PermitRequest(reservation.model, reservation.cost))
        self._renewals.append(MovableRenewal(call, reservation, not_before, moves, was_sent))

    def advance(self, now: float, *, only_renewals: bool = False) -> Grant[W] | float:
        """Admit the next call, if the limits of a member allow one now; see `Limiter.advance`."""
        found = self._look(now, only_renewals=only_renewals)
        if not isinstance(found, tuple):
            return found
        member, entry = found
        if isinstance(entry, MovableRenewal):
            self._renewals.remove(entry)
            return Grant(cast("W", entry.call.waiting), self._members.renew(member, entry, now))
        call = entry.waiting
        self._queues[self._queue_name(call.request)].pop()
        if len(self._queues) > 1:
            self._lane_order.take(entry, self._members.size(call.request, now))
        return Grant(cast("W", call.waiting), self._members.admit(member, call.request, now))

    def wait(
        self, request: PermitRequest, now: float, is_it: Callable[[Waiting], bool] | None = None
    ) -> Wait:
        """Estimate how long a call would wait; see `Limiter.wait`.

        The members are taken as one endpoint with the sum of their limits; those that are left out
        are taken to work.

        Raises:
            Impossible: the call exceeds a limit of each member.
        """
        self._members.check(attrs.evolve(request, deadline=inf), now)
        self.purge_if_left()
        queue = self._queues.get(self._queue_name(request)) or self._new_queue()
        before = before_in(queue, request, now, is_it)
        members = [member.bounds(request.model, now) for member in self.members.values()]
        bounds = bounds_together(members)
        bounds.places.append(Places(self.in_flight, self.likely_in_flight))
        return wait_for(bounds, before, request.cost, self.mean_s)

    def left(self) -> None:
        """Record that a call that waits was given up; see `Limiter.left`."""
        self._may_have_left = True

    def purge_if_left(self) -> None:
        """Remove the calls that were given up from all queues, if there may be any."""
        if self._may_have_left:
            self._may_have_left = False
            for one in self._queues.values():
                one.purge()

    def renewals_at(self, now: float) -> Iterator[tuple[str, Cost, str]]:
        """Yield member, cost and model of each call in flight that may be attempted again now.

        Args:
            now: the current time.
        """
        for one in self._renewals:
            if not one.call.done and one.not_before <= now:
                yield one.reservation.member, one.call.request.cost, one.call.request.model

    # ---------------------------------------------------------------- calls in flight

    def release(self, reservation: Reservation, now: float, *, happened: bool = True) -> None:
        """Record the end of an admitted call; see `Limiter.release`."""
        self._members.end_probe(reservation)
        self._members.of(reservation).release(reservation, now, happened=happened)

    def settle(
        self,
        reservation: Reservation,
        usage: Usage,
        usd: float | None,
        now: float,
        *,
        uncounted: int = 0,
    ) -> None:
        """Correct a reservation by the actual usage; see `Limiter.settle`."""
        member = self._members.of(reservation)
        member.settle(reservation, usage, usd, now, uncounted=uncounted)

    def succeeded(self, reservation: Reservation, seconds: float, now: float) -> None:
        """Record a call that the provider did not refuse; see `Limiter.succeeded`."""
        self._members.succeeded(reservation, seconds, now)

    def report(self, reservation: Reservation, reports: Iterable[Report], now: float) -> None:
        """Apply the limits that the headers of a response report; see `Limiter.report`."""
        self._members.of(reservation).report(reservation, reports, now)

    def refused(
        self,
        reservation: Reservation,
        why: ThrottleReason,
        report: Report | None,
        *,
        pause_s: float,
        now: float,
    ) -> None:
        """Record a call that the provider refused, so that its member pauses."""
        member = self._members.of(reservation)
        member.refused(reservation, why, report, pause_s=pause_s, now=now)

    def change(self, limits: Limits, now: float) -> list[tuple[W, Impossible]]:
        """Replace the limits of all members without limits of their own; see `Limiter.change`."""
        before, self._limits = self._limits, limits
        self.max_in_flight = self.likely_in_flight = limits.in_flight
        self._members.change(limits, now)
        impossible: list[tuple[W, Impossible]] = []
        moved: list[Place[QueuedCall]] = []

        def size_in(name: str, place: Place[QueuedCall]) -> float | None:
            request = attrs.evolve(place.waiting.request, deadline=inf)
            try:
                self._members.check(request, now)
            except Impossible as error:
                impossible.append((cast("W", place.waiting.waiting), error))
                return None
            if self._queue_name(request) != name:
                moved.append(place)
                return None
            return self._members.size(request, now)

        for name, queue in self._queues.items():
            queue.use(limits.lane, limits.ageing_s)
            if not limits.differs_by_lanes(before):
                queue.revise(partial(size_in, name))
        for place in sorted(moved, key=attrgetter("came", "order")):
            self._enqueue(place.waiting, place.waiting.request, now, came=place.came)
        return impossible

    # ---------------------------------------------------------------- reports

    def snapshot(self, now: float) -> LimiterSnapshot:
        """Return the state of all limits, lanes and calls in flight, by member."""
        buckets: list[BucketState] = []
        scopes: list[ScopeState] = []
        for name, member in self.members.items():
            state = member.snapshot(now)
            buckets += (attrs.evolve(bucket, member=name) for bucket in state.buckets)
            scopes += (attrs.evolve(scope, member=name) for scope in state.scopes)
        waiting = ((model, queue.depths()) for model, queue in self._queues.items())
        scopes += (
            ScopeState(
                name=model, in_flight=0, waiting=depths, renewals=0, parked_s=0.0, found=_FOUND_NONE
            )
            for model, depths in waiting
            if depths
        )
        found = self._look(now, only_renewals=False)
        wake_at = now if isinstance(found, tuple) else found
        return LimiterSnapshot(
            in_flight=self.in_flight,
            max_in_flight=self._limits.in_flight,
            waiting=self.waiting,
            next_wake_s=None if wake_at == inf else max(0.0, wake_at - now),
            buckets=tuple(buckets),
            scopes=tuple(scopes),
        )

    def loads(self) -> dict[str, dict[str, Sequence[float]]]:
        """Return what the calls that wait take of each dimension, by model and lane."""
        return {
            name: {lane: tuple(totals) for lane, _, _, totals in queue.loads()}
            for name, queue in self._queues.items()
        }

    def explain(self, request: PermitRequest, now: float) -> Explanation:
        """Return how long a call would wait, for what, and which member would serve it."""
        try:
            self._members.check(attrs.evolve(request, deadline=inf), now)
        except Impossible as error:
            return Explanation(inf, str(error), 0, request.cost)
        return simulate(self.copy(now), request, now)

    @property
    def mean_s(self) -> float:
        """The mean duration of a call in flight, in seconds."""
        return self._members.mean_s

    def places(self, now: float) -> list[Reservation]:
        """Return a reservation of nothing for each call in flight, to release in a copy."""
        return [place for member in self.members.values() for place in member.places(now)]

    def obstacle(self, request: PermitRequest, now: float) -> str:
        """Return what delays the next call of a model at the member that can serve it first."""
        if self.in_flight >= self.max_in_flight:
            return f"the limit of calls in flight ({self._limits.in_flight:g})"
        return self._members.obstacle(request, now)

    # ----------------------------------------------------------------

    def _enqueue(
        self, call: QueuedCall, request: PermitRequest, now: float, *, came: float
    ) -> bool:
        name = self._queue_name(request)
        queue = self._queues.get(name)
        if queue is None:
            if len(self._queues) >= _MAX_QUEUES:
                self._queues = {key: one for key, one in self._queues.items() if len(one)}
            queue = self._queues[name] = self._new_queue()
        return queue.push(call, request.lane, self._members.size(request, now), came, request.cost)

    def _new_queue(self) -> FairQueue[QueuedCall]:
        return FairQueue(self._limits.lane, self._limits.ageing_s)

    def _look(
        self, now: float, *, only_renewals: bool
    ) -> tuple[str, FirstCall[QueuedCall] | MovableRenewal] | float:
        """Return the next call and its member; or the time at which there may be one."""
        at = inf
        self._renewals = [renewal for renewal in self._renewals if not renewal.call.done]
        for renewal in self._renewals:
            member, ready_at = self._members.choose_again(renewal, now)
            if member is not None:
                return member, renewal
            at = min(at, ready_at)
        if only_renewals or self.in_flight >= self.max_in_flight:
            return at
        blocked: set[str] = set()  # members that an earlier call waits for
        for head in self._heads():
            request = head.waiting.request
            member, ready_at = self._members.choose(request, now, blocked)
            if member is not None:
                return member, head
            at = min(at, ready_at)
            blocked |= {
                name for name, limiter in self.members.items() if limiter.is_blocked(request, now)
            }
        return at

    def _heads(self) -> list[FirstCall[QueuedCall]]:
        """Return the first call of each queue, in the order in which lanes share what is shared."""
        queues = self._queues.items()
        heads = [(name, head) for name, queue in queues if (head := queue.head()) is not None]
        return [head for _, head in self._lane_order.ordered(heads)]

    def _queue_name(self, request: PermitRequest) -> str:
        """Return the name of a queue: the model, or the pattern of its group."""
        return self._limits.group_of(request.model)[0]

    def copy(self, now: float) -> "PoolLimiter[Waiting]":
        """Return an independent copy, to simulate with; the health stays as it is."""
        other: PoolLimiter[Waiting] = PoolLimiter((), self.health, self._limits, now)
        other.max_in_flight = other.likely_in_flight = self.likely_in_flight
        other._members = self._members.copy(now)
        other._queues = {name: queue.copy() for name, queue in self._queues.items()}
        other._renewals = list(self._renewals)
        other._lane_order = self._lane_order.copy()
        return other


Limiting = Limiter[W] | PoolLimiter[W]
"""What admits calls: the limits of one endpoint, or those of each member of a pool."""
