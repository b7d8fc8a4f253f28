"""Who goes next, and when. Pure (R14).

Calls wait in lanes, for each model or group of models apart, so that nobody waits for a limit that
does not concern him. Whoever is at the head goes when every limit allows it: those that all models
share, those of his own group, those that the provider told of, those that were found by trying,
and the number under way. All are debited together, and what turns out to have been too much or too
little is corrected when it is known (L3).
"""

import copy
import heapq
import itertools
from collections.abc import Iterable, Sequence
from math import inf
from typing import Generic, TypeVar, cast, final

import attrs

from ..messages import Usage
from ..permit import DIMENSIONS, Refused, Report
from .bucket import Limit, changed
from .explanation import BucketState, Explanation, LimiterSnapshot
from .lanes import Waiting
from .limits import Cost, Impossible, Limits
from .scope import LimitScope, Note, PermitRequest, QueuedCall, Reservation

__all__ = [
    "Grant",
    "Limiter",
    "PermitRequest",
    "Reservation",
]


W = TypeVar("W", bound=Waiting)
_, _INPUT, _OUTPUT, _TOKENS, _USD = range(len(DIMENSIONS))
_MOST_SCOPES = 256  # models to remember


@final
@attrs.frozen
class Grant(Generic[W]):
    """Somebody may go.

    Args:
        waiting: who.
        reservation: what he has taken.
    """

    waiting: W
    reservation: Reservation


