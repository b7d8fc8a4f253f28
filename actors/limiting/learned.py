"""A limit that a provider tells of, and that others may use, too. Pure (R14).

The provider's answers say how much is missing from its bucket; what of that we have not taken
ourselves, somebody else has. A report is of the moment at which its call reached the provider, so
what was debited since is added, and what has refilled since is taken off. How much is regularly
missing beyond what we expected is taken to be the others' rate, and what is left is ours.
"""

from typing import final

from .bucket import Bucket
from .reports import Report

__all__ = ["Learned"]

_GAIN_S = 5.0  # seconds over which the others' rate is averaged
_MOST_OF_OTHERS = 0.95  # of the rate: something must be left to find out with


@final
class Learned:
    """What is known of one limit of the provider's.

    Args:
        report: the first one.
        burst_s: how many seconds' worth of it may go at once, unless more was seen to.
        now: the present.

    Attributes:
        bucket: what it holds, as far as one knows.
        limit: how much there is in a period.
        period_s: seconds in which all of it refills.
        others: how much a second others take.
    """

    def __init__(self, report: Report, burst_s: float, now: float) -> None:
        self.limit = report.limit
        self.period_s = report.period_s
        self.others = 0.0
        self._burst_s = burst_s
        self._most_used = 0.0  # at a time, and the provider bore it
        self._last_at: float | None = None
        self._last_of = float("-inf")
        self.bucket = Bucket(self.rate, self._depth, now)

    @property
    def rate(self) -> float:
        """How much refills a second."""
        return self.limit / self.period_s

    def report(self, report: Report, debited: float, sent_at: float, now: float) -> None:
        """An answer has told.

        Args:
            report: what it says of this limit.
            debited: what `bucket.debited` was when its call went.
            sent_at: when that was.
            now: the present.
        """
        if sent_at < self._last_of:
            return  # another call's answer, which went later, has told already
        self._last_of = sent_at
        bucket = self.bucket
        self.limit, self.period_s = report.limit, report.period_s
        self._most_used = max(self._most_used, report.used)
        expected = bucket.used(now)
        refilled = (self.rate - self.others) * (now - sent_at)
        used = max(0.0, report.used + (bucket.debited - debited) - refilled)
        if self._last_at is not None and now > self._last_at:
            passed = now - self._last_at
            gain = min(1.0, passed / _GAIN_S)
            self.others += gain * (used - expected) / max(passed, 1.0)
            self.others = min(max(0.0, self.others), _MOST_OF_OTHERS * self.rate)
        self._last_at = now
        bucket.set(self.rate - self.others, self._depth, now)
        bucket.set_used(used, now)

    def refused(self, now: float) -> None:
        """A call that was let through was refused: there was less than one thought."""
        self._most_used = 0.0
        self._burst_s /= 2.0
        bucket = self.bucket
        bucket.set(bucket.rate, self._depth, now)
        bucket.set_used(max(bucket.used(now), self._depth), now)

    @property
    def _depth(self) -> float:
        usual = self.rate * self._burst_s - 1.0  # one less: see `Limiter`
        return max(1.0, min(self.limit - 1.0, max(usual, self._most_used)))
