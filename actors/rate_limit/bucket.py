"""One rate, as one number: the instant at which all of it is there again. Pure (R14).

The generic cell rate algorithm (ITU-T I.371, Annex A, "virtual scheduling"), for costs of any size:
with rate r per second and depth d, the instant of being full, F, is all the state. At time t

    used(t) = max(0, (F - t) r)      what is missing from a full bucket
    a cost c may go at F - (d - min(c, d)) / r, and then F becomes max(F, t) + c / r

which is a token bucket of depth d that refills continuously, as the providers' own do. A cost above
the depth goes when the bucket is full and leaves it in debt, so that the average rate is kept.

A limit that somebody has set, and its bucket. Pure (R14).
"""

from collections import deque
from typing import final

from .explanation import BucketState
from .limits import Cost, Impossible, Rate

__all__ = [
    "Bucket",
    "Limit",
    "changed",
    "check_possible",
]


_EPSILON = 1e-9  # of a second: sums of floats must not make a wake-up come an instant too early


@final
class Bucket:
    """A rate and a depth. Nobody polls it: it says when it will hold enough (L4).

    Args:
        rate: how much it refills a second; more than 0.
        depth: how much may go at once; more than 0.
        now: when it is full for the first time, in seconds.

    Attributes:
        rate: the same.
        depth: the same.
    """

    __slots__ = ("_full_at", "_lows", "_was_full_at", "depth", "rate")

    def __init__(self, rate: float, depth: float, now: float) -> None:
        self.rate = rate
        self.depth = depth
        self._full_at = now
        self._was_full_at = now  # and was last, as far as anybody looked
        # (when, used before a debit): the lows since then that a late refund looks at, rising
        self._lows: deque[tuple[float, float]] = deque()

    def used(self, now: float) -> float:
        """What is missing from a full bucket."""
        return max(0.0, (self._full_at - now) * self.rate)

    def ready_at(self, amount: float, now: float) -> float:
        """When `amount` may go; `now` if it may already."""
        depth = self.depth
        at = self._full_at - (depth - amount) / self.rate if amount < depth else self._full_at
        return at if at > now + _EPSILON else now

    def take(self, amount: float, now: float) -> None:
        """Debit it, whether it is there or not."""
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
        """Undo a debit that was made at `since`, as far as it still matters.

        Had it not been made, less would have been missing ever since, but never less than nothing:
        what would have run over when the bucket was at its fullest cannot be given back.
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
        """Change it; what is missing stays missing."""
        used = self.used(now)
        self.rate, self.depth = rate, depth
        self._full_at = now + used / rate

    def set_used(self, used: float, now: float) -> None:
        """Somebody knows better what is missing."""
        self._lows.clear()
        self._full_at = now + used / self.rate


_LEAST_DEPTH_S = 1e-3  # seconds' worth, of what is not counted in whole numbers


@final
class Limit:
    """A limit of the user's, and its bucket."""

    __slots__ = ("bucket", "index", "rate")

    def __init__(self, rate: Rate, now: float) -> None:
        self.rate = rate
        self.index = rate.index
        self.bucket = Bucket(*self._shape(), now)

    def change(self, rate: Rate, now: float) -> None:
        """Another rate from now on."""
        self.rate = rate
        self.bucket.set(*self._shape(), now)

    def state(self, scope: str, now: float) -> BucketState:
        """How it stands.

        Args:
            scope: the model, or group of models, that it is for; "" for all.
            now: the present.
        """
        return BucketState(
            scope=scope,
            dimension=self.rate.dimension,
            limit=self.rate.amount,
            per_s=self.rate.per_s,
            used=self.bucket.used(now),
            depth=self.bucket.depth,
            source="set",
        )

    def _shape(self) -> tuple[float, float]:
        rate = self.rate
        per_s = rate.amount / rate.per_s
        worth = per_s * (rate.burst_s or 0.0)
        if rate.dimension == "usd":
            return per_s, max(worth, per_s * _LEAST_DEPTH_S)
        # The provider's own bucket may be just as deep. One less keeps a margin of one interval
        # against calls that reach it closer together than they were sent.
        return per_s, max(1.0, worth - 1.0)


def changed(limits: list[Limit], rates: tuple[Rate, ...], now: float) -> list[Limit]:
    """Limits at other rates; what is missing of a dimension in a time stays missing."""
    known = {(limit.rate.dimension, limit.rate.per_s): limit for limit in limits}
    found: list[Limit] = []
    for rate in rates:
        limit = known.get((rate.dimension, rate.per_s))
        if limit is None:
            limit = Limit(rate, now)
        else:
            limit.change(rate, now)
        found.append(limit)
    return found


def check_possible(rate: Rate, cost: Cost) -> None:
    """See whether a call could ever go.

    Raises:
        Impossible: it takes more than all of the limit.
    """
    amount = cost[rate.index]
    if amount <= rate.amount:
        return
    what = rate.dimension.replace("_", " ").replace("usd", "USD")
    option = " (--tpm)" if rate.dimension == "tokens" else ""
    raise Impossible(
        f"the call counts for about {amount:g} {what}, more than the limit of {rate}; shorten the "
        f"prompt, lower max_tokens or raise the limit{option}"
    )
