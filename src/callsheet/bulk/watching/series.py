"""Collect what the report of a run needs, in constant memory: over time, and of durations.

Periods: when there are too many buckets, each two neighbours are merged, so their number stays
between half of the maximum and the maximum, however long the run lasts.

Durations: the bounds of the buckets grow by a constant factor, as in DDSketch (Masson, Rim and Lee,
VLDB 2019): if bounds grow by a factor g, the geometric middle of a bucket is off by a factor of
sqrt(g) at most.
"""

import heapq
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal

import attrs

from ...actors import BucketState, Dimension, Usage, redact_secrets
from ..progress import Progress, RowEnded

MAX_BUCKETS = 600
_FIRST_WIDTH_S = 0.1


@attrs.define
class TimeBucket:
    """The totals of one period.

    Args:
        answered: rows with a response from this run.
        failed: rows that ended with an error.
        reused: rows with a response from an earlier run.
        attempts: HTTP requests for these rows.
        tokens: the tokens that were billed.
        cost_usd: the cost in USD, as far as prices are known.
        errors: {kind of error: failed rows}.
        request_limit: the last known limit in requests per second; None if none is known.
        token_limit: the last known limit in tokens per second; None if none is known.
    """

    answered: int = 0
    failed: int = 0
    reused: int = 0
    attempts: int = 0
    tokens: int = 0
    cost_usd: Decimal = Decimal(0)
    errors: Counter[str] = attrs.field(factory=Counter[str])
    request_limit: float | None = None
    token_limit: float | None = None

    @property
    def rows(self) -> int:
        """The number of rows that ended by a call."""
        return self.answered + self.failed

    def merge(self, later: "TimeBucket") -> None:
        """Add the totals of the next period."""
        self.answered += later.answered
        self.failed += later.failed
        self.reused += later.reused
        self.attempts += later.attempts
        self.tokens += later.tokens
        self.cost_usd += later.cost_usd
        self.errors += later.errors
        if later.request_limit is not None:
            self.request_limit = later.request_limit
        if later.token_limit is not None:
            self.token_limit = later.token_limit


class TimeBuckets:
    """Buckets of equal width, from the start of a run.

    Args:
        start: the start of the run, in seconds on Trio's clock.

    Attributes:
        width_s: the width of each bucket in seconds.
    """

    def __init__(self, start: float) -> None:
        self.width_s = _FIRST_WIDTH_S
        self._start = start
        self._buckets: list[TimeBucket] = []
        self._latest = 0.0  # seconds from the start to the latest time passed to `at`

    def __repr__(self) -> str:
        return f"<TimeBuckets of {len(self._buckets)} buckets of {self.width_s:g} s>"

    def __len__(self) -> int:
        return len(self._buckets)

    def __iter__(self) -> Iterator[TimeBucket]:
        return iter(self._buckets)

    def at(self, time: float) -> TimeBucket:
        """Return the bucket of a time in seconds on Trio's clock; the first for earlier times."""
        passed = max(0.0, time - self._start)
        while passed >= self.width_s * MAX_BUCKETS:
            self._buckets = merged(self._buckets, 2)
            self.width_s *= 2
        self._latest = max(self._latest, passed)
        index = int(passed / self.width_s)
        while len(self._buckets) <= index:
            self._buckets.append(TimeBucket())
        return self._buckets[index]

    def rates(self, counts: Sequence[float]) -> list[float]:
        """Return rates per second; the last bucket lasts until the latest time.

        Args:
            counts: the count in each bucket.
        """
        found = [count / self.width_s for count in counts]
        last_s = min(self.width_s, self._latest - (len(found) - 1) * self.width_s)
        if len(found) > 1 and last_s < self.width_s / 4:  # too short for a rate of its own
            found[-1] = (counts[-2] + counts[-1]) / (self.width_s + max(0.0, last_s))
        elif found:
            found[-1] = counts[-1] / max(last_s, self.width_s / 4)
        return found

    def coarser(self, most: int) -> "TimeBuckets":
        """Return a copy with at most `most` buckets."""
        buckets = TimeBuckets(self._start)
        times = max(1, -(-len(self._buckets) // most))
        buckets.width_s, buckets._latest = self.width_s * times, self._latest
        buckets._buckets = merged(self._buckets, times)
        return buckets


def merged(buckets: list[TimeBucket], times: int) -> list[TimeBucket]:
    """Merge each `times` neighbouring buckets."""
    found: list[TimeBucket] = []
    for first in range(0, len(buckets), times):
        whole = TimeBucket()
        for bucket in buckets[first : first + times]:
            whole.merge(bucket)
        found.append(whole)
    return found


_MIN_S, _MAX_S = 1e-3, 7 * 86400.0
_GROWTH = 1.04
_LAST = math.ceil(math.log(_MAX_S / _MIN_S, _GROWTH))
RELATIVE_ERROR = math.sqrt(_GROWTH) - 1
"""The maximum relative error of a percentile, 2 %, for durations from 1 ms to a week."""


class Histogram:
    """Counts of durations; it has at most some 520 buckets.

    Attributes:
        count: the number of durations.
        total: their sum in seconds.
        least: the shortest in seconds, exact; infinity if there is none.
        most: the longest in seconds, exact; 0 if there is none.
    """

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.least = math.inf
        self.most = 0.0
        self._counts: dict[int, int] = {}  # {bucket: number of durations}

    def __repr__(self) -> str:
        return f"<Histogram of {self.count} times>"

    def add(self, seconds: float) -> None:
        """Count one duration."""
        at = 0
        if seconds > _MIN_S:
            at = min(_LAST, math.ceil(math.log(seconds / _MIN_S, _GROWTH)))
        self._counts[at] = self._counts.get(at, 0) + 1
        self.count += 1
        self.total += seconds
        self.least, self.most = min(self.least, seconds), max(self.most, seconds)

    def percentile(self, percent: float) -> float | None:
        """Return a percentile in seconds, by nearest rank; None if there are no durations.

        Its relative error is at most `RELATIVE_ERROR`.

        Args:
            percent: above 0, up to 100.
        """
        rank = max(1, math.ceil(percent / 100 * self.count))
        seen = 0
        for at, count in sorted(self._counts.items()):
            seen += count
            if seen >= rank:
                middle = _MIN_S * _GROWTH ** (at - 0.5) if at else _MIN_S
                return min(self.most, max(self.least, middle))
        return None

    def bins(self, most: int) -> Iterator[tuple[float, float, int]]:
        """Yield the distribution without gaps: (from, to, count), in seconds.

        Args:
            most: the maximum number of bins; all have the same width on a log scale.
        """
        if not self._counts:
            return
        first, last = min(self._counts), max(self._counts)
        step = -(-(last - first + 1) // most)
        for start in range(first, last + 1, step):
            count = sum(self._counts.get(at, 0) for at in range(start, start + step))
            yield _MIN_S * _GROWTH ** (start - 1), _MIN_S * _GROWTH ** (start + step - 1), count


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
