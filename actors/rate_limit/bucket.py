"""A token bucket whose state is one number, and the limits in `Limits` as buckets. Pure (R14).

This is the generic cell rate algorithm (ITU-T I.371, Annex A, "virtual scheduling") for costs of
any size: with rate r per second and depth d, the state is F, the time at which the bucket is full.
At time t

    used(t) = max(0, (F - t) r)      what is missing from a full bucket
    cost c is allowed at F - (d - min(c, d)) / r, and then F becomes max(F, t) + c / r

This equals a token bucket of depth d that refills continuously, as those of the providers do. A
cost above the depth is allowed when the bucket is full, and leaves it in debt, so that the average
rate is kept.
"""

from collections import deque
from collections.abc import Callable
from typing import final

from ..permit import DIMENSIONS, Dimension
from .explanation import BucketState
from .limits import ENFORCED_IN_PARTS_S, Cost, Impossible, Rate
from .waits import Flow

_EPSILON = 1e-9  # seconds; rounding must not make a timer fire too early


class Bucket:
    """A token bucket. `ready_at` returns when it holds enough, so that it need not be polled (L4).

    Args:
        rate: how much it refills a second; more than 0.
        depth: how much it holds; more than 0.
        now: the current time, in seconds. The bucket is full.

    Attributes:
        rate: how much it refills a second.
        depth: how much it holds.
        part: the part of a limit that it holds: 1, unless processes share the limit.
    """

    __slots__ = ("_full_at", "_lows", "_was_full_at", "depth", "part", "rate")

    def __init__(self, rate: float, depth: float, now: float) -> None:
        self.rate = rate
        self.depth = depth
        self.part = 1.0
        self._full_at = now
        self._was_full_at = now  # the last time at which a debit found it full
        # (time, used before a debit): minima since then, rising, which bound a late refund
        self._lows: deque[tuple[float, float]] = deque()

    def used(self, now: float) -> float:
        """Return what is missing from a full bucket."""
        return max(0.0, (self._full_at - now) * self.rate)

    def ready_at(self, amount: float, now: float) -> float:
        """Return when `amount` is allowed; `now` if it is allowed already."""
        depth = self.depth
        at = self._full_at - (depth - amount) / self.rate if amount < depth else self._full_at
        return at if at > now + _EPSILON else now

    def flow(self, index: int, now: float) -> Flow:
        """Return what it lets through from now on.

        Args:
            index: the index of its dimension in `Cost`.
            now: the current time.
        """
        return Flow(index, self.depth - self.used(now), self.depth, self.rate)

    def take(self, amount: float, now: float) -> None:
        """Debit an amount, even if the bucket does not hold it."""
        full_at, rate = self._full_at, self.rate
        if full_at <= now:
            full_at = self._was_full_at = now
            if self._lows:
                self._lows.clear()
        else:
            lows, used = self._lows, (full_at - now) * rate
            while lows and lows[-1][1] >= used:
                lows.pop()
            lows.append((now, used))
        self._full_at = full_at + amount / rate

    def give_back(self, amount: float, since: float, now: float) -> None:
        """Refund an amount that was debited at `since`.

        The refund is at most the least that was missing at any time since then: without the debit
        the bucket would have been full at that time, and the rest would have been lost.
        """
        used = self.used(now)
        if self._was_full_at > since:
            least = 0.0
        else:
            least = min([used, *(low for when, low in self._lows if when > since)])
        given = max(0.0, min(amount, least))
        if given:
            self._lows = deque((when, low - given * (when > since)) for when, low in self._lows)
            self._full_at = now + (used - given) / self.rate

    def set(self, rate: float, depth: float, now: float) -> None:
        """Change rate and depth; what is missing stays missing."""
        used = self.used(now)
        self.rate, self.depth = rate, depth
        self._full_at = now + used / rate

    def set_used(self, used: float, now: float) -> None:
        """Set what is missing from a full bucket."""
        self._lows.clear()
        self._full_at = now + used / self.rate

    def copy(self, now: float) -> "Bucket":
        """Return an independent copy, to simulate with.

        Args:
            now: the current time.
        """
        other = Bucket(self.rate, self.depth, now)
        other._full_at, other._was_full_at = self._full_at, self._was_full_at
        other._lows = self._lows.copy()
        return other


