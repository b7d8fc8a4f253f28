"""Decides when a process asks the store of shared limits, and for what. Pure (R14).

It asks at once when a call waits for which too little is leased, when the provider refused a call,
or when calls wait for places in flight. While more calls wait than what is leased will serve, it
asks shortly before the leases end, so that one exchange leases for all of them and the next lease
continues the last one. Everything else goes with such a question, and alone only after a while:
what was used other than leased, leases that are not used, places that are not needed.
"""

from collections.abc import Sequence
from math import inf
from typing import final

from ..permit import ThrottleReason
from .explanation import SharedState
from .lane_queue import Waiting
from .lanes import FairQueue
from .lease_amounts import LeaseAmounts
from .lease_demand import demands_of, group_of, members_of
from .lease_places import LeasedPlaces
from .lease_timing import LeaseTiming
from .leased_bucket import LeasedBucket
from .leased_limits import LeasedLimits, MemberLimits
from .limits import QueuedCall
from .pool import Limiting, PoolLimiter
from .scope import Reservation
from .shared import LimitAsk, LimitGrant, SharedRefusal

_HEARTBEAT_S = 3.0
_TURN, _MOST_TURN_S = 0.005, 0.05  # of the time in line, after which a hint is followed


@final
class LeaseKeeper:
    """Keeps the leases of one limiter. It is made anew with it; `LeasedLimits` stays.

    Args:
        leased: what this process has leased.
        limiter: the limiter, which was made with the same leases.
        now: the current time.
    """

    def __init__(self, leased: LeasedLimits, limiter: Limiting[Waiting], now: float) -> None:
        self.leased = leased
        self._limiter = limiter
        self._refusals: list[tuple[SharedRefusal, float]] = []  # (refusal, when it was reported)
        self._has_news = False
        self._news_at = inf  # when a hint is followed
        self._timing = LeaseTiming(leased, limiter)
        self._amounts = LeaseAmounts(leased, limiter)
        self._places = LeasedPlaces(leased, limiter)
        self.attach(now)

    # ---------------------------------------------------------------- what happens here

    def attach(self, now: float) -> None:
        """Apply what is known of the other processes to the limiter, which may have changed.

        Args:
            now: the current time.
        """
        self._places.attach()
        for source, member in members_of(self.leased, self._limiter):
            for scope in member.scopes.by_name.values():
                source.attach(scope)
                scope.reported.set_part(self.leased.part(source.key(group_of(scope))), now)

    def pushed(self) -> None:
        """Record that a call waits that did not before."""
        self._timing.is_covered = False

    def refused(
        self, reservation: Reservation, why: ThrottleReason, pause_s: float, now: float
    ) -> None:
        """Record that the provider refused a call, to report it to the other processes.

        Args:
            reservation: what the call had taken.
            why: the kind of refusal.
            pause_s: seconds for which no call of its scope is admitted.
            now: the current time.
        """
        key = MemberLimits(self.leased, reservation.member).key(reservation.scope.name)
        refusal = SharedRefusal(key, why, pause_s, now - reservation.since)
        self._refusals.append((refusal, now))

    def heard(self, *, is_hint: bool) -> None:
        """Record that another process may have refused calls or given places back.

        Args:
            is_hint: whether there is a hint; otherwise the time came to look after places.
        """
        limiter = self._limiter
        waits = limiter.waiting > 0
        if is_hint:
            self._has_news = self._has_news or waits or limiter.in_flight > 0
        elif waits and limiter.in_flight >= limiter.max_in_flight < limiter.set_in_flight:
            self._has_news = True

    # ---------------------------------------------------------------- when to ask

    def due_at(self, now: float) -> float:
        """Return when the next question is to be asked; `now` or earlier if it is due.

        Args:
            now: the current time.
        """
        leased = self.leased
        if leased.asked is not None or not leased.epoch or self._refusals:
            return now
        if self._has_news and self._news_at == inf:
            self._news_at = now + min(_MOST_TURN_S, _TURN * self._in_line_s(now))
        at = min(leased.asked_at + _HEARTBEAT_S, self._places.due_at(now), self._news_at)
        if at <= now or leased.is_divided:
            return at
        at = min(at, self._timing.due_at(now))
        return at if at <= now else min(at, self._amounts.rest_due_at(now))

    def _in_line_s(self, now: float) -> float:
        """Return how long what is leased cannot be used: those in line follow a hint in turn."""
        return max((max(0.0, one.begins_at - now) for one in self.leased.active), default=0.0)

    # ---------------------------------------------------------------- what to ask

    def ask(self, now: float) -> LimitAsk | None:
        """Return the question to ask: the last one again if it has no answer.

        Args:
            now: the current time.

        Returns:
            The question; None if there is nothing to ask for, other than expected.
        """
        leased = self.leased
        if leased.asked is not None:
            return leased.asked.again(now)
        limiter = self._limiter
        reports_use = leased.is_divided
        demands = demands_of(limiter, now)
        named: dict[str, LeasedBucket] = {}
        is_needed = leased.asked_at + _HEARTBEAT_S <= now or self._amounts.rest_due_at(now) <= now
        corrections = list(self._amounts.corrections(demands, named, now, has_news=self._has_news))
        leases, lanes = self._amounts.leases(demands, named, now, self._timing.margin_s)
        is_needed = is_needed or bool(
            leases or self._refusals or self._has_news or reports_use or not leased.epoch
        )
        if not is_needed and self._places.due_at(now) > now and not corrections:
            self._timing.is_covered = True
            return None
        for bucket in leased.buckets if reports_use else ():
            named[bucket.name] = bucket
        ask = LimitAsk(
            worker=leased.worker,
            number=leased.number + 1,
            epoch=leased.epoch,
            seen=leased.seen,
            rates=leased.rates(named.values(), now),
            leases=tuple(leases),
            corrections=tuple(corrections),
            lanes=tuple(lanes),
            places=tuple(self._places.asks(demands)),
            refusals=tuple(
                SharedRefusal(one.scope, one.why, one.pause_s - (now - at), one.age_s + (now - at))
                for one, at in self._refusals
            ),
        )
        self._refusals.clear()
        self._has_news = False
        self._news_at = inf
        self._amounts.asked()
        return leased.record(ask, reports_use=reports_use, now=now)

    def leave(self, now: float) -> LimitAsk:
        """Return the last question, with which the process ends.

        Args:
            now: the current time.
        """
        return self.leased.leaving(now)

    # ---------------------------------------------------------------- what is granted

    def granted(self, grant: LimitGrant, now: float) -> None:
        """Apply the answer to the last question.

        Args:
            grant: the answer to the last question.
            now: the current time.
        """
        asked = self.leased.apply(grant, now)
        if asked is None:
            return
        self._timing.granted(asked.ask, grant, now)
        self._refuse_elsewhere(grant.refusals, now)
        self._weigh(grant)
        self.attach(now)

    def _refuse_elsewhere(self, refusals: Sequence[SharedRefusal], now: float) -> None:
        leased = self.leased
        leased.pauses = {key: until for key, until in leased.pauses.items() if until > now}
        for refusal in refusals:
            until = now + refusal.pause_s
            leased.pauses[refusal.scope] = max(until, leased.pauses.get(refusal.scope, -inf))
            for source, member in members_of(self.leased, self._limiter):
                for scope in member.scopes.by_name.values():
                    if source.key(scope.name) == refusal.scope:
                        why: ThrottleReason = (
                            "too_many" if refusal.why == "too_many" else "too_fast"
                        )
                        scope.refused_elsewhere(why, now - refusal.age_s, until, now)

    def _weigh(self, grant: LimitGrant) -> None:
        """Give each lane the weight that it has in this process."""
        queues: dict[str, list[FairQueue[QueuedCall]]] = {}
        limiter = self._limiter
        for source, member in members_of(self.leased, self._limiter):
            for scope in member.scopes.by_name.values():
                queues.setdefault(source.key(group_of(scope)), []).append(scope.queue)
        if isinstance(limiter, PoolLimiter):
            every = list(limiter.queues.values())
            queues = dict.fromkeys({scope for scope, _ in grant.weights}, every)
        for (scope_name, lane), weight in grant.weights.items():
            for queue in queues.get(scope_name, ()):
                queue.weigh(lane, weight)

    # ---------------------------------------------------------------- without the store

    def divide(self, phase: float, now: float) -> None:
        """Go on without the store: with a part of each limit, as many as there were processes.

        Args:
            phase: a random number from 0 to 1; see `LeasedBucket.divide`.
            now: the current time.
        """
        if self.leased.divide(phase, now):
            self.attach(now)

    def state(self, now: float) -> SharedState:
        """Return what is known of the other processes.

        Args:
            now: the current time.
        """
        leased = self.leased
        amounts = {one.name: one.leased(now) for one in leased.active}
        return SharedState(
            processes=leased.processes,
            leased={name: amount for name, amount in amounts.items() if amount},
            is_away=leased.is_away,
            exchanges=leased.exchanges,
        )
