"""Decides which call is admitted next, and when. Pure (R14).

Calls wait in lanes, separately for each model or group of models, so that no call waits for a limit
that does not apply to it. The first call of a lane is admitted when every limit allows it: limits
of all models, limits of its group, limits that the provider reports, limits found by trying, and
the number of calls in flight. All limits are debited together, and corrected when the usage of the
call is known (L3).
"""

import heapq
import itertools
from collections.abc import Callable, Iterable, Sequence
from math import inf
from typing import Generic, TypeVar, cast, final

from ..permit import DIMENSIONS, Report, ThrottleReason
from ..responses import Usage
from .explanation import BucketState, Explanation, LimiterSnapshot
from .lane_queue import Waiting
from .lanes import FirstCall
from .limits import Cost, Impossible, Limits, PermitRequest, QueuedCall
from .scope import LimitScope, Reservation
from .scope_table import BucketSource, ScopeTable
from .simulation import Grant, simulate
from .waits import Bounds, Places, Wait

W = TypeVar("W", bound=Waiting)
_, *_BUT_REQUESTS = range(len(DIMENSIONS))


@final
class Limiter(Generic[W]):
    """Admits calls within limits. It never waits: it returns when to call it again (L4).

    Args:
        limits: the limits that calls are kept within.
        now: the current time, in seconds of a monotonic clock.
        member: the member of a pool whose limits they are; "" without a pool.
        source: where other processes share the limits; None without sharing.

    Attributes:
        member: the member whose limits they are.
        max_in_flight: the most calls in flight now: `limits.in_flight`, or the part of it that
            this process has.
        likely_in_flight: the most calls in flight soon, by estimate.
    """

    def __init__(
        self, limits: Limits, now: float, member: str = "", source: BucketSource | None = None
    ) -> None:
        self.member = member
        self.max_in_flight = self.likely_in_flight = limits.in_flight
        self._limits = limits
        self._scopes = ScopeTable(limits, now, source)
        self._in_flight = 0
        self._order = itertools.count()
        self._mean_s = 0.0  # mean duration of a call in flight
        self._ended = 0  # number of calls that were sent and have ended

    def __repr__(self) -> str:
        return f"<Limiter {self._in_flight} in flight, {self.waiting} waiting>"

    @property
    def in_flight(self) -> int:
        """Number of calls that were admitted and have not ended."""
        return self._in_flight

    @property
    def scopes(self) -> ScopeTable:
        """The limits, and the calls that wait for them."""
        return self._scopes

    @property
    def ageing_s(self) -> float:
        """The head start of one step of priority, in seconds."""
        return self._limits.ageing_s

    @property
    def set_in_flight(self) -> int:
        """The most calls in flight, of all processes that share the limits together."""
        return self._limits.in_flight

    @property
    def waiting(self) -> int:
        """Number of calls and renewals that wait; those given up may still be counted."""
        return sum(
            len(scope.queue) + len(scope.renewals) for scope in self._scopes.by_name.values()
        )

    # ---------------------------------------------------------------- calls that wait

    def push(self, waiting: W, request: PermitRequest, now: float) -> bool:
        """Add a call to its lane; return whether the result of `advance` may differ now.

        Raises:
            Impossible: the call exceeds a limit, so that it could never be admitted.
            TooLate: it could not be admitted before its deadline, even with empty other lanes.
        """
        self.check(request, now)
        scope = self._scopes.of(request.model, now)
        size = scope.size(request.cost)
        call, came = QueuedCall(waiting, request), request.came_at(now)
        return scope.queue.push(call, request.lane, size, came, request.cost)

    def try_admit(self, request: PermitRequest, now: float) -> Reservation | None:
        """Admit a call that need not wait; None if it must be pushed.

        Raises:
            Impossible: the call exceeds a limit, so that it could never be admitted.
        """
        scope = self._scopes.of(request.model, now)
        scope.check_possible(request.cost)
        if self._in_flight >= self.max_in_flight or not scope.is_ready(request.cost, now):
            return None
        if (
            self._scopes.shared
            and len(self._scopes.by_name) > 1
            and any(map(_has_queue, self._scopes.by_name.values()))
        ):
            return None  # an earlier call of another model may wait for a shared limit
        return self._admit(scope, request.cost, now)

    def push_renewal(self, waiting: W, reservation: Reservation, not_before: float) -> None:
        """Add a call in flight that waits for one more attempt; it stays in flight."""
        scope = self._scopes.of_reservation(reservation, not_before)
        entry = (
            not_before,
            next(self._order),
            QueuedCall(waiting, PermitRequest(scope.name, reservation.cost)),
        )
        heapq.heappush(scope.renewals, entry)

    def advance(self, now: float, *, only_renewals: bool = False) -> Grant[W] | float:
        """Admit the next call, if the limits allow one now.

        Args:
            now: the current time.
            only_renewals: admit only renewals, and no call that is not in flight yet.

        Returns:
            The admitted call, with all limits debited. Otherwise the time at which to call this
            again; infinity if only a release or a push can change the result.
        """
        ready, at = self._look(now, only_renewals=only_renewals)
        if ready is None:
            return at
        scope, head = ready
        entry = head.waiting
        cost = entry.request.cost
        if head.came == -inf:
            heapq.heappop(scope.renewals)
            reservation = self._take(scope, cost, now)
            reservation.is_first = False
        else:
            scope.queue.pop()
            if len(self._scopes.by_name) > 1:
                self._scopes.order.take(head, self._scopes.shared_size(cost))
            reservation = self._admit(scope, cost, now)
        return Grant(cast("W", entry.waiting), reservation)

    def pop(self, now: float, *, only_renewals: bool = False) -> Grant[W] | None:
        """Admit the next call like `advance`; None if no call is allowed now."""
        found = self.advance(now, only_renewals=only_renewals)
        return found if isinstance(found, Grant) else None

    def next_at(self, now: float, *, only_renewals: bool = False) -> float:
        """Return the time that `advance` would return; `now` if it would admit a call."""
        ready, at = self._look(now, only_renewals=only_renewals)
        return at if ready is None else now

    def wait(
        self, request: PermitRequest, now: float, is_it: Callable[[Waiting], bool] | None = None
    ) -> Wait:
        """Estimate how long a call would wait that is pushed now.

        Other than `explain`, this does not simulate: it takes a step for each lane.

        Args:
            request: what the call needs.
            now: the current time.
            is_it: recognises what was pushed for it, if it waits already; then its place counts.

        Raises:
            Impossible: the call exceeds a limit, so that it could never be admitted.
        """
        places = Places(self._in_flight, self.likely_in_flight)
        return self._scopes.wait(request, places, self._mean_s, now, is_it)

    def left(self) -> None:
        """Record that a call that waits was given up, so that it delays no other one."""
        self._scopes.may_have_left = True

    # ---------------------------------------------------------------- of a member of a pool

    def check(self, request: PermitRequest, now: float) -> None:
        """Check that a call can be admitted, and in time; raises what `push` raises."""
        scope = self._scopes.of(request.model, now)
        scope.check_possible(request.cost)
        if request.deadline < inf:
            scope.check_in_time(request, now)

    def size(self, request: PermitRequest, now: float) -> float:
        """Return the size of a call for fair queueing; see `LimitScope.size`."""
        return self._scopes.of(request.model, now).size(request.cost)

    def ready_at(self, request: PermitRequest, now: float, *, is_renewal: bool = False) -> float:
        """Return when the limits allow a call; infinity if another one must end first."""
        scope = self._scopes.of(request.model, now)
        scope.resume_if_due(now)
        if not is_renewal and (
            self._in_flight >= self.max_in_flight or scope.in_flight >= scope.max_in_flight
        ):
            return inf
        shared_at = self._scopes.shared_ready_at(request.cost, now)
        return max(shared_at, scope.ready_at(request.cost, now))

    def bounds(self, model: str, now: float) -> Bounds:
        """Return the limits of a model and of all models, without that of all calls in flight."""
        return self._scopes.of(model, now).bounds(now)

    def is_blocked(self, request: PermitRequest, now: float) -> bool:
        """Whether a limit of all models delays a call, so that no later one may overtake it."""
        return bool(self._scopes.shared) and self._scopes.shared_ready_at(request.cost, now) > now

    def admit(self, request: PermitRequest, now: float) -> Reservation:
        """Admit a call for which `ready_at` has returned `now`."""
        return self._admit(self._scopes.of(request.model, now), request.cost, now)

    def renew(self, request: PermitRequest, now: float) -> Reservation:
        """Admit one more attempt of a call that is in flight here."""
        return self._take(self._scopes.of(request.model, now), request.cost, now)

    def leave(self, reservation: Reservation) -> None:
        """Record that a call in flight goes on elsewhere; what it has taken stays taken."""
        if self.owns(reservation):
            self._in_flight -= 1
            reservation.scope.in_flight -= 1

    def owns(self, reservation: Reservation) -> bool:
        """Whether it is of this limiter, and not of one before or after a restart."""
        return self._scopes.owns(reservation)

    # ---------------------------------------------------------------- calls in flight

    def release(self, reservation: Reservation, now: float, *, happened: bool = True) -> None:
        """Record the end of an admitted call.

        Args:
            reservation: what it has taken.
            now: the current time.
            happened: whether it was sent. If not, its reservation is refunded (L3).
        """
        self.leave(reservation)
        if happened:
            self._ended += 1
            gain = max(0.05, 1.0 / self._ended)
            self._mean_s += gain * (now - reservation.since - self._mean_s)
            return
        for index, amount in enumerate(reservation.cost):
            reservation.scope.correct(index, -amount, reservation.since, now)

    def settle(
        self,
        reservation: Reservation,
        usage: Usage,
        usd: float | None,
        now: float,
        *,
        uncounted: int = 0,
    ) -> None:
        """Correct a reservation by the actual usage.

        Args:
            reservation: what the call has taken by estimate.
            usage: the tokens that the provider reports.
            usd: its cost in USD; None if it is not known.
            now: the current time.
            uncounted: tokens of the prompt that do not count, such as those from a prompt cache.
        """
        scope = reservation.scope
        if not scope.counts_use:
            return
        actual = self._limits.used(reservation.cost, usage, usd, uncounted)
        for index, (amount, reserved) in enumerate(zip(actual, reservation.cost, strict=True)):
            scope.correct(index, amount - reserved, reservation.since, now)
        reservation.cost = actual

    def succeeded(self, reservation: Reservation, seconds: float, now: float) -> None:
        """Record a call that the provider did not refuse.

        Args:
            reservation: what it has taken.
            seconds: seconds until its response began.
            now: the current time.
        """
        scope = self._scopes.of_reservation(reservation, now)
        scope.finder.succeeded(seconds, scope.in_flight)

    def report(self, reservation: Reservation, reports: Iterable[Report], now: float) -> None:
        """Apply the limits that the headers of a response report.

        Args:
            reservation: what the call of the response has taken.
            reports: one report a limit.
            now: the current time.
        """
        if not self._limits.learn:
            return
        scope = self._scopes.of_reservation(reservation, now)
        for report in reports:
            scope.learn(reservation, report, now)

    def refused(
        self,
        reservation: Reservation,
        why: ThrottleReason,
        report: Report | None,
        *,
        pause_s: float,
        now: float,
    ) -> None:
        """Record a call that the provider refused: all calls pause, and are slower afterwards.

        Args:
            reservation: what it has taken.
            why: "too_fast" for too many calls a second, "too_many" for too many in flight.
            report: the limit that the refusal names, if it names one.
            pause_s: seconds for which no call is admitted.
            now: the current time.
        """
        scope, since = self._scopes.of_reservation(reservation, now), reservation.since
        scope.note_refused(reservation, reservation.cost)
        for index in _BUT_REQUESTS:  # a refused call takes one request only
            reservation.scope.correct(index, -reservation.cost[index], since, now)
        reservation.cost = Cost(reservation.cost.requests)
        scope.parked_until = max(scope.parked_until, now + pause_s)
        if report is None:
            scope.reported.return_request(reservation.cost, since, now)
        elif self._limits.learn:
            scope.learn(reservation, report, now, resumes_at=scope.parked_until)
        if why == "too_fast" and scope.knows_pace:
            if report is None:
                scope.reported.refused(scope.parked_until, now)
            return
        scope.finder.refused(why, since, scope.in_flight, now)

    def change(self, limits: Limits, now: float) -> list[tuple[W, Impossible]]:
        """Replace the limits. What was taken stays taken, and calls that wait keep their order.

        Returns:
            The calls that exceed a new limit, removed from their lanes, each with the reason.
        """
        self._limits = limits
        self.max_in_flight = self.likely_in_flight = limits.in_flight
        found = self._scopes.change(limits, now)
        return [(cast("W", call.waiting), error) for call, error in found]

    # ---------------------------------------------------------------- reports

    def snapshot(self, now: float) -> LimiterSnapshot:
        """Return the state of all limits, lanes and calls in flight."""
        states: list[BucketState] = [limit.state("", now) for limit in self._scopes.shared]
        for scope in self._scopes.by_name.values():
            states += scope.bucket_states(now)
        wake_at = self.next_at(now)
        return LimiterSnapshot(
            in_flight=self._in_flight,
            max_in_flight=self._limits.in_flight,
            waiting=self.waiting,
            next_wake_s=None if wake_at == inf else max(0.0, wake_at - now),
            buckets=tuple(states),
            scopes=tuple(scope.state(now) for scope in self._scopes.by_name.values()),
        )

    def loads(self) -> dict[str, dict[str, Sequence[float]]]:
        """Return what the calls that wait take of each dimension, by scope and lane."""
        return {
            name: {lane: tuple(totals) for lane, _, _, totals in scope.queue.loads()}
            for name, scope in self._scopes.by_name.items()
        }

    def explain(self, request: PermitRequest, now: float) -> Explanation:
        """Return how long a call would wait if it arrived now, and for what.

        Simulates a copy: each call that waits is admitted as soon as the limits allow it, and each
        call in flight ends after the mean duration of a call.
        """
        try:
            self._scopes.of(request.model, now).check_possible(request.cost)
        except Impossible as error:
            return Explanation(inf, str(error), 0, request.cost)
        return simulate(self.copy(now), request, now)

    # ---------------------------------------------------------------- inside

    def _look(
        self, now: float, *, only_renewals: bool
    ) -> tuple[tuple[LimitScope, FirstCall[QueuedCall]] | None, float]:
        """Return the call to admit now, and `now`; or None, and when the next can be admitted."""
        at = inf
        for found in self.heads(now, only_renewals=only_renewals):
            scope, head = found
            cost = head.waiting.request.cost
            shared_at = self._scopes.shared_ready_at(cost, now)
            ready_at = max(shared_at, scope.ready_at(cost, now))  # by then, leases may be lost
            if ready_at <= now:
                return found, now
            at = min(at, ready_at)
            if shared_at > now:
                break  # later calls must not overtake the first one at a shared limit
        for scope in self._scopes.by_name.values():
            if scope.renewals and scope.renewals[0][0] > now:
                at = min(at, max(scope.renewals[0][0], scope.parked_until))
        return None, at

    def heads(
        self, now: float, *, only_renewals: bool = False
    ) -> Sequence[tuple[LimitScope, FirstCall[QueuedCall]]]:
        """Return the first call of each scope, in the order in which lanes share what is shared.

        Args:
            now: the current time.
            only_renewals: leave out the calls that are not in flight yet.
        """
        is_full = only_renewals or self._in_flight >= self.max_in_flight
        found: list[tuple[LimitScope, FirstCall[QueuedCall]]] = []
        for scope in self._scopes.by_name.values():
            head = scope.head(now, only_renewals=is_full)
            if head is not None:
                found.append((scope, head))
        return self._scopes.order.ordered(found) if len(found) > 1 else found

    def _admit(self, scope: LimitScope, cost: Cost, now: float) -> Reservation:
        self._in_flight += 1
        scope.in_flight += 1
        return self._take(scope, cost, now)

    def _take(self, scope: LimitScope, cost: Cost, now: float) -> Reservation:
        return Reservation(scope, cost, now, scope.take(cost, now), member=self.member)

    # ---------------------------------------------------------------- simulation

    @property
    def mean_s(self) -> float:
        """The mean duration of a call in flight, in seconds."""
        return self._mean_s

    def copy(self, now: float) -> "Limiter[Waiting]":
        """Return an independent copy, to simulate with."""
        other: Limiter[Waiting] = Limiter(self._limits, now, self.member)
        other._scopes = self._scopes.copy(now)
        other.max_in_flight = other.likely_in_flight = self.likely_in_flight
        other._in_flight, other._mean_s = self._in_flight, self._mean_s
        other._ended = self._ended
        return other

    def places(self, now: float) -> list[Reservation]:
        """Return a reservation of nothing for each call in flight, to release in a copy."""
        return [
            Reservation(scope, Cost(), now, (), member=self.member)
            for scope in self._scopes.by_name.values()
            for _ in range(scope.in_flight)
        ]

    def obstacle(self, request: PermitRequest, now: float) -> str:
        """Return which limit delays the next call of a model."""
        scope = self._scopes.of(request.model, now)
        most = min(self._limits.in_flight, scope.max_in_flight)
        if self._in_flight >= self.max_in_flight or scope.in_flight >= most:
            if most == scope.reported.most_in_flight:
                return f"the provider's limit of calls in flight ({most:g})"
            return f"the limit of calls in flight ({most:g})"
        return scope.obstacle(request.cost, now)


def _has_queue(scope: LimitScope) -> bool:
    return len(scope.queue) > 0
