"""How long waiting for one more pays, learned from who came and how long calls take. Pure (R14)."""

from math import inf
from typing import final

__all__ = ["LEAST_S", "Window"]

LEAST_S = 0.0002
"""Seconds that are always waited: what is asked for at the same moment comes in within them."""

_GAIN = 0.5  # of one observation: a single silence says that a burst is over
_PATIENCE = 3.0  # gaps; of arrivals at random, 95 % come within three mean gaps (1 - exp(-3))
_SHARE = 0.1  # of the time that a call takes anyway, a wait adds at most so much
_REMEMBERED = 2.0  # waits


@final
class Window:
    """Says how long a batch is kept open for others.

    While others come quickly, the next one is worth waiting for, up to a tenth of the time that
    the call takes anyway. When nobody would come in that time, nobody is waited for.

    Args:
        max_wait_s: the longest that anybody may wait, in seconds.
    """

    def __init__(self, max_wait_s: float) -> None:
        self._max_wait_s = max_wait_s
        self._last: float | None = None  # when somebody came
        self._gap_s = inf
        self._service_s: float | None = None

    def arrived(self, now: float, longest_s: float) -> None:
        """Somebody came.

        Args:
            now: when, in seconds of a clock that does not go back.
            longest_s: how long he may wait. A longer silence says no more than that nobody comes.
        """
        if self._last is not None:
            gap_s = min(now - self._last, _REMEMBERED * max(longest_s, LEAST_S))
            known = self._gap_s
            self._gap_s = gap_s if known == inf else known + _GAIN * (gap_s - known)
        self._last = now

    def served(self, seconds: float) -> None:
        """A call took so long."""
        known = self._service_s
        self._service_s = seconds if known is None else known + _GAIN * (seconds - known)

    @property
    def longest_s(self) -> float:
        """How long the first of a batch waits at most, in seconds."""
        if self._service_s is None:
            return self._max_wait_s
        return min(self._max_wait_s, _SHARE * self._service_s)

    def linger_s(self, longest_s: float) -> float:
        """How long after somebody came the next one is waited for, in seconds.

        Args:
            longest_s: how long the first may wait.
        """
        # Whoever may wait longer than others loses nothing by it, even if nobody comes.
        least_s = min(longest_s, LEAST_S if longest_s <= self._max_wait_s else self._max_wait_s)
        if self._gap_s >= longest_s:
            return least_s
        return min(longest_s, max(least_s, _PATIENCE * self._gap_s))
