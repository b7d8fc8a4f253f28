"""The totals of a run over time, in constant memory: buckets that become wider as the run goes on.

Pure (R14). When there are too many buckets, each two neighbours are merged, so their number stays
between half of the maximum and the maximum, however long the run lasts.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal

import attrs

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
