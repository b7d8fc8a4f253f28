"""How much of each limit a run makes use of.

A limit is a bucket that is refilled at a constant rate for as long as something is missing. By the
utilisation law (Denning and Buzen, "The operational analysis of queueing network models", 1978),
the share of a time in which something was missing is the share of the limit that was taken in it:
in the limiter's own terms, other processes included, and never more than all of it.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import attrs

from ...actors import BucketState, Dimension
from ..progress import Progress

__all__ = ["LimitUse", "limit_uses"]

_SHORT_S = 60.0  # of a limit for longer than that, one wants to know how much of it is left
_NOTHING = 1e-9  # of a limit: no more than the error of sums

_Key = tuple[str, Dimension, float, str]


@attrs.frozen
class LimitUse:
    """How much of a limit is used.

    Args:
        scope: the model, or group of models, that it is for; "" for all.
        dimension: of what.
        limit: how much in `per_s` seconds.
        per_s: the time.
        source: "set" by the user, or "learned" from the provider's answers.
        share: from 0 to 1: of what it allowed lately, how much was taken; of a limit for more than
            a minute, how much of all of it is used up.
    """

    scope: str
    dimension: Dimension
    limit: float
    per_s: float
    source: Literal["set", "learned"]
    share: float

    @property
    def is_quota(self) -> bool:
        """It is for more than a minute, such as for a day."""
        return self.per_s > _SHORT_S


def limit_uses(snapshots: Sequence[Progress]) -> tuple[LimitUse, ...]:
    """The use of every limit that the last snapshot knows, in its order.

    Args:
        snapshots: the run lately, the oldest first; at least one. The share is sampled by them:
            with 240 of them it is off by less than 0.1 in 99 cases of 100.
    """
    busy_s: dict[_Key, float] = {}
    known_s: dict[_Key, float] = {}
    for before, after in pairwise(snapshots):
        passed = max(0.0, after.now - before.now)
        for bucket in _buckets(after):
            key = _key(bucket)
            known_s[key] = known_s.get(key, 0.0) + passed
            if bucket.used > _NOTHING * bucket.limit:
                busy_s[key] = busy_s.get(key, 0.0) + passed
    return tuple(
        _use(bucket, busy_s.get(_key(bucket), 0.0), known_s.get(_key(bucket), 0.0))
        for bucket in _buckets(snapshots[-1])
    )


def _use(bucket: BucketState, busy_s: float, known_s: float) -> LimitUse:
    if bucket.per_s > _SHORT_S:
        share = bucket.used / bucket.limit if bucket.limit > 0 else 1.0
    else:
        share = busy_s / known_s if known_s > 0 else 0.0
    return LimitUse(
        bucket.scope,
        bucket.dimension,
        bucket.limit,
        bucket.per_s,
        bucket.source,
        min(1.0, max(0.0, share)),
    )


def _buckets(progress: Progress) -> tuple[BucketState, ...]:
    return () if progress.limits is None else progress.limits.buckets


def _key(bucket: BucketState) -> _Key:
    return bucket.scope, bucket.dimension, bucket.per_s, bucket.source
