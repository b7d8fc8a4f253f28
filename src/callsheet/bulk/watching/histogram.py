"""Histogram of durations in constant memory; the bounds of its buckets grow by a constant factor.

Pure (R14). The buckets are those of DDSketch (Masson, Rim and Lee, VLDB 2019): if bounds grow by a
factor g, the geometric middle of a bucket is off by a factor of sqrt(g) at most.
"""

import math
from collections.abc import Iterator

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
