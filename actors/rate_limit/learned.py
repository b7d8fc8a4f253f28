"""A limit that a provider reports, and that other clients may use, too. Pure (R14).

It has two buckets: one counts what this limiter takes, exactly; the other follows the provider's
reports, and counts what all clients take. A report shows the state at which its call reached the
provider: so what was taken since then is added, and what has refilled since then is subtracted. The
mean difference to the expected state is the rate of other clients; the rest of the limit is ours.
"""

from typing import final

from ..permit import Dimension, Report
from .bucket import Bucket
from .explanation import BucketState
from .limits import ENFORCED_IN_PARTS_S, Rate

_AVERAGED_S = 5.0  # seconds over which the rate of other clients is averaged
_MAX_OF_OTHERS = 0.95  # of the rate; some calls are needed to receive further reports
_FEW = 0.05  # of the rate; below it there may be no other client
_DECREASE = 0.8  # of the depth, after a refusal that names no limit


@final
class Learned:
    """One limit that the provider reports.

    Args:
        report: the first report.
        burst_s: how much of it may be used at once, in seconds of its rate; more if the provider
            was seen to accept more.
        since: the amount taken since the call of the report was sent.
        now: the current time.

    Attributes:
        dimension: what it limits.
        limit: the amount of a period.
        period_s: seconds in which all of it refills.
        others: the amount that other clients take a second.
    """

    def __init__(self, report: Report, burst_s: float, since: float, now: float) -> None:
        self.dimension: Dimension = report.dimension
        self.limit, self.period_s = report.limit, report.period_s
        self.others = 0.0
        is_short = self.period_s <= ENFORCED_IN_PARTS_S
        worth = self.rate * burst_s if is_short else self.limit
        self._most = max(1.0, worth - 1.0)  # one less: see `Limit`
        self._late_s = 0.0  # mean seconds from sending a call to its report
        self._reported_at = now
        self._sent_at = float("-inf")  # when the call of the latest report was sent
        self._own = Bucket(self.rate, self.depth, now)
        self._all = Bucket(self.rate, self.depth, now)
        for bucket in (self._own, self._all):
            bucket.set_used(report.used + since, now)

    @property
    def as_rate(self) -> Rate:
        """The limit as a `Rate`, for texts."""
        return Rate(self.dimension, self.limit, self.period_s)

    @property
    def rate(self) -> float:
        """The amount that refills a second."""
        return self.limit / self.period_s

    @property
    def depth(self) -> float:
        """The amount that may be missing before calls wait; less if other clients take some."""
        depth = max(1.0, min(self._most, self.limit - 1.0))
        if self.others < _FEW * self.rate:
            return depth
        return max(1.0, depth - 1.0 - self.others * self._late_s)

    def used(self, now: float) -> float:
        """Return the amount that is missing, by the higher of both buckets."""
        return max(self._own.used(now), self._all.used(now))

    def ready_at(self, amount: float, now: float) -> float:
        """Return when `amount` is allowed; `now` if it is allowed already."""
        return max(self._own.ready_at(amount, now), self._all.ready_at(amount, now))

    def take(self, amount: float, now: float) -> None:
        """Debit an amount."""
        self._own.take(amount, now)
        self._all.take(amount, now)

    def give_back(self, amount: float, since: float, now: float) -> None:
        """Refund an amount that was debited at `since`."""
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
        """Apply a report of the provider.

        Args:
            report: the report of this limit.
            since: the amount taken since its call was sent.
            sent_at: when its call was sent.
            now: the current time.
            resumes_at: end of the pause after a refusal; None without a refusal. After a refusal
                the amount used is the depth, and what refills during the pause is left to other
                clients, so that calls that waited are not sent all at once.
        """
        if sent_at < self._sent_at:
            return  # a call that was sent later has reported before
        self._sent_at = sent_at
        self.limit, self.period_s = report.limit, report.period_s
        if resumes_at is not None:
            self._most = max(1.0, min(self._most, report.used - 1.0))
        else:
            self._most = max(self._most, report.used)  # the provider accepted that
        expected = self._all.used(now)
        refilled = (self.rate - self.others) * (now - sent_at)
        used = max(0.0, report.used + since - refilled)
        passed = now - self._reported_at
        if passed > 0:
            gain = passed / (passed + _AVERAGED_S)
            off = (used - expected) / passed  # bounded below: no client exceeds the limit
            self.others += gain * min(self.rate, max(-self.rate, off))
            self.others = min(max(0.0, self.others), _MAX_OF_OTHERS * self.rate)
            self._late_s += gain * (now - sent_at - self._late_s)
        self._reported_at = now
        self._own.set(self.rate, self.depth, now)
        self._all.set(self.rate - self.others, self.depth, now)
        self._all.set_used(used, now)
        if resumes_at is not None:
            self._all.set_used(self.depth, max(now, resumes_at))

    def refused(self, resumes_at: float, now: float) -> None:
        """Lower the depth after a refusal that names no limit; the arguments are as in `report`."""
        self._most = max(1.0, _DECREASE * self._most)
        self._own.set(self.rate, self.depth, now)
        self._all.set(self.rate - self.others, self.depth, now)
        self._all.set_used(self.depth, max(now, resumes_at))

    def state(self, scope: str, now: float) -> BucketState:
        """Return the state of the limit; the arguments are those of `Limit.state`."""
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
