"""Decides when a process asks the store of shared limits, and for what. Pure (R14).

It asks at once when a call waits for which too little is leased, when the provider refused a call,
or when calls wait for places in flight. While more calls wait than what is leased will serve, it
asks shortly before the leases end, so that one exchange leases for all of them and the next lease
continues the last one. Everything else goes with such a question, and alone only after a while:
what was used other than leased, leases that are not used, places that are not needed.
"""

from collections.abc import Iterator, Sequence
from math import ceil, inf
from typing import final

from ..permit import ThrottleReason
from .core import Limiter
from .explanation import SharedState
from .lane_queue import Waiting
from .lanes import FairQueue
from .lease_demand import LeaseDemand, demands_of, group_of
from .leased_bucket import LeasedBucket
from .leased_limits import LeasedLimits, MemberLimits
from .limits import QueuedCall
from .pool import Limiting, PoolLimiter
from .scope import LimitScope, Reservation
from .shared import (
    Correction,
    LaneDemand,
    LeaseAsk,
    LimitAsk,
    LimitGrant,
    PlacesAsk,
    SharedRefusal,
)

_HEARTBEAT_S = 3.0
_IDLE_S = 0.2  # for which a lease may be unused
_CORRECTED_S = 0.5  # within which a correction is reported
_WORTH_S = 0.02  # seconds of a limit; less is not worth an exchange of its own
_AHEAD_S = 0.2  # calls that are expected within this time are leased for
_TOGETHER_S = 0.05  # what will be asked for so soon is asked for now
_LEAST_MARGIN_S, _MOST_MARGIN_S = 0.01, 0.1  # before the end of a lease, at which the next is asked
_EARLIER_S = 0.1  # by which calls may be earlier, for which their place in line is renewed
_LARGE_S = 0.1  # seconds of a limit; more than that is given back at once
_TURN, _MOST_TURN_S = 0.005, 0.05  # of the time in line, after which a hint is followed
_RETRY_S = 0.02  # until a lease is asked for again that was not granted
_USED_S = 60.0  # for which a scope without calls counts as used
_SPARE_PLACES = 0.25  # of those in use, which are asked for besides
_GIVEN_BACK = 0.8  # of the places that other processes wait for, when that is reported
_FEW_PLACES = 4  # beyond twice those in use, which may stay unused until the heartbeat
_LARGE = 0.25  # of the depth: a part of so large a call is returned rather than held
_EPSILON = 1e-9


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
        self._is_covered = False  # no call waits beyond what is leased
        self._retry_at: dict[str, float] = {}  # {scope: when to ask for a lease again}
        self._line_until: dict[str, float] = {}  # {scope: when all of its leases can be used}
        self._wanted = 0  # places that were asked for
        self._held = 0  # calls in flight that were reported
        self._peak = 0  # calls in flight or waiting since then
        self._of_scopes: dict[str, PlacesAsk] = {}  # the places that were asked for, by scope
        self._spare_since = inf  # when more places were granted than are needed
        self._uncorrected_since = inf
        self._took_s = 0.0  # mean seconds of an exchange
        self.attach(now)

    # ---------------------------------------------------------------- what happens here

    def attach(self, now: float) -> None:
        """Apply what is known of the other processes to the limiter, which may have changed.

        Args:
            now: the current time.
        """
        limiter, leased = self._limiter, self.leased
        limiter.max_in_flight = _places(leased, "", limiter)
        limiter.likely_in_flight = _likely(leased, limiter)
        for source, member in self._members():
            is_own = member.set_in_flight < limiter.set_in_flight
            if is_own and isinstance(limiter, PoolLimiter):
                member.max_in_flight = _places(leased, source.key(""), member)
                member.likely_in_flight = _likely(leased, member)
            for scope in member.scopes.by_name.values():
                source.attach(scope)
                scope.set_part(self.leased.part(source.key(group_of(scope))), now)

    def pushed(self) -> None:
        """Record that a call waits that did not before."""
        self._is_covered = False

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
        at = min(leased.asked_at + _HEARTBEAT_S, self._places_due_at(now), self._news_at)
        if at <= now or leased.is_divided:
            return at
        at = min(at, self._leases_due_at(now))
        return at if at <= now else min(at, self._rest_due_at(now))

    def _leases_due_at(self, now: float) -> float:
        """Return when a lease is needed: a call waits for it, or the leases in use end."""
        limiter, at = self._limiter, inf
        if isinstance(limiter, PoolLimiter):
            return self._pool_due_at(limiter, now)
        for scope, head in limiter.heads(now):
            cost = head.waiting.request.cost
            if _is_short(scope, cost, now):
                line_at = self._line_at(limiter.scopes.key(group_of(scope)))
                leased_at = _leased_at(scope, cost, now) - self._margin_s
                at = min(at, max(scope.unleased_ready_at(cost, now), line_at, leased_at))
            elif len(scope.queue) > 1 and not self._is_covered:
                key = limiter.scopes.key(group_of(scope))
                ready_at = scope.unleased_ready_at(cost, now)  # no earlier: it may pause
                at = min(at, max(_ends_at(scope) - self._margin_s, self._line_at(key), ready_at))
        return at

    def _pool_due_at(self, limiter: PoolLimiter[Waiting], now: float) -> float:
        at = inf
        for queue in limiter.queues.values():
            head = queue.head()
            if head is None or limiter.in_flight >= limiter.max_in_flight:
                continue
            request = head.waiting.request
            names, _ = limiter.health.may_serve(request.model, now)
            scopes = [(name, limiter.members[name].scopes.of(request.model, now)) for name in names]
            open_ = [one for one in scopes if one[1].in_flight < one[1].max_in_flight]
            short = [one for one in open_ if _is_short(one[1], request.cost, now)]
            if short and len(short) == len(open_):
                for name, scope in short:
                    key = MemberLimits(self.leased, name).key(group_of(scope))
                    ready_at = scope.unleased_ready_at(request.cost, now)
                    leased_at = _leased_at(scope, request.cost, now) - self._margin_s
                    at = min(at, max(ready_at, leased_at, self._line_at(key)))
            elif not self._is_covered and len(queue) > 1:
                for name, scope in open_:
                    key = MemberLimits(self.leased, name).key(group_of(scope))
                    ready_at = scope.unleased_ready_at(request.cost, now)
                    ends_at = _ends_at(scope) - self._margin_s
                    at = min(at, max(ends_at, self._line_at(key), ready_at))
        if any(True for _ in limiter.renewals_at(now)) and not self._is_covered:
            at = min(at, max(now, self.leased.asked_at + _RETRY_S))
        return at

    def _in_line_s(self, now: float) -> float:
        """Return how long what is leased cannot be used: those in line follow a hint in turn."""
        return max((max(0.0, one.begins_at - now) for one in self.leased.active), default=0.0)

    def _line_at(self, scope: str) -> float:
        """Return when a scope may lease again: shortly before the end of its place in line."""
        lead_s = max(self._margin_s, _AHEAD_S * self.leased.part(scope))
        until = self._line_until.get(scope, -inf) - lead_s
        return max(until, self._retry_at.get(scope, -inf))

    def _places_due_at(self, now: float) -> float:
        """Return when places are needed, or to be given back."""
        return min(self._all_places_due_at(now), self._scopes_due_at(now))

    def _scopes_due_at(self, now: float) -> float:
        """Return when places of a model, or group of models, are needed or to be given back."""
        at, is_alone = inf, self.leased.processes <= 1
        for source, member in self._members():
            if member.max_in_flight < member.set_in_flight < self._limiter.set_in_flight:
                at = min(at, self._member_due_at(source.key(""), member, now))
            for scope in member.scopes.by_name.values():
                most = scope.most
                if scope.set_most == inf or (most >= scope.set_most and is_alone):
                    continue
                needed = scope.in_flight + len(scope.queue)
                asked = self._of_scopes.get(source.key(scope.name))
                held, wanted = (0, 0) if asked is None else (asked.held, asked.wanted)
                if held > most and scope.in_flight <= max(most, _GIVEN_BACK * held):
                    return now  # others wait for what has ended since
                if scope.in_flight >= most < scope.set_most and wanted < needed and scope.queue:
                    return now
                if most > 2 * needed + _FEW_PLACES:
                    at = min(at, self.leased.asked_at + _IDLE_S)
        return at

    def _member_due_at(self, key: str, member: Limiter[Waiting], now: float) -> float:
        """Return when places of one member of a pool are needed or to be given back."""
        asked, most = self._of_scopes.get(key), member.max_in_flight
        held, wanted = (0, 0) if asked is None else (asked.held, asked.wanted)
        if held > most and member.in_flight <= max(most, _GIVEN_BACK * held):
            return now
        waiting = self._limiter.waiting
        is_short = member.in_flight >= most and wanted < member.set_in_flight
        return self.leased.asked_at + _IDLE_S if waiting and is_short else inf

    def _all_places_due_at(self, now: float) -> float:
        limiter = self._limiter
        most = limiter.max_in_flight
        needed = limiter.in_flight + limiter.waiting
        self._peak = max(self._peak, needed)
        if most >= limiter.set_in_flight and self.leased.processes <= 1:
            return inf
        if self._held > most and limiter.in_flight <= max(most, _GIVEN_BACK * self._held):
            return now  # others wait for what has ended since
        if limiter.in_flight >= most < limiter.set_in_flight and limiter.waiting:
            return now if self._wanted < needed else inf
        if most > 2 * needed + _FEW_PLACES:
            self._spare_since = min(self._spare_since, now)
        else:
            self._spare_since = inf
        return self._spare_since + _IDLE_S

    def _rest_due_at(self, now: float) -> float:
        """Return when corrections are to be reported, and unused leases returned."""
        at = inf
        is_corrected = is_large = False
        for bucket in self.leased.active:
            worth, refunded = _WORTH_S * bucket.rate, bucket.refunded
            if bucket.owed > worth or refunded > worth:
                is_corrected = True
                is_large = is_large or refunded > _LARGE_S * bucket.rate
            if bucket.leased(now) > worth:
                at = min(at, max(bucket.idle_since, self.leased.asked_at) + _IDLE_S)
        if not is_corrected:
            self._uncorrected_since = inf
            return at
        if self.leased.processes <= 1 and not self._limiter.waiting:
            return at  # no call waits for it
        self._uncorrected_since = min(self._uncorrected_since, now)
        return min(at, self._uncorrected_since + (_RETRY_S if is_large else _CORRECTED_S))

    @property
    def _margin_s(self) -> float:
        return min(_MOST_MARGIN_S, max(_LEAST_MARGIN_S, 3 * self._took_s))

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
        is_needed = leased.asked_at + _HEARTBEAT_S <= now or self._rest_due_at(now) <= now
        corrections = list(self._corrections(demands, named, now))
        leases, lanes = self._leases(demands, named, now)
        is_needed = is_needed or bool(
            leases or self._refusals or self._has_news or reports_use or not leased.epoch
        )
        if not is_needed and self._places_due_at(now) > now and not corrections:
            self._is_covered = True
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
            places=tuple(self._places(demands)),
            refusals=tuple(
                SharedRefusal(one.scope, one.why, one.pause_s - (now - at), one.age_s + (now - at))
                for one, at in self._refusals
            ),
        )
        self._refusals.clear()
        self._has_news = False
        self._news_at = self._uncorrected_since = self._spare_since = inf
        return leased.record(ask, reports_use=reports_use, now=now)

    def leave(self, now: float) -> LimitAsk:
        """Return the last question, with which the process ends.

        Args:
            now: the current time.
        """
        return self.leased.leaving(now)

    def _corrections(
        self, demands: Sequence[LeaseDemand], named: dict[str, LeasedBucket], now: float
    ) -> Iterator[Correction]:
        """Yield what was used other than leased; return what is leased and not used."""
        active = self.leased.active
        needed: dict[LeasedBucket, float] = {}
        for demand in demands:
            if demand.first is not None:
                for bucket, index in demand.buckets.items():
                    needed[bucket] = needed.get(bucket, 0.0) + demand.first[index]
        for bucket in list(active):
            need, there = needed.get(bucket, 0.0), bucket.leased(now)
            # Some is lost already, and the rest would be while it waits for more.
            is_large = _LARGE * bucket.depth < need and bucket.ends_at <= now
            is_lost = need > there and (is_large or bucket.is_losing(now))
            # What was given back may let the calls in line be earlier.
            is_news = self._has_news or bucket.refunded > _WORTH_S * bucket.rate
            if is_news and now + _EARLIER_S < bucket.ready_at(need, now) < inf:
                is_lost = True
            if is_lost:
                need = 0.0
            if now >= bucket.idle_since + _IDLE_S or is_lost:
                bucket.surrender(need, now)
            found = list(bucket.corrections(now))
            if found:
                named[bucket.name] = bucket
                yield from found
            if not bucket.is_active:
                active.discard(bucket)

    def _leases(
        self, demands: Sequence[LeaseDemand], named: dict[str, LeasedBucket], now: float
    ) -> tuple[list[LeaseAsk], list[LaneDemand]]:
        """Return what to lease, by scope, and all calls that wait, by lane."""
        leased = self.leased
        leases: list[LeaseAsk] = []
        lanes: list[LaneDemand] = []
        rest: dict[LeasedBucket, float] = {}  # what is leased, and no other scope needs
        ahead: set[LeasedBucket] = set()  # those for which calls are expected
        for demand in demands:
            for bucket in demand.buckets:
                if bucket not in rest:
                    leased.note_use(bucket, now)
                    rest[bucket] = bucket.leased(now)
            expected, amounts_ahead = self._expected(demand, ahead)
            part = _part_to_lease(demand, expected)
            asked = self._lease(demand, part, amounts_ahead, rest, now)
            if asked is not None:
                leases.append(asked)
                for bucket in demand.buckets:
                    leased.adopt(bucket)
                    named[bucket.name] = bucket
            ahead_s = max(
                (amounts_ahead.get(bucket, 0.0) / bucket.rate for bucket in demand.buckets),
                default=0.0,
            )
            due = _part_due(demand, part, expected)
            lanes += _lanes(demand, due, ahead_s if asked else 0.0, now)
        return leases, lanes

    def _expected(
        self, demand: LeaseDemand, ahead: set[LeasedBucket]
    ) -> tuple[float, dict[LeasedBucket, float]]:
        """Return how many calls of a scope will come soon, and what they will take."""
        leased, calls = self.leased, inf
        amounts: dict[LeasedBucket, float] = {}
        for bucket in demand.buckets:
            its_calls, amount = leased.expected(bucket, _AHEAD_S)
            calls = min(calls, its_calls)
            if bucket not in ahead and its_calls >= 1:
                ahead.add(bucket)
                amounts[bucket] = amount
        return (0.0 if calls == inf else calls), amounts

    def _lease(
        self,
        demand: LeaseDemand,
        part: float,
        ahead: dict[LeasedBucket, float],
        rest: dict[LeasedBucket, float],
        now: float,
    ) -> LeaseAsk | None:
        """Return what to lease for the calls of one scope; None if nothing, or not yet."""
        leased, before = self.leased, {bucket: rest[bucket] for bucket in demand.buckets}
        is_due, is_short, ends_at = False, False, -inf
        room: dict[LeasedBucket, float] = {}
        for bucket, index in demand.buckets.items():
            needs = 0.0 if demand.first is None else demand.first[index]
            wanted = max(needs, part * demand.totals[index])
            there = rest[bucket]
            is_due = is_due or needs > there * (1 + _EPSILON)
            is_short = is_short or wanted > there * (1 + _EPSILON)
            ends_at = max(ends_at, bucket.ends_at)
            rest[bucket] = max(0.0, there - wanted)
            room[bucket] = leased.room(bucket, demand.scope, now)
        if not (is_due or (is_short and ends_at - self._margin_s - _TOGETHER_S <= now)):
            return None
        most = max(1.0, part * demand.calls)
        first, amounts, are_all = demand.whole_calls(before, room, most)
        if are_all:
            for bucket, amount in ahead.items():
                amounts[bucket.name] = amounts.get(bucket.name, 0.0) + amount
        if not amounts:
            return None
        return LeaseAsk(demand.scope, amounts, first if demand.first is not None else {})

    def _places(self, demands: Sequence[LeaseDemand]) -> Iterator[PlacesAsk]:
        """Yield the calls in flight, as far as their number is limited.

        No more than what is reported as held come to be in flight before the grant arrives: the
        store may give all other places to other processes.
        """
        limiter = self._limiter
        self._wanted = _with_spare(max(self._peak, limiter.in_flight + limiter.waiting))
        self._peak = 0
        self._held = max(limiter.in_flight, min(limiter.max_in_flight, self._wanted))
        limiter.max_in_flight = min(limiter.max_in_flight, self._held)
        yield PlacesAsk("", limiter.set_in_flight, self._held, self._wanted)
        waiting = {demand.scope: ceil(demand.calls) for demand in demands}
        is_pool = isinstance(limiter, PoolLimiter)
        for source, member in self._members():
            key = source.key("")
            if is_pool and member.set_in_flight < limiter.set_in_flight:
                names = ("", *member.scopes.by_name)
                calls = sum(waiting.get(source.key(name), 0) for name in names)
                wanted = _with_spare(member.in_flight + calls)
                held = max(member.in_flight, min(member.max_in_flight, wanted))
                member.max_in_flight = min(member.max_in_flight, held)
                self._of_scopes[key] = PlacesAsk(key, member.set_in_flight, held, wanted)
                yield self._of_scopes[key]
            for scope in member.scopes.by_name.values():
                if scope.set_most < inf:
                    calls = waiting.get(source.key(group_of(scope)), 0)
                    wanted = _with_spare(scope.in_flight + calls)
                    held = max(scope.in_flight, int(min(scope.most, wanted)))
                    scope.most = min(scope.most, held)
                    asked = PlacesAsk(source.key(scope.name), scope.set_most, held, wanted)
                    self._of_scopes[asked.scope] = asked
                    yield asked

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
        self._took_s += 0.2 * (now - self.leased.asked_at - self._took_s)
        for lease in grant.leases:
            until = now + (lease.amount - lease.at_once) / lease.rate
            self._line_until[lease.scope] = max(until, self._line_until.get(lease.scope, until))
        self._note_starved(asked.ask, grant, now)
        self._refuse_elsewhere(grant.refusals, now)
        self._weigh(grant)
        self._is_covered = False
        self.attach(now)

    def _note_starved(self, ask: LimitAsk, grant: LimitGrant, now: float) -> None:
        """Wait before a lease is asked for again that was not granted."""
        self._retry_at.clear()
        granted = {(lease.scope, lease.limit): lease.amount for lease in grant.leases}
        for lease in ask.leases:
            for name, amount in lease.first.items():
                if granted.get((lease.scope, name), 0.0) < amount * (1 - _EPSILON):
                    self._retry_at[lease.scope] = now + _RETRY_S

    def _refuse_elsewhere(self, refusals: Sequence[SharedRefusal], now: float) -> None:
        leased = self.leased
        leased.pauses = {key: until for key, until in leased.pauses.items() if until > now}
        for refusal in refusals:
            until = now + refusal.pause_s
            leased.pauses[refusal.scope] = max(until, leased.pauses.get(refusal.scope, -inf))
            for source, member in self._members():
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
        for source, member in self._members():
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

    def _members(self) -> Iterator[tuple[MemberLimits, Limiter[Waiting]]]:
        """Yield the limiter of each endpoint, with the names of its scopes."""
        limiter = self._limiter
        if isinstance(limiter, PoolLimiter):
            for name, member in limiter.members.items():
                yield MemberLimits(self.leased, name), member
        else:
            yield MemberLimits(self.leased), limiter


