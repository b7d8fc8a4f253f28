"""Collect what the report of a run needs, in constant memory."""

import heapq
from collections import Counter
from collections.abc import Iterable
from decimal import Decimal

import attrs

from ...actors import BucketState, Dimension, Usage, redact_secrets
from ..progress import Progress, RowEnded
from .totals import Histogram, TimeBuckets

_MOST_KINDS = 20  # of errors, and of routes
_OTHER = "other"
_MOST_SLOW = 20
_MAX_CHARS = 200  # of a custom id, and of an error text


@attrs.frozen(order=True)
class SlowRow:
    """A slow response.

    Args:
        seconds: the duration of the request that brought the response.
        number: the number of the row in the input, from 1.
        custom_id: the custom id of the row, possibly truncated.
        attempts: the number of HTTP requests for the row.
        route: the route of the response.
    """

    seconds: float
    number: int
    custom_id: str
    attempts: int
    route: str


class Series:
    """The totals of a run, and their course over time; its `observe` is a `RowObserver`.

    Args:
        started_at: the start of the run, in seconds on Trio's clock.

    Attributes:
        buckets: the totals over time.
        latency: the durations of this run's responses.
        errors: {kind: failed rows}; kinds beyond the first 20 are "other".
        examples: {kind: the text of its first error, without secrets} (L8).
        routes: {route: responses of this run}.
        answered: rows with a response from this run.
        failed: rows that ended with an error.
        reused: rows with a response from an earlier run.
        attempts: HTTP requests for all rows that have ended.
        usage: the tokens that were billed.
        cost_usd: the cost in USD, as far as prices are known.
        unpriced: responses of this run whose price is not known.
    """

    def __init__(self, started_at: float) -> None:
        self.buckets = TimeBuckets(started_at)
        self.latency = Histogram()
        self.errors: Counter[str] = Counter()
        self.examples: dict[str, str] = {}
        self.routes: Counter[str] = Counter()
        self.answered = self.failed = self.reused = self.attempts = self.unpriced = 0
        self.usage = Usage()
        self.cost_usd = Decimal(0)
        self._slowest: list[SlowRow] = []  # a heap, the fastest of them first

    def __repr__(self) -> str:
        return f"<Series of {self.answered} responses, {self.failed} failed, {self.reused} reused>"

    @property
    def retries(self) -> int:
        """HTTP requests that were not the first of their row."""
        return max(0, self.attempts - self.answered - self.failed)

    @property
    def slowest(self) -> tuple[SlowRow, ...]:
        """The slowest 20 responses of this run, the slowest first."""
        return tuple(sorted(self._slowest, reverse=True))

    def observe(self, row: RowEnded) -> None:
        """Record the end of a row; this method is a `RowObserver`."""
        bucket = self.buckets.at(row.at)
        if row.is_reused:
            self.reused += 1
            bucket.reused += 1
            return
        self.attempts += row.attempts
        bucket.attempts += row.attempts
        self.usage += row.usage
        bucket.tokens += row.usage.total_tokens
        if row.cost_usd is not None:
            self.cost_usd += row.cost_usd
            bucket.cost_usd += row.cost_usd
        if row.error is not None:
            kind = _among(self.errors, row.error)
            self.failed += 1
            bucket.failed += 1
            self.errors[kind] += 1
            bucket.errors[kind] += 1
            self.examples.setdefault(kind, _clipped(row.message))
            return
        self.answered += 1
        bucket.answered += 1
        self.unpriced += row.cost_usd is None
        self.routes[_among(self.routes, row.route)] += 1
        self.latency.add(row.seconds)
        self._keep_if_slow(row)

    def sample(self, progress: Progress) -> None:
        """Record the limits; this method is a `ProgressObserver`."""
        buckets = () if progress.limits is None else progress.limits.buckets
        bucket = self.buckets.at(progress.now)
        requests = _allowed(buckets, "requests")
        if requests is not None:
            bucket.request_limit = requests
        tokens = _allowed(buckets, "tokens")
        if tokens is not None:
            bucket.token_limit = tokens

    def _keep_if_slow(self, row: RowEnded) -> None:
        kept = self._slowest
        if len(kept) == _MOST_SLOW and row.seconds <= kept[0].seconds:
            return
        name = _clipped(row.custom_id)
        slow = SlowRow(row.seconds, row.number, name, row.attempts, row.route)
        if len(kept) < _MOST_SLOW:
            heapq.heappush(kept, slow)
        else:
            heapq.heapreplace(kept, slow)


def _allowed(buckets: Iterable[BucketState], dimension: Dimension) -> float | None:
    """Return the amount per second that all limits together allow, of each member of a pool."""
    members: dict[str, list[BucketState]] = {}
    for bucket in buckets:
        members.setdefault(bucket.member, []).append(bucket)
    found = [_allowed_by_one(own, dimension) for own in members.values()]
    known = [per_s for per_s in found if per_s is not None]
    return sum(known) if known else None


def _allowed_by_one(buckets: Iterable[BucketState], dimension: Dimension) -> float | None:
    least: dict[str, float] = {}  # {scope: amount per second}
    for bucket in buckets:
        if bucket.dimension == dimension:
            per_s = bucket.limit / bucket.per_s
            least[bucket.scope] = min(per_s, least.get(bucket.scope, per_s))
    for_all = least.pop("", None)
    if not least:
        return for_all
    together = sum(least.values())
    return together if for_all is None else min(for_all, together)


def _among(known: Counter[str], name: str) -> str:
    """Return the name to count by, or "other" if there are too many different names."""
    name = name[:_MAX_CHARS]
    return name if name in known or len(known) < _MOST_KINDS else _OTHER


def _clipped(text: str) -> str:
    whole = redact_secrets(None, "", {"text": text[: 4 * _MAX_CHARS]})["text"]
    shown = str(whole)
    return shown if len(shown) <= _MAX_CHARS else f"{shown[: _MAX_CHARS - 1]}…"
