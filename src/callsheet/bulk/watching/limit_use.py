"""Compute how much of each limit a run uses.

A limit is a bucket that is refilled at a constant rate while it is not full. By the utilisation law
(Denning and Buzen, "The operational analysis of queueing network models", 1978), the share of time
in which it was not full is the share of the limit that was used in that time. It is measured in the
limiter's terms, includes other processes, and is never above 1.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import attrs

from ...actors import BucketState, Dimension
from ...wording import amount, percent
from ..progress import Progress

_SHORT_S = 60.0  # for a longer limit, such as one per day, the share used up is of interest
_NOTHING = 1e-9  # share of a limit: rounding errors of sums

_PERIODS = {1.0: "a second", 60.0: "a minute", 3600.0: "an hour", 86400.0: "a day"}

_Key = tuple[str, Dimension, float, str]


@attrs.frozen
class LimitUse:
    """The use of one limit.

    Args:
        scope: the model, or group of models, of the limit, and the member of a pool; "" for all.
        dimension: what is limited, such as requests.
        limit: the amount per `per_s` seconds.
        per_s: the period in seconds.
        source: "set" by the user, or "learned" from the provider's responses.
        share: from 0 to 1: the share used lately; for a period above one minute, the share used up.
    """

    scope: str
    dimension: Dimension
    limit: float
    per_s: float
    source: Literal["set", "learned"]
    share: float

    @property
    def is_quota(self) -> bool:
        """Whether the period is longer than a minute, such as a day."""
        return self.per_s > _SHORT_S


def limit_uses(snapshots: Sequence[Progress]) -> tuple[LimitUse, ...]:
    """Return the use of every limit of the last snapshot, in its order.

    Args:
        snapshots: recent snapshots, the oldest first; at least one. The share is sampled by them:
            with 240 of them its error is below 0.1 in 99 cases of 100.
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
        bucket.subject,
        bucket.dimension,
        bucket.limit,
        bucket.per_s,
        bucket.source,
        min(1.0, max(0.0, share)),
    )


def _buckets(progress: Progress) -> tuple[BucketState, ...]:
    return () if progress.limits is None else progress.limits.buckets


def _key(bucket: BucketState) -> _Key:
    return bucket.subject, bucket.dimension, bucket.per_s, bucket.source


def limit_name(use: LimitUse) -> str:
    """Return the name of a limit: "requests", or "tokens, gpt-5*"."""
    name = use.dimension.replace("_", " ").replace("usd", "USD")
    return f"{name}, {use.scope}" if use.scope else name


def limit_text(use: LimitUse) -> str:
    """Format the use of a limit: "97 % of 6,000 a minute (learned)"."""
    period = _PERIODS.get(use.per_s, f"in {use.per_s:g} s")
    learned = " (learned)" if use.source == "learned" else ""
    verb = " used up" if use.is_quota else ""
    return f"{percent(use.share)}{verb} of {amount(use.limit)} {period}{learned}"
