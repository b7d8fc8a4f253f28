"""Estimate rate, remaining time and final cost of a run, and its use of limits; by its last minute.

A limit is a bucket that is refilled at a constant rate while it is not full. By the utilisation law
(Denning and Buzen, "The operational analysis of queueing network models", 1978), the share of time
in which it was not full is the share of the limit that was used in that time. It is measured in the
limiter's terms, includes other processes, and is never above 1.
"""

import math
from collections import deque
from collections.abc import Callable, Sequence
from decimal import Decimal
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


_SPACINGS = 240  # a quarter of a second in a minute; at most two snapshots each
_NOW_S = 10.0  # the period of the current rate: a shorter one fluctuates, a longer one lags
_MIN_S = 1e-3  # a shorter period gives no rate


def worked(progress: Progress) -> int:
    """Return the number of rows that ended by a call: neither reused nor bad."""
    return max(0, progress.answered - progress.reused) + progress.failed


class History:
    """Keeps the snapshots of a period, and drops older ones (R14).

    Args:
        first: the first snapshot.
        within_s: the period in seconds.
    """

    def __init__(self, first: Progress, within_s: float = 60.0) -> None:
        self._within_s = within_s
        self._snapshots = deque([first])

    def __repr__(self) -> str:
        return f"<History of {len(self._snapshots)} snapshots>"

    @property
    def latest(self) -> Progress:
        """The last snapshot."""
        return self._snapshots[-1]

    @property
    def snapshots(self) -> tuple[Progress, ...]:
        """All snapshots, the oldest first; at least one."""
        return tuple(self._snapshots)

    def add(self, progress: Progress) -> None:
        """Add a snapshot.

        A snapshot that follows the last but one too closely replaces the last one, so that the
        result does not depend on how often this is called.
        """
        kept = self._snapshots
        spacing_s = self._within_s / _SPACINGS
        while kept and progress.now <= kept[-1].now:
            kept.pop()
        if len(kept) > 1 and progress.now - kept[-2].now < spacing_s:
            kept.pop()
        kept.append(progress)
        # The oldest snapshot is at least as old as the period, so that it covers all of it.
        while len(kept) > 1 and kept[1].now <= progress.now - self._within_s:
            kept.popleft()

    def since(self, seconds: float) -> Progress:
        """Return the snapshot from `seconds` ago, or the oldest one."""
        kept = self._snapshots
        wanted = kept[-1].now - seconds
        return next((one for one in reversed(kept) if one.now <= wanted), kept[0])


@attrs.frozen(kw_only=True)
class Outlook:
    """The rates and estimates of a run.

    Args:
        rate: rows per second over the last seconds; None if no time has passed.
        mean_rate: rows per second since the start; None if no time has passed.
        remaining: rows that have not ended; None if the number is not known.
        eta_s: seconds until they have ended; None if it cannot be estimated.
        projected_usd: the estimated cost of the whole run in USD, as far as prices are known; None
            if it cannot be estimated.
        limits: the use of each limit over the last minute.
    """

    rate: float | None
    mean_rate: float | None
    remaining: int | None
    eta_s: float | None
    projected_usd: Decimal | None
    limits: tuple[LimitUse, ...]


def outlook(history: History) -> Outlook:
    """Compute the rates and estimates from the last minute."""
    progress = history.latest
    return Outlook(
        rate=_rate(history.since(_NOW_S), progress),
        mean_rate=mean_rate(progress),
        remaining=remaining(progress),
        eta_s=_eta(history),
        projected_usd=projected_usd(progress),
        limits=limit_uses(history.snapshots),
    )


def remaining(progress: Progress) -> int | None:
    """Return the number of rows that have not ended and will; None if it is not known."""
    if progress.is_draining:
        return progress.in_flight
    return None if progress.total is None else max(0, progress.total - progress.ended)


def mean_rate(progress: Progress) -> float | None:
    """Return rows per second since the start; None if no time has passed."""
    passed = progress.now - progress.started_at
    return _counted(progress)(progress) / passed if passed >= _MIN_S else None


def projected_usd(progress: Progress) -> Decimal | None:
    """Estimate the cost of the whole run in USD, from the mean cost of a row so far.

    It is at least what was spent; None if the cost of a row, or the number of rows, is not known.
    """
    rows = remaining(progress)
    priced = worked(progress) - progress.unpriced
    if rows == 0:
        return progress.cost_usd
    if rows is None or priced <= 0:
        return None
    return progress.cost_usd + progress.cost_usd / priced * rows


def _eta(history: History) -> float | None:
    """Estimate the seconds left, by the rate of the last minute, or else by the mean rate."""
    progress = history.latest
    rows = remaining(progress)
    if rows is None or not rows:
        return None if rows is None else 0.0
    if progress.trouble or (progress.is_paused and not progress.is_draining):
        return None
    lately = _rate(history.snapshots[0], progress) or mean_rate(progress) or 0.0
    eta = rows / lately if lately > 0 else math.inf
    return eta if math.isfinite(eta) else None


def _rate(before: Progress, after: Progress) -> float | None:
    passed = after.now - before.now
    if passed < _MIN_S:
        return None
    count = _counted(after)
    return max(0, count(after) - count(before)) / passed


def _counted(progress: Progress) -> Callable[[Progress], int]:
    """Return the count that measures the speed: rows ended by a call, or all if there are none.

    Reused rows take no time, so they do not predict how long other rows take.
    """
    return worked if worked(progress) > 0 or progress.in_flight > 0 else _ended


def _ended(progress: Progress) -> int:
    return progress.ended
