"""The provider's rate limits: continuously refilled buckets, a set for each key and model.

A bucket is a GCRA: its state is one time, `_full_at`, at which it will be full again
(docs/providers.md, OpenAI: limits and headers). Pure: the time is an argument (R14).
"""

import math
from collections.abc import Mapping

import attrs

PERIOD_S = 60.0
# Rounding of floats: a wait below a microsecond counts as none.
INSTANT_S = 1e-6
MAX_IDLE_SETS = 1024


@attrs.frozen
class Level:
    """The level of a bucket.

    Args:
        limit: the amount per minute.
        used: the amount that is missing from a full bucket.
    """

    limit: int
    used: float

    @property
    def remaining(self) -> int:
        """The amount left, rounded down."""
        return max(0, math.floor(self.limit - self.used + 1e-6))

    @property
    def reset_s(self) -> float:
        """Seconds until the bucket is full."""
        return self.used * PERIOD_S / self.limit


@attrs.define
class MinuteBucket:
    """One limit per minute.

    Args:
        limit: the amount per minute.
        burst_s: the amount that may be used at once, in seconds of the limit.
    """

    limit: int
    burst_s: float = PERIOD_S
    _full_at: float = attrs.field(default=-math.inf, init=False)

    @property
    def capacity(self) -> float:
        """The amount that may be used at once; at least one."""
        return max(1.0, self.limit * self.burst_s / PERIOD_S)

    def used(self, now: float) -> float:
        """Return the amount that is missing from a full bucket."""
        return max(0.0, self._full_at - now) * self.limit / PERIOD_S

    def is_full(self, now: float) -> bool:
        """Return whether the bucket is full."""
        return self._full_at <= now

    def wait(self, cost: float, now: float) -> float:
        """Return the seconds until `cost` fits; 0 if it fits now.

        A cost above the capacity, but not above the limit, fits when the bucket is full; with a
        small `burst_s` it would otherwise never fit.
        """
        excess = self.used(now) + cost - max(self.capacity, cost)
        wait = excess * PERIOD_S / self.limit
        return wait if wait > INSTANT_S else 0.0

    def debit(self, cost: float, now: float) -> None:
        """Take `cost` from the bucket; a negative cost is a refund."""
        self._full_at = max(now, self._full_at) + cost * PERIOD_S / self.limit

    def level(self, now: float) -> Level:
        """Return the level of the bucket."""
        return Level(self.limit, self.used(now))


@attrs.frozen
class LimitRefusal:
    """The reason why a request was not admitted.

    Args:
        what: the name of the limit.
        limit: the amount per minute.
        used: the amount in use.
        requested: the amount that the request needs.
        wait_s: seconds until it would be admitted; infinite if it never will be.
    """

    what: str
    limit: int
    used: int
    requested: int
    wait_s: float


@attrs.define
class QuotaCharge:
    """The charges of one admitted request, which can be corrected."""

    _buckets: Mapping[str, MinuteBucket]
    _charged: dict[str, float]

    def charge(self, totals: Mapping[str, float], now: float) -> None:
        """Correct the charges to these totals; a limit that is not named keeps its charge."""
        for name, total in totals.items():
            more = total - self._charged.get(name, 0)
            if more and name in self._buckets:
                self._buckets[name].debit(more, now)
                self._charged[name] = total


@attrs.frozen
class AdmissionResult:
    """The decision of the limits on a request.

    Args:
        levels: the level of each bucket after the request.
        account: the charges of the request; empty if it is refused.
        refusal: the reason of a refusal; None if it is admitted.
    """

    levels: Mapping[str, Level]
    account: QuotaCharge
    refusal: LimitRefusal | None = None


def _refusal(what: str, bucket: MinuteBucket, cost: float, now: float) -> LimitRefusal | None:
    used = min(math.ceil(bucket.used(now) - 1e-6), bucket.limit)
    requested = math.ceil(cost)
    if cost > bucket.limit:
        return LimitRefusal(what, bucket.limit, used, requested, math.inf)
    # A request that costs nothing needs a bucket that is not empty.
    wait = bucket.wait(max(1, cost), now)
    return LimitRefusal(what, bucket.limit, used, requested, wait) if wait else None


class AdmissionControl:
    """Admits requests by key and model: checks every limit, then takes from every one.

    Args:
        limits: {name: amount per minute, None for no limit}; refused requests count against
            "requests", too.
        burst_s: the amount that may be used at once, in seconds of the limit.
    """

    def __init__(self, limits: Mapping[str, int | None], burst_s: float) -> None:
        self._limits = {name: limit for name, limit in limits.items() if limit is not None}
        self._burst_s = burst_s
        self._sets: dict[tuple[str, str], dict[str, MinuteBucket]] = {}
        self._prune_at = MAX_IDLE_SETS

    def admit(
        self, key: str, model: str, costs: Mapping[str, float], now: float
    ) -> AdmissionResult:
        """Decide on one request.

        A refused request takes no tokens, but takes a request while there are any: failed requests
        count, so a tight retry loop blocks itself.

        Args:
            key: the API key of the request.
            model: the model of the request.
            costs: {name of the limit: amount}; names without a limit are ignored.
            now: the time, in seconds on the provider's clock.
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
        return AdmissionResult(levels, account, refusal)

    def refill(self) -> None:
        """Fill every bucket."""
        self._sets.clear()

    def _buckets(self, key: str, model: str, now: float) -> dict[str, MinuteBucket]:
        found = self._sets.get((key, model))
        if found is None:
            if len(self._sets) >= self._prune_at:
                # Drop full sets, so that arbitrary names from clients do not fill memory.
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
