"""What happened when, in constant memory: a strip of time in buckets that get wider as it grows.

Pure (R14). When there are too many buckets, each two neighbours become one, so that the strip has
between half of them and all of them however long the run lasts.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal

import attrs

__all__ = ["MOST_BUCKETS", "Strip", "TimeBucket"]

MOST_BUCKETS = 600
_FINEST_S = 0.1


@attrs.define
class TimeBucket:
    """What happened in a stretch of time.

    Args:
        answered: rows that were answered in this run.
        failed: rows that ended with an error.
        reused: rows whose answer was there already.
        attempts: HTTP requests that all of these took.
        tokens: tokens that they took.
        cost_usd: USD that they cost, as far as prices are known.
        errors: rows that failed, by kind.
        request_limit: requests a second that were allowed, when last seen; None if it was not.
        token_limit: tokens a second that were allowed, likewise.
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
        """Rows that have ended because somebody was asked."""
        return self.answered + self.failed

    def take_in(self, later: "TimeBucket") -> None:
        """Become one with what happened next."""
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


class Strip:
    """Buckets of equal width, from the start of a run.

    Args:
        start: of the run, in seconds.

    Attributes:
        width_s: of each bucket.
    """

    def __init__(self, start: float) -> None:
        self.width_s = _FINEST_S
        self._start = start
        self._buckets: list[TimeBucket] = []
        self._latest = 0.0  # seconds from the start to the latest moment that was asked for

    def __repr__(self) -> str:
        return f"<Strip of {len(self._buckets)} buckets of {self.width_s:g} s>"

    def __len__(self) -> int:
        return len(self._buckets)

    def __iter__(self) -> Iterator[TimeBucket]:
        return iter(self._buckets)

    def at(self, time: float) -> TimeBucket:
        """The bucket of a moment, in seconds; what was before the start belongs to the first."""
        passed = max(0.0, time - self._start)
        while passed >= self.width_s * MOST_BUCKETS:
            self._buckets = merged(self._buckets, 2)
            self.width_s *= 2
        self._latest = max(self._latest, passed)
        index = int(passed / self.width_s)
        while len(self._buckets) <= index:
            self._buckets.append(TimeBucket())
        return self._buckets[index]

    def rates(self, counts: Sequence[float]) -> list[float]:
        """So many a second in each bucket; the last one lasts only until the latest moment.

        Args:
            counts: how many there are in each.
        """
        found = [count / self.width_s for count in counts]
        last_s = min(self.width_s, self._latest - (len(found) - 1) * self.width_s)
        if len(found) > 1 and last_s < self.width_s / 4:  # too short to say much by itself
            found[-1] = (counts[-2] + counts[-1]) / (self.width_s + max(0.0, last_s))
        elif found:
            found[-1] = counts[-1] / max(last_s, self.width_s / 4)
        return found

    def coarser(self, most: int) -> "Strip":
        """The same with fewer buckets: at most so many."""
        strip = Strip(self._start)
        times = max(1, -(-len(self._buckets) // most))
        strip.width_s, strip._latest = self.width_s * times, self._latest
        strip._buckets = merged(self._buckets, times)
        return strip


def merged(buckets: list[TimeBucket], times: int) -> list[TimeBucket]:
    """Make one bucket of each so many neighbours."""
    found: list[TimeBucket] = []
    for first in range(0, len(buckets), times):
        whole = TimeBucket()
        for bucket in buckets[first : first + times]:
            whole.take_in(bucket)
        found.append(whole)
    return found
