"""A limit that somebody has set, and its bucket. Pure (R14)."""

from typing import final

from .bucket import Bucket
from .explanation import BucketState
from .limits import Cost, Impossible, Rate

__all__ = ["Limit", "changed", "check_possible"]

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