def _places(leased: LeasedLimits, scope: str, limiter: Limiting[Waiting]) -> int:
    """Return the most calls in flight here, as far as they are granted."""
    return int(leased.most(scope, limiter.set_in_flight))


def _likely(leased: LeasedLimits, limiter: Limiting[Waiting]) -> int:
    """Return the most calls in flight here when the processes have what they need."""
    return int(leased.likely_most(limiter.set_in_flight, limiter.max_in_flight))


def _ends_at(scope: LimitScope) -> float:
    """Return when all leases of a scope can be used up."""
    ends = (limit.bucket.ends_at for limit in scope.every if isinstance(limit.bucket, LeasedBucket))
    return max(ends, default=inf)


def _leased_at(scope: LimitScope, cost: Sequence[float], now: float) -> float:
    """Return when a call has its turn at the limits of which enough is leased for it.

    What is leased earlier of a faster limit would be lost by then.
    """
    at = now
    for limit in scope.every:
        if isinstance(limit.bucket, LeasedBucket):
            ready_at = limit.bucket.ready_at(cost[limit.index], now)
            at = max(at, ready_at) if ready_at < inf else at
    return at


def _is_short(scope: LimitScope, cost: Sequence[float], now: float) -> bool:
    """Whether too little is leased for a call."""
    for limit in scope.every:
        bucket, amount = limit.bucket, cost[limit.index]
        if (
            amount > 0
            and isinstance(bucket, LeasedBucket)
            and bucket.leased(now) < amount * (1 - _EPSILON)
        ):
            return True
    return False