@final
class Limiter(Generic[W]):
    """Lets through whoever may go. It never waits itself: it says when to come back (L4).

    Args:
        limits: what is allowed.
        now: the present, in seconds of any clock that does not go back.
    """

    def __init__(self, limits: Limits, now: float) -> None:
        self._limits = limits
        self._shared = [Limit(rate, now) for rate in limits.all_rates]
        self._scopes: dict[str, LimitScope] = {}
        self._of_model: dict[str, LimitScope] = {}
        self._in_flight = 0
        self._order = itertools.count()
        self._mean_s = 0.0  # that a call is under way
        self._ended = 0

    def __repr__(self) -> str:
        return f"<Limiter {self._in_flight} in flight, {self.waiting} waiting>"

    @property
    def limits(self) -> Limits:
        """What is allowed."""
        return self._limits

    @property
    def in_flight(self) -> int:
        """Calls that were let through and have not ended."""
        return self._in_flight

    @property
    def waiting(self) -> int:
        """Calls that wait, those nobody waits for any more included."""
        return sum(len(scope.queue) + len(scope.renewals) for scope in self._scopes.values())

    # ---------------------------------------------------------------- who waits

    def push(self, waiting: W, ask: PermitRequest, now: float) -> bool:
        """One more waits; whether `advance` may now do, or say, anything else than before.

        Raises:
            Impossible: it could never go.
            TooLate: it could not go before its deadline, even if all other lanes were empty.
        """
        scope = self._scope(ask.model, now)
        scope.check_possible(ask.cost)
        if ask.deadline < inf:
            scope.check_in_time(ask, now)
        size = scope.size(ask.cost)
        return scope.queue.push(QueuedCall(waiting, ask), ask.lane, size, now, ask.cost)

    def try_go(self, ask: PermitRequest, now: float) -> Reservation | None:
        """Let somebody through at once who need not wait; None if he has to `push`.

        Raises:
            Impossible: it could never go.
        """
        scope = self._scope(ask.model, now)
        scope.check_possible(ask.cost)
        if self._in_flight >= self._limits.in_flight or not scope.is_ready(ask.cost, now):
            return None
        if self._shared and len(self._scopes) > 1 and any(map(_has_queue, self._scopes.values())):
            return None  # somebody came before who may wait for what all share
        return self._let_go(scope, ask.cost, now)

    def push_renewal(self, waiting: W, reservation: Reservation, not_before: float) -> None:
        """A call that is under way wants to be sent once more; it keeps its place in flight."""
        scope = self._scope_of(reservation, not_before)
        entry = (
            not_before,
            next(self._order),
            QueuedCall(waiting, PermitRequest(scope.name, reservation.cost)),
        )
        heapq.heappush(scope.renewals, entry)

    def advance(self, now: float, *, only_renewals: bool = False) -> Grant[W] | float:
        """Let somebody through who may go now; or say when somebody may.

        Args:
            now: the present.
            only_renewals: those that have no place yet are left waiting.

        Returns:
            who goes, all debited; else the instant to come back at, infinity if it takes a release
            or a push.
        """
        ready, at = self._look(now, only_renewals=only_renewals)
        if ready is None:
            return at
        scope, entry, came = ready
        cost = entry.ask.cost
        if came == -inf:
            heapq.heappop(scope.renewals)
            reservation = self._take(scope, cost, now)
            reservation.is_first = False
        else:
            scope.queue.pop()
            reservation = self._let_go(scope, cost, now)
        return Grant(cast("W", entry.waiting), reservation)

    def pop(self, now: float, *, only_renewals: bool = False) -> Grant[W] | None:
        """Whoever may go now; None if nobody may. The same as `advance`."""
        found = self.advance(now, only_renewals=only_renewals)
        return found if isinstance(found, Grant) else None

    def next_at(self, now: float, *, only_renewals: bool = False) -> float:
        """What `advance` would say; the present if it would let somebody through."""
        ready, at = self._look(now, only_renewals=only_renewals)
        return at if ready is None else now

    # ---------------------------------------------------------------- what became of it

    def release(self, reservation: Reservation, now: float, *, happened: bool = True) -> None:
        """A call that was let through has ended.

        Args:
            reservation: what it has taken.
            now: the present.
            happened: it was sent; else all of it is given back (L3).
        """
        self._in_flight -= 1
        reservation.scope.in_flight -= 1
        if happened:
            self._ended += 1
            gain = max(0.05, 1.0 / self._ended)
            self._mean_s += gain * (now - reservation.since - self._mean_s)
            return
        for index, amount in enumerate(reservation.cost):
            reservation.scope.correct(index, -amount, reservation.since, now)

    def settle(self, reservation: Reservation, usage: Usage, usd: float | None, now: float) -> None:
        """What a call has really taken.

        Args:
            reservation: what was thought.
            usage: the tokens that the provider reports.
            usd: what it cost; None if that is not known.
            now: the present.
        """
        scope = reservation.scope
        if not (scope.every or scope.learned):
            return
        actual = {_INPUT: float(usage.input_tokens), _OUTPUT: float(usage.output_tokens)}
        if self._limits.token_charge == "used":  # noqa: S105  # no password
            actual[_TOKENS] = float(usage.total_tokens)
        if usd is not None:
            actual[_USD] = usd
        corrected = list(reservation.cost)
        for index, amount in actual.items():
            scope.correct(index, amount - corrected[index], reservation.since, now)
            corrected[index] = amount
        reservation.cost = Cost(*corrected)

    def answered(self, reservation: Reservation, seconds: float, now: float) -> None:
        """A call was not refused.

        Args:
            reservation: what it has taken.
            seconds: until its answer began.
            now: the present.
        """
        scope = self._scope_of(reservation, now)
        scope.finder.answered(seconds, scope.in_flight)

    def report(self, reservation: Reservation, reports: Iterable[Report], now: float) -> None:
        """An answer tells of the provider's limits.

        Args:
            reservation: of the call that it is an answer to.
            reports: what it tells.
            now: the present.
        """
        if not self._limits.learn:
            return
        scope = self._scope_of(reservation, now)
        for report in reports:
            scope.learn(reservation, report, now)

    def refused(
        self,
        reservation: Reservation,
        why: Refused,
        report: Report | None,
        *,
        pause_s: float,
        now: float,
    ) -> None:
        """The provider refused a call: everybody waits, and then goes more slowly.

        Args:
            reservation: what it has taken.
            why: calls came too fast, or too many are under way.
            report: the limit that the refusal names, if it names one.
            pause_s: seconds for which nobody should ask.
            now: the present.
        """
        scope, since = self._scope_of(reservation, now), reservation.since
        for index in (_INPUT, _OUTPUT, _TOKENS, _USD):  # a request that is refused takes no more
            reservation.scope.correct(index, -reservation.cost[index], since, now)
        reservation.cost = Cost(reservation.cost.requests)
        scope.parked_until = max(scope.parked_until, now + pause_s)
        if report is not None and self._limits.learn:
            scope.learn(reservation, report, now, resumes_at=scope.parked_until)
        if why == "too_fast" and scope.learned:
            if report is None:
                for learned in scope.learned.values():
                    learned.refused(scope.parked_until, now)
            return
        scope.finder.refused(why, since, scope.in_flight, now)

    def change(self, limits: Limits, now: float) -> list[tuple[W, Impossible]]:
        """Other limits from now on; what was taken stays taken, and who waits keeps his place.

        Returns:
            those that wait and could never go now, taken out, each with the reason.
        """
        self._limits = limits
        self._shared = changed(self._shared, limits.all_rates, now)
        self._of_model.clear()
        scopes = list(self._scopes.values())
        for scope in scopes:
            scope.change(limits, limits.models.get(scope.name), self._shared, now)
        waiting = [place for scope in scopes for place in scope.queue.drain()]
        waiting.sort(key=lambda place: place.came)  # other models may share limits now
        impossible: list[tuple[W, Impossible]] = []
        for place in waiting:
            entry, ask = place.waiting, place.waiting.ask
            scope = self._scope(ask.model, now)
            try:
                scope.check_possible(ask.cost)
            except Impossible as error:
                impossible.append((cast("W", entry.waiting), error))
            else:
                scope.queue.push(entry, ask.lane, scope.size(ask.cost), place.came, ask.cost)
        return impossible

    # ---------------------------------------------------------------- seeing in

    def snapshot(self, now: float) -> LimiterSnapshot:
        """All that is to be known."""
        states: list[BucketState] = [limit.state("", now) for limit in self._shared]
        for scope in self._scopes.values():
            states += scope.bucket_states(now)
        wake_at = self.next_at(now)
        return LimiterSnapshot(
            in_flight=self._in_flight,
            max_in_flight=self._limits.in_flight,
            waiting=self.waiting,
            next_wake_s=None if wake_at == inf else max(0.0, wake_at - now),
            buckets=tuple(states),
            scopes=tuple(scope.state(now) for scope in self._scopes.values()),
        )

    def explain(self, ask: PermitRequest, now: float) -> Explanation:
        """What a call would wait for if it came now, and for how long.

        Those that wait are let through on paper, each as soon as it may; who is under way is taken
        to end after as long as calls mostly take.
        """
        try:
            self._scope(ask.model, now).check_possible(ask.cost)
        except Impossible as error:
            return Explanation(inf, str(error), 0, ask.cost)
        return self.copy(now).rehearse(ask, now)

    # ---------------------------------------------------------------- the parts

    def _scope(self, model: str, now: float) -> LimitScope:
        scope = self._of_model.get(model)
        if scope is not None:
            return scope
        name, own = self._limits.group_of(model)
        scope = self._scopes.get(name)
        if scope is None:
            if len(self._scopes) >= _MOST_SCOPES:
                idle = [one.name for one in self._scopes.values() if one.is_idle]
                for gone in idle:
                    del self._scopes[gone]
                self._of_model.clear()
            scope = self._scopes[name] = LimitScope(name, self._limits, own, self._shared, now)
        self._of_model[model] = scope
        return scope

    def _scope_of(self, reservation: Reservation, now: float) -> LimitScope:
        """Its scope here: it may have been let through by a limiter that this one has replaced."""
        scope = self._scopes.get(reservation.scope.name)
        return self._scope(reservation.scope.name, now) if scope is None else scope

    def _look(
        self, now: float, *, only_renewals: bool
    ) -> tuple[tuple[LimitScope, QueuedCall, float] | None, float]:
        """Who may go now; else when somebody may."""
        at = inf
        for head in self._heads(now, only_renewals=only_renewals):
            scope, entry, _ = head
            cost = entry.ask.cost
            shared_at = self._shared_ready_at(cost, now)
            ready_at = scope.ready_at(cost, shared_at)
            if ready_at <= now:
                return head, now
            at = min(at, ready_at)
            if shared_at > now:
                break  # it is the first that waits for what all share
        for scope in self._scopes.values():
            if scope.renewals and scope.renewals[0][0] > now:
                at = min(at, max(scope.renewals[0][0], scope.parked_until))
        return None, at

    def _heads(
        self, now: float, *, only_renewals: bool
    ) -> Sequence[tuple[LimitScope, QueuedCall, float]]:
        """Who is first at each scope, those that came first before the others."""
        is_full = only_renewals or self._in_flight >= self._limits.in_flight
        found: list[tuple[LimitScope, QueuedCall, float]] = []
        for scope in self._scopes.values():
            head = scope.head(now, only_renewals=is_full)
            if head is not None:
                found.append((scope, head[0], head[1]))
        if len(found) > 1:
            found.sort(key=lambda one: one[2])
        return found

    def _shared_ready_at(self, cost: Cost, now: float) -> float:
        at = now
        for limit in self._shared:
            ready = limit.bucket.ready_at(cost[limit.index], now)
            at = max(at, ready)
        return at

    def _let_go(self, scope: LimitScope, cost: Cost, now: float) -> Reservation:
        self._in_flight += 1
        scope.in_flight += 1
        return self._take(scope, cost, now)

    def _take(self, scope: LimitScope, cost: Cost, now: float) -> Reservation:
        return Reservation(scope, cost, now, scope.take(cost, now))

    # ---------------------------------------------------------------- on paper

    def copy(self, now: float) -> "Limiter[Waiting]":
        """One that can be driven without harm to this one."""
        paper: Limiter[Waiting] = Limiter(self._limits, now)
        paper._shared = [copy.deepcopy(limit) for limit in self._shared]
        paper._scopes = {name: scope.copy(paper._shared) for name, scope in self._scopes.items()}
        paper._in_flight, paper._mean_s = self._in_flight, self._mean_s
        paper._ended = self._ended
        return paper

    def rehearse(self: "Limiter[Waiting]", ask: PermitRequest, now: float) -> Explanation:
        """Of a copy: let everybody through as soon as he may, until it is this one's turn."""
        start, before, because = now, 0, "nothing is in its way"
        mine = Note()
        self.push(mine, attrs.evolve(ask, deadline=inf), now)
        ends: list[tuple[float, int, Reservation]] = []
        for scope in self._scopes.values():
            place = Reservation(scope, Cost(), now, ())
            ends += [(now + self._mean_s, next(self._order), place)] * scope.in_flight
        heapq.heapify(ends)
        while True:
            while isinstance(found := self.advance(now), Grant):
                if found.waiting is mine:
                    return Explanation(now - start, because, before, ask.cost)
                before += 1
                if found.reservation.is_first:
                    end = now + self._mean_s
                    heapq.heappush(ends, (end, next(self._order), found.reservation))
            because, at = self._obstacle(ask, now), found
            if ends and ends[0][0] <= at:
                end, _, place = heapq.heappop(ends)
                now = max(now, end)
                self.release(place, now)
            elif at == inf:
                return Explanation(inf, because, before, ask.cost)
            else:
                now = at

    def _obstacle(self, ask: PermitRequest, now: float) -> str:
        """What keeps the first of its model from going."""
        scope = self._scope(ask.model, now)
        most = min(self._limits.in_flight, scope.most, scope.finder.in_flight)
        if self._in_flight >= self._limits.in_flight or scope.in_flight >= most:
            return f"{most:g} calls are under way, which is all that may be"
        return scope.obstacle(ask.cost, now)


def _has_queue(scope: LimitScope) -> bool:
    return len(scope.queue) > 0
