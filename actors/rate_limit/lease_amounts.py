"""What a process leases, and what it returns and reports. Pure (R14).

It leases whole calls, as many as may be sent soon, and some that are expected. What was used other
than leased goes with the next question, and alone only after a while; what is leased and not used
is returned, so that it does not lose its value.
"""

from collections.abc import Iterator, Sequence
from math import inf
from typing import final

from .lane_queue import Waiting
from .lease_demand import LeaseDemand
from .leased_bucket import LeasedBucket
from .leased_limits import LeasedLimits
from .pool import Limiting
from .shared import Correction, LaneDemand, LeaseAsk

_IDLE_S = 0.2  # for which a lease may be unused
_CORRECTED_S = 0.5  # within which a correction is reported
_SOON_S = 0.02  # within which a large one is
_WORTH_S = 0.02  # seconds of a limit; less is not worth an exchange of its own
_AHEAD_S = 0.2  # calls that are expected within this time are leased for
_TOGETHER_S = 0.05  # what will be asked for so soon is asked for now
_EARLIER_S = 0.1  # by which calls may be earlier, for which their place in line is renewed
_LARGE_S = 0.1  # seconds of a limit; more than that is given back at once
_LARGE = 0.25  # of the depth: a part of so large a call is returned rather than held
_EPSILON = 1e-9


@final
class LeaseAmounts:
    """What to lease for the calls of one limiter, and what to return.

    Args:
        leased: what this process has leased.
        limiter: the limiter, which was made with the same leases.
    """

    def __init__(self, leased: LeasedLimits, limiter: Limiting[Waiting]) -> None:
        self._leased = leased
        self._limiter = limiter
        self._uncorrected_since = inf

    def rest_due_at(self, now: float) -> float:
        """Return when corrections are to be reported, and unused leases returned.

        Args:
            now: the current time.
        """
        at = inf
        is_corrected = is_large = False
        for bucket in self._leased.active:
            worth, refunded = _WORTH_S * bucket.rate, bucket.refunded
            if bucket.owed > worth or refunded > worth:
                is_corrected = True
                is_large = is_large or refunded > _LARGE_S * bucket.rate
            if bucket.leased(now) > worth:
                at = min(at, max(bucket.idle_since, self._leased.asked_at) + _IDLE_S)
        if not is_corrected:
            self._uncorrected_since = inf
            return at
        if self._leased.processes <= 1 and not self._limiter.waiting:
            return at  # no call waits for it
        self._uncorrected_since = min(self._uncorrected_since, now)
        return min(at, self._uncorrected_since + (_SOON_S if is_large else _CORRECTED_S))

    def asked(self) -> None:
        """Record that a question was asked, with all corrections."""
        self._uncorrected_since = inf

    def corrections(
        self,
        demands: Sequence[LeaseDemand],
        named: dict[str, LeasedBucket],
        now: float,
        *,
        has_news: bool,
    ) -> Iterator[Correction]:
        """Yield what was used other than leased; return what is leased and not used.

        Args:
            demands: the calls that wait, by scope.
            named: the buckets that the question names; it adds those of which it yields something.
            now: the current time.
            has_news: whether another process may have given back what calls in line wait for.
        """
        active = self._leased.active
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
            is_news = has_news or bucket.refunded > _WORTH_S * bucket.rate
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

    def leases(
        self,
        demands: Sequence[LeaseDemand],
        named: dict[str, LeasedBucket],
        now: float,
        margin_s: float,
    ) -> tuple[list[LeaseAsk], list[LaneDemand]]:
        """Return what to lease, by scope, and all calls that wait, by lane.

        Args:
            demands: the calls that wait, by scope.
            named: the buckets that the question names; it adds those that it leases of.
            now: the current time.
            margin_s: seconds before the end of a lease at which the next is asked for.
        """
        leased = self._leased
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
            asked = self._lease(demand, part, amounts_ahead, rest, now, margin_s=margin_s)
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
        leased, calls = self._leased, inf
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
        *,
        margin_s: float,
    ) -> LeaseAsk | None:
        """Return what to lease for the calls of one scope; None if nothing, or not yet."""
        leased, before = self._leased, {bucket: rest[bucket] for bucket in demand.buckets}
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
        if not (is_due or (is_short and ends_at - margin_s - _TOGETHER_S <= now)):
            return None
        most = max(1.0, part * demand.calls)
        first, amounts, are_all = demand.whole_calls(before, room, most)
        if are_all:
            for bucket, amount in ahead.items():
                amounts[bucket.name] = amounts.get(bucket.name, 0.0) + amount
        if not amounts:
            return None
        return LeaseAsk(demand.scope, amounts, first if demand.first is not None else {})


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