def _part_to_lease(demand: LeaseDemand, expected: float) -> float:
    """Return the part of the calls that wait to lease for: all, unless something else is slower."""
    if not demand.calls or (demand.room == inf and demand.first is not None):
        return 1.0
    room = 0.0 if demand.first is None else max(0.0, demand.room)
    return min(1.0, (room + expected) / demand.calls)


def _part_due(demand: LeaseDemand, part: float, expected: float) -> float:
    """Return the part of the calls that wait that counts when limits are divided.

    Places in flight are divided by the demand for limits. So a process with few of them demands as
    much as with those that are due to it; else it would get fewer and fewer.
    """
    if not demand.calls or part == 1.0:
        return part
    return max(part, min(1.0, (max(0.0, demand.due_room) + expected) / demand.calls))


def _lanes(demand: LeaseDemand, part: float, ahead_s: float, now: float) -> Iterator[LaneDemand]:
    """Yield the calls of a scope that wait, by lane; those expected are of the same lanes."""
    total = sum(lane.seconds for lane in demand.lanes.values())
    if not total:
        if demand.is_used or ahead_s:
            yield LaneDemand(demand.scope, "", 1.0, ahead_s)
        return
    for name, lane in demand.lanes.items():
        seconds = part * lane.seconds + ahead_s * lane.seconds / total
        age_s = max(0.0, now - lane.came) + lane.priority * demand.ageing_s
        yield LaneDemand(demand.scope, name, lane.weight, seconds, age_s, lane.priority)


def _with_spare(needed: int) -> int:
    return needed + ceil(_SPARE_PLACES * needed)
