"""How long calls took, in constant memory: counts in buckets whose bounds grow by a factor.

Pure (R14). The buckets are those of DDSketch (Masson, Rim and Lee, VLDB 2019): with bounds that
grow by a factor g, the geometric middle of a bucket is off by a factor of sqrt(g) at most.
"""

import math
from collections.abc import Iterator

__all__ = ["RELATIVE_ERROR", "Histogram"]

_LEAST_S, _MOST_S = 1e-3, 7 * 86400.0
_GROWTH = 1.04
_LAST = math.ceil(math.log(_MOST_S / _LEAST_S, _GROWTH))
RELATIVE_ERROR = math.sqrt(_GROWTH) - 1
"""By how much a percentile may be off, of itself: 2 %. From 1 ms to a week."""


class Histogram:
    """Counts of times. At most some 520 numbers, however many times there are.

    Attributes:
        count: how many times there are.
        total: all of them together, in seconds.
        least: the shortest, exactly; infinity while there is none.
        most: the longest, exactly; 0 while there is none.
    """

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.least = math.inf
        self.most = 0.0
        self._counts: dict[int, int] = {}  # {bucket: times}

    def __repr__(self) -> str:
        return f"<Histogram of {self.count} times>"

    def add(self, seconds: float) -> None:
        """Count one time."""
        at = 0
        if seconds > _LEAST_S:
            at = min(_LAST, math.ceil(math.log(seconds / _LEAST_S, _GROWTH)))
        self._counts[at] = self._counts.get(at, 0) + 1
        self.count += 1
        self.total += seconds
        self.least, self.most = min(self.least, seconds), max(self.most, seconds)

    def percentile(self, percent: float) -> float | None:
        """The time that so many per cent do not exceed, by nearest rank; None if there is none.

        It is off by no more than `RELATIVE_ERROR` of itself.

        Args:
            percent: above 0, up to 100.
        """
        rank = max(1, math.ceil(percent / 100 * self.count))
        seen = 0
        for at, count in sorted(self._counts.items()):
            seen += count
            if seen >= rank:
                middle = _LEAST_S * _GROWTH ** (at - 0.5) if at else _LEAST_S
                return min(self.most, max(self.least, middle))
        return None

    def bins(self, most: int) -> Iterator[tuple[float, float, int]]:
        """Where the times lie: (from, to, how many), in seconds, without a gap.

        Args:
            most: as many bins as there may be; each is as wide as the others on a log scale.
        """
        if not self._counts:
            return
        first, last = min(self._counts), max(self._counts)
        step = -(-(last - first + 1) // most)
        for start in range(first, last + 1, step):
            count = sum(self._counts.get(at, 0) for at in range(start, start + step))
            yield _LEAST_S * _GROWTH ** (start - 1), _LEAST_S * _GROWTH ** (start + step - 1), count