BucketMaker = Callable[[Rate, float, float, float], Bucket]
"""Makes the bucket of a limit from the limit, its rate, its depth and the current time."""


def own_bucket(limit: Rate, rate: float, depth: float, now: float) -> Bucket:  # noqa: ARG001  # a `BucketMaker`
    """Make a full bucket that nothing shares.

    Args:
        limit: the limit, as it is set.
        rate: how much the bucket refills a second.
        depth: how much it holds.
        now: the current time.
    """
    return Bucket(rate, depth, now)


_LEAST_DEPTH_S = 1e-3  # seconds; least depth of a bucket of USD


@final
class Limit:
    """A limit that the user has set, and its bucket.

    Args:
        rate: the limit, with a burst.
        now: the current time, in seconds.
        make: makes its bucket.
    """

    __slots__ = ("bucket", "index", "rate")

    def __init__(self, rate: Rate, now: float, make: BucketMaker = own_bucket) -> None:
        self.rate = rate
        self.index = rate.index
        self.bucket = make(rate, *self._shape(), now)

    def change(self, rate: Rate, now: float) -> None:
        """Replace the rate; what is missing stays missing."""
        self.rate = rate
        self.bucket.set(*self._shape(), now)

    def copy(self, now: float) -> "Limit":
        """Return an independent copy, to simulate with.

        Args:
            now: the current time.
        """
        other = Limit(self.rate, now)
        other.bucket = self.bucket.copy(now)
        return other

    def state(self, scope: str, now: float) -> BucketState:
        """Return the state of the limit.

        Args:
            scope: the model, or group of models, that it applies to; "" for all.
            now: the current time.
        """
        return BucketState(
            scope=scope,
            dimension=self.rate.dimension,
            limit=self.rate.amount,
            per_s=self.rate.per_s,
            used=self.bucket.used(now),
            depth=self.bucket.depth,
            source="set",
            part=self.bucket.part,
        )

    def _shape(self) -> tuple[float, float]:
        rate = self.rate
        per_s = rate.amount / rate.per_s
        worth = per_s * (rate.burst_s or 0.0)
        if rate.dimension == "usd":
            return per_s, max(worth, per_s * _LEAST_DEPTH_S)
        if rate.per_s > ENFORCED_IN_PARTS_S and worth >= rate.amount:
            return per_s, rate.amount
        # The provider's bucket may have the same depth. One less leaves a margin of one interval
        # for calls that arrive there closer together than they were sent.
        return per_s, max(1.0, worth - 1.0)


def changed(
    limits: list[Limit], rates: tuple[Rate, ...], now: float, make: BucketMaker = own_bucket
) -> list[Limit]:
    """Return limits at new rates; one of the same dimension and period keeps its usage.

    Args:
        limits: the limits as they were.
        rates: the new rates.
        now: the current time.
        make: makes the buckets of those that are new.
    """
    known = {(limit.rate.dimension, limit.rate.per_s): limit for limit in limits}
    found: list[Limit] = []
    for rate in rates:
        limit = known.get((rate.dimension, rate.per_s))
        if limit is None:
            limit = Limit(rate, now, make)
        else:
            limit.change(rate, now)
        found.append(limit)
    return found


def check_possible(rate: Rate, cost: Cost) -> None:
    """Check that a call does not exceed a whole limit.

    Raises:
        Impossible: it takes more than the whole limit.
    """
    if cost[rate.index] <= rate.amount:
        return
    option = " (--tpm)" if rate.dimension == "tokens" else ""
    raise Impossible(
        f"{needs(rate.dimension, cost)}, more than the limit of {rate}; shorten the "
        f"prompt, lower max_tokens or raise the limit{option}"
    )


def needs(dimension: Dimension, cost: Cost) -> str:
    """Return what a call needs of one dimension, in words.

    Args:
        dimension: what is limited.
        cost: what the call takes of each dimension.
    """
    what = dimension.replace("_", " ").replace("usd", "USD")
    return f"the call needs about {cost[DIMENSIONS.index(dimension)]:g} {what}"
