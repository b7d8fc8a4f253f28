"""The provider's rate limits: buckets that refill continuously, a set for each key and model.

A bucket is a GCRA: one instant, `_full_at`, at which it will be full again, says all about it
(PROVIDERS, section 3). Pure: the time is an argument (R14).
"""

import math
from collections.abc import Mapping

import attrs

__all__ = [
    "Admission",
    "AdmissionControl",
    "Level",
    "LimitRefusal",
    "MinuteBucket",
    "QuotaCharge",
]


PERIOD_S = 60.0
# Floats: a cost that fits in less than a microsecond fits now.
INSTANT_S = 1e-6
MAX_IDLE_SETS = 1024


@attrs.frozen
class Level:
    """How full a bucket is.

    Args:
        limit: how many a minute.
        used: how many are missing from a full bucket.
    """

    limit: int
    used: float

    @property
    def remaining(self) -> int:
        """How many are left, rounded down."""
        return max(0, math.floor(self.limit - self.used + 1e-6))

    @property
    def reset_s(self) -> float:
        """Seconds until it is full."""
        return self.used * PERIOD_S / self.limit


@attrs.define
class MinuteBucket:
    """One limit of so many a minute.

    Args:
        limit: how many a minute.
        burst_s: how many seconds' worth may be used at once.
    """

    limit: int
    burst_s: float = PERIOD_S
    _full_at: float = attrs.field(default=-math.inf, init=False)

    @property
    def capacity(self) -> float:
        """How many may be used at once; always at least one."""
        return max(1.0, self.limit * self.burst_s / PERIOD_S)

    def used(self, now: float) -> float:
        """How many are missing from a full bucket."""
        return max(0.0, self._full_at - now) * self.limit / PERIOD_S

    def is_full(self, now: float) -> bool:
        """Whether nothing is missing."""
        return self._full_at <= now

    def wait(self, cost: float, now: float) -> float:
        """Seconds until `cost` fits; 0 when it fits now.

        A cost above the capacity, though not above the limit, fits when the bucket is full:
        otherwise a small `burst_s` would refuse it for ever.
        """
        excess = self.used(now) + cost - max(self.capacity, cost)
        wait = excess * PERIOD_S / self.limit
        return wait if wait > INSTANT_S else 0.0

    def debit(self, cost: float, now: float) -> None:
        """Take `cost`, or put back what is below 0."""
        self._full_at = max(now, self._full_at) + cost * PERIOD_S / self.limit

    def level(self, now: float) -> Level:
        """How full it is."""
        return Level(self.limit, self.used(now))


@attrs.frozen
class LimitRefusal:
    """Why a request was not admitted.

    Args:
        what: the limit in the way.
        limit: how many a minute it allows.
        used: how many of them are in use.
        requested: how many the request needs.
        wait_s: seconds until it would be admitted; infinite when it never will.
    """

    what: str
    limit: int
    used: int
    requested: int
    wait_s: float


@attrs.define
class QuotaCharge:
    """What one admitted request has been charged so far, and may be charged yet."""

    _buckets: Mapping[str, MinuteBucket]
    _charged: dict[str, float]

    def charge(self, totals: Mapping[str, float], now: float) -> None:
        """Correct the charges to these totals; a limit that is not named stays as charged."""
        for name, total in totals.items():
            more = total - self._charged.get(name, 0)
            if more and name in self._buckets:
                self._buckets[name].debit(more, now)
                self._charged[name] = total


@attrs.frozen
class Admission:
    """What the limits say of a request.

    Args:
        levels: how full each bucket is after it.
        account: what the request is charged; nothing at all when it is refused.
        refusal: why it is, if it is.
    """

    levels: Mapping[str, Level]
    account: QuotaCharge
    refusal: LimitRefusal | None = None


def _refusal(what: str, bucket: MinuteBucket, cost: float, now: float) -> LimitRefusal | None:
    used = min(math.ceil(bucket.used(now) - 1e-6), bucket.limit)
    requested = math.ceil(cost)
    if cost > bucket.limit:
        return LimitRefusal(what, bucket.limit, used, requested, math.inf)
    # What costs nothing yet needs a bucket that is not empty.
    wait = bucket.wait(max(1, cost), now)
    return LimitRefusal(what, bucket.limit, used, requested, wait) if wait else None


class AdmissionControl:
    """Admits requests by key and model: checks every limit, then takes from every one.

    Args:
        limits: how many a minute, by name; "requests" is the one that refused requests count
            against too. None is no limit.
        burst_s: how many seconds' worth of a limit may be used at once.
    """

    def __init__(self, limits: Mapping[str, int | None], burst_s: float) -> None:
        self._limits = {name: limit for name, limit in limits.items() if limit is not None}
        self._burst_s = burst_s
        self._sets: dict[tuple[str, str], dict[str, MinuteBucket]] = {}
        self._prune_at = MAX_IDLE_SETS

    def admit(self, key: str, model: str, costs: Mapping[str, float], now: float) -> Admission:
        """Decide on one request.

        One that is refused takes no tokens, but it takes a request as long as there are any:
        failed requests count, so that tight retry loops lock themselves out.

        Args:
            key: whose request it is.
            model: for which model.
            costs: what it is charged, by name of the limit; limits without one do not matter.
            now: seconds on the provider's clock.
        """
        buckets = self._buckets(key, model, now)
        costs = {name: cost for name, cost in costs.items() if name in buckets}
        refusals = {
            name: found
            for name, cost in costs.items()
            if (found := _refusal(name, buckets[name], cost, now))
        }
        for name, cost in costs.items():
            if not refusals or (name == "requests" and name not in refusals):
                buckets[name].debit(cost, now)
        levels = {name: bucket.level(now) for name, bucket in buckets.items()}
        refusal = max(refusals.values(), key=lambda found: found.wait_s, default=None)
        account = QuotaCharge(buckets, dict(costs)) if refusal is None else QuotaCharge({}, {})
        return Admission(levels, account, refusal)

    def refill(self) -> None:
        """Make every bucket full."""
        self._sets.clear()

    def _buckets(self, key: str, model: str, now: float) -> dict[str, MinuteBucket]:
        found = self._sets.get((key, model))
        if found is None:
            if len(self._sets) >= self._prune_at:
                # A full set is the same as none: names made up by clients must not fill memory.
                self._sets = {
                    place: buckets
                    for place, buckets in self._sets.items()
                    if not all(bucket.is_full(now) for bucket in buckets.values())
                }
                self._prune_at = max(MAX_IDLE_SETS, 2 * len(self._sets))
            found = self._sets[key, model] = {
                name: MinuteBucket(limit, self._burst_s) for name, limit in self._limits.items()
            }
        return found
