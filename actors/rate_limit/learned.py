"""A limit that a provider tells of, and that others may use, too. Pure (R14).

Two buckets: one of what we take ourselves, which is exact, and one of what everybody takes, which
follows the provider's reports. A report is of the moment at which its call reached the provider, so
what we took since is added, and what has refilled since is taken off. How much is regularly missing
beyond what we expected is the others' rate, and what is left is ours.
"""

from typing import final

from ..permit import Dimension, Report
from .bucket import Bucket
from .explanation import BucketState
from .limits import ENFORCED_IN_PARTS_S, Rate

__all__ = [
    "Learned",
]


_AVERAGED_S = 5.0  # seconds over which the others' rate is averaged
_MOST_OF_OTHERS = 0.95  # of the rate: something must be left to find out with
_FEW = 0.05  # of the rate: less may be nobody
_LESS = 0.8  # times the depth, after a refusal that says nothing


@final
class Learned:
    """What is known of one limit of the provider's.

    Args:
        report: the first one.
        burst_s: how many seconds' worth of it may go at once, unless more was seen to.
        since: what was taken since the call went that the report is for.
        now: the present.

    Attributes:
        dimension: of what.
        limit: how much there is in a period.
        period_s: seconds in which all of it refills.
        others: how much a second others take.
    """

    def __init__(self, report: Report, burst_s: float, since: float, now: float) -> None:
        self.dimension: Dimension = report.dimension
        self.limit, self.period_s = report.limit, report.period_s
        self.others = 0.0
        is_short = self.period_s <= ENFORCED_IN_PARTS_S
        worth = self.rate * burst_s if is_short else self.limit
        self._most = max(1.0, worth - 1.0)  # one less: see `Limit`
        self._late_s = 0.0  # from sending a call to what it tells
        self._reported_at = now
        self._of = float("-inf")
        self._own = Bucket(self.rate, self.depth, now)
        self._all = Bucket(self.rate, self.depth, now)
        for bucket in (self._own, self._all):
            bucket.set_used(report.used + since, now)

    @property
    def as_rate(self) -> Rate:
        """In words."""
        return Rate(self.dimension, self.limit, self.period_s)

    @property
    def rate(self) -> float:
        """How much refills a second."""
        return self.limit / self.period_s

    @property
    def depth(self) -> float:
        """How much may be missing before calls wait; less where others take some unseen."""
        depth = max(1.0, min(self._most, self.limit - 1.0))
        if self.others < _FEW * self.rate:
            return depth
        return max(1.0, depth - 1.0 - self.others * self._late_s)

    def used(self, now: float) -> float:
        """What is missing, as far as one knows."""
        return max(self._own.used(now), self._all.used(now))

    def ready_at(self, amount: float, now: float) -> float:
        """When `amount` may go; `now` if it may already."""
        return max(self._own.ready_at(amount, now), self._all.ready_at(amount, now))

    def take(self, amount: float, now: float) -> None:
        """Debit it."""
        self._own.take(amount, now)
        self._all.take(amount, now)

    def give_back(self, amount: float, since: float, now: float) -> None:
        """Undo a debit that was made at `since`."""
        self._own.give_back(amount, since, now)
        self._all.give_back(amount, since, now)

    def report(
        self,
        report: Report,
        since: float,
        sent_at: float,
        now: float,
        *,
        resumes_at: float | None = None,
    ) -> None:
        """An answer has told.

        Args:
            report: what it says of this limit.
            since: what was taken since its call went.
            sent_at: when that was.
            now: the present.
            resumes_at: the end of the pause after a refusal; None if it is none. What is missing
                at one is as much as may be, and what refills in the pause is left to the others,
                lest all who waited go at once.
        """
        if sent_at < self._of:
            return  # another call's answer, which went later, has told already
        self._of = sent_at
        self.limit, self.period_s = report.limit, report.period_s
        if resumes_at is not None:
            self._most = max(1.0, min(self._most, report.used - 1.0))
        else:
            self._most = max(self._most, report.used)  # it bore that
        expected = self._all.used(now)
        refilled = (self.rate - self.others) * (now - sent_at)
        used = max(0.0, report.used + since - refilled)
        passed = now - self._reported_at
        if passed > 0:
            gain = passed / (passed + _AVERAGED_S)
            off = (used - expected) / passed  # a jump is no rate: nobody is faster than the limit
            self.others += gain * min(self.rate, max(-self.rate, off))
            self.others = min(max(0.0, self.others), _MOST_OF_OTHERS * self.rate)
            self._late_s += gain * (now - sent_at - self._late_s)
        self._reported_at = now
        self._own.set(self.rate, self.depth, now)
        self._all.set(self.rate - self.others, self.depth, now)
        self._all.set_used(used, now)
        if resumes_at is not None:
            self._all.set_used(self.depth, max(now, resumes_at))

    def refused(self, resumes_at: float, now: float) -> None:
        """A call that was let through was refused, and nobody says why; as `report`."""
        self._most = max(1.0, _LESS * self._most)
        self._own.set(self.rate, self.depth, now)
        self._all.set(self.rate - self.others, self.depth, now)
        self._all.set_used(self.depth, max(now, resumes_at))

    def state(self, scope: str, now: float) -> BucketState:
        """How it stands; the arguments are those of `Limit.state`."""
        return BucketState(
            scope=scope,
            dimension=self.dimension,
            limit=self.limit,
            per_s=self.period_s,
            used=self.used(now),
            depth=self.depth,
            source="learned",
            others_per_s=self.others,
        )
