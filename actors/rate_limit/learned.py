"""A limit that a provider reports, and that other clients may use, too. Pure (R14).

Its period follows from the reports (`LimitEvidence`). While nothing is known of it, the limit
delays no call; while only a shortest period is known, calls are sent as fast as that allows.

It has two buckets: one counts what this limiter takes, exactly; the other follows the provider's
reports, and counts what all clients take. A report shows the state at which its call reached the
provider: so what was taken since then is added, and what has refilled since then is subtracted. The
mean difference to the expected state is the rate of other clients; the rest of the limit is ours.

For a limit that begins anew at one instant, what is left until then replaces the second bucket.
"""

from math import inf
from typing import cast, final

from ..permit import DIMENSIONS, Dimension, Report
from .bucket import Bucket
from .evidence import LimitEvidence
from .explanation import BucketState
from .limits import ENFORCED_IN_PARTS_S, Rate
from .waits import Flow, Pause

_AVERAGED_S = 5.0  # seconds over which the rate of other clients is averaged
_MAX_OF_OTHERS = 0.95  # of the rate; some calls are needed to receive further reports
_FEW = 0.05  # of the rate; below it there may be no other client
_DECREASE = 0.8  # of the depth, after a refusal that names no limit
_REFUTING = 0.5  # of the amount that a guessed period lets expect; if less is used, it is wrong
_LEAST_SHARE = 0.9  # of a long limit must be used before a refusal is attributed to it


@final
class Learned:
    """One limit that the provider reports.

    Args:
        report: the first report.
        burst_s: how much of it may be used at once, in seconds of its rate; more if the provider
            was seen to accept more.
        since: the amount taken since the call of the report was sent.
        sent_at: when the call of the report was sent.
        now: the current time.
        may_guess: whether a usual period may be assumed before the reports establish one.
        part: the part of the limit that is due to this process, of those that share it: above 0
            and up to 1. The buckets are that part of those of the provider, so what the other
            processes take is expected, and is not taken for that of other clients.

    Attributes:
        dimension: what it limits.
        index: the index of the dimension in `Cost`.
        limit: the amount of a period.
        source: the header that reports it.
        period_s: seconds in which all of it refills; None while they are not known.
        others: the amount that other clients take a second of the part of this process.
        may_guess: whether a usual period may be assumed, as above; it may be changed.
    """

    def __init__(
        self,
        report: Report,
        burst_s: float,
        since: float,
        sent_at: float,
        now: float,
        *,
        may_guess: bool = True,
        part: float = 1.0,
    ) -> None:
        self.part = part
        self.dimension: Dimension = cast("Dimension", report.dimension)
        self.index = DIMENSIONS.index(self.dimension)
        self.limit = report.limit
        self.source = report.source
        self.may_guess = may_guess
        self.others = 0.0
        self.period_s: float | None = None
        self._evidence = LimitEvidence()
        self._burst_s = burst_s
        self._accepted = 0.0  # the most that was used when the provider accepted a call
        self._cap = inf  # the most that may be used, after a refusal
        self._slowed_at = now  # calls that were sent before do not slow it down again
        self._late_s = 0.0  # mean seconds from sending a call to its report
        self._reported_at = self._taken_at = now
        self._sent_at = float("-inf")  # when the call of the latest report was sent
        self._left, self._renews_at = inf, now  # what is left until then, if `is_window`
        self._own = Bucket(1.0, 1.0, now)  # both without effect while the period is not known
        self._all = Bucket(1.0, 1.0, now)
        self._is_own_set = False
        self.report(report, since, sent_at, now)

    @property
    def is_window(self) -> bool:
        """Whether the limit begins anew at one instant, rather than refill continuously."""
        return self._evidence.kind == "window"

    @property
    def is_short(self) -> bool:
        """Whether its period is known, and up to a minute, so that it sets the pace."""
        return self.period_s is not None and self.period_s <= ENFORCED_IN_PARTS_S

    @property
    def rate(self) -> float:
        """The amount that refills a second here; infinity while it is not known."""
        return inf if self.period_s is None else self.part * self.limit / self.period_s

    @property
    def depth(self) -> float:
        """The amount that may be missing before calls wait; less if other clients take some."""
        part = self.part
        worth = self.rate * self._burst_s if self.is_short else part * self.limit
        accepted = 0.0 if self.is_window else part * self._accepted
        most = max(worth - 1.0, accepted)  # one less: see `Limit`
        depth = max(1.0, min(most, part * self._cap, part * self.limit - 1.0))
        if self.others < _FEW * self.rate:
            return depth
        return max(1.0, depth - 1.0 - self.others * self._late_s)

    def __str__(self) -> str:
        return f"{self._words()} ({self.source})" if self.source else self._words()

    def _words(self) -> str:
        if self.period_s is None:
            return f"{self.limit:g} {self.dimension.replace('_', ' ')} in an unknown time"
        return str(Rate(self.dimension, self.limit, float(f"{self.period_s:.3g}")))

    def used(self, now: float) -> float:
        """Return the amount that is missing, by the higher of both buckets."""
        if self.is_window:
            is_old = now >= self._renews_at
            return self._own.used(now) if is_old else self.part * self.limit - self._left
        return max(self._own.used(now), self._all.used(now))

    def ready_at(self, amount: float, now: float) -> float:
        """Return when `amount` is allowed; `now` if it is allowed already."""
        at = now
        if self.period_s is not None:
            at = self._own.ready_at(amount, now)
            if not self.is_window:
                at = max(at, self._all.ready_at(amount, now))
            if self._evidence.is_guess:  # the period may be as short as the reset
                at = min(at, max(now, self._taken_at + self._evidence.shortest_s))
        if now < self._renews_at and self._left < min(amount, self.part * self.limit):
            at = max(at, self._renews_at)
        return at

    def flows(self, now: float) -> list[Flow]:
        """Return what it lets through; nothing is certain while its period is a guess."""
        if self.period_s is None or self._evidence.is_guess:
            return []
        own = self._own.flow(self.index, now)
        return [own] if self.is_window else [own, self._all.flow(self.index, now)]

    def pauses(self, now: float) -> list[Pause]:
        """Return until when calls wait for which too little is left."""
        if now >= self._renews_at:
            return []
        depth = self.part * self.limit
        return [Pause(self.index, self._left, self._renews_at - now, depth)]

    def take(self, amount: float, now: float) -> None:
        """Debit an amount."""
        self._left -= amount
        self._taken_at = now
        if self.period_s is not None:
            self._own.take(amount, now)
            self._all.take(amount, now)

    def give_back(self, amount: float, since: float, now: float) -> None:
        """Refund an amount that was debited at `since`."""
        self._left += amount
        if self.period_s is not None:
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
        self.limit, self.source = report.limit, report.source or self.source
        if resumes_at is not None and self._is_cause(report):
            self._cap = max(1.0, min(self._cap, report.used - 1.0))
            if not self.is_window:  # the end of a window is known
                self._slow_down(sent_at, now)
        else:
            resumes_at = None
            self._accepted = max(self._accepted, report.used)  # the provider accepted that
            self._cap = max(self._cap, report.used)
        used = self.part * report.used + since
        if self._evidence.is_guess and used + 1 < _REFUTING * self._own.used(now):
            self._evidence.refute_guess()
        self._evidence.add(report, sent_at, now)
        self._set_end(report, since, sent_at)
        self._set_period(now)
        if self.period_s is None:
            return
        self._follow(report, since, sent_at, now)
        if resumes_at is not None:
            # The provider may not count the calls that it refuses.
            self._own.set_used(min(self._own.used(now), used), now)
            self._all.set_used(self.depth, max(now, resumes_at))

    def _slow_down(self, sent_at: float, now: float) -> None:
        """Take a longer period, once for all calls that were refused together."""
        if sent_at >= self._slowed_at:
            self._slowed_at = now
            self._evidence.refused()

    def _is_cause(self, report: Report) -> bool:
        """Whether a refusal is due to this limit: a long one must be nearly used up."""
        return self.is_short or report.used >= _LEAST_SHARE * report.limit

    def _set_end(self, report: Report, since: float, sent_at: float) -> None:
        """Set what is left until the limit begins anew, as far as the report shows it."""
        seconds = report.reset_s if self.is_window else report.more_s
        self._left = self.part * (report.limit - report.used) - since
        self._renews_at = sent_at + (seconds or 0.0)

    def _set_period(self, now: float) -> None:
        period_s = self._evidence.period_s(may_guess=self.may_guess)
        if period_s != self.period_s:
            is_first, self.period_s = self.period_s is None, period_s
            self.others = 0.0
            if is_first:
                self._own.set_used(0.0, now)
                self._all.set_used(0.0, now)
                self._is_own_set = False
        if period_s is not None:
            self._own.set(self.rate, self.depth, now)
            self._all.set(self.rate - self.others, self.depth, now)

    def _follow(self, report: Report, since: float, sent_at: float, now: float) -> None:
        """Set the bucket of all clients by a report, and estimate the rate of the others."""
        expected = self._all.used(now)
        refilled = (self.rate - self.others) * (now - sent_at)
        used = max(0.0, self.part * report.used + since - refilled)
        if report.reset_s and self._evidence.kind != "bucket":  # full by then, in any case
            until_full = max(0.0, sent_at + report.reset_s + report.grain_s - now)
            used = min(used, until_full * self.rate + since)
        passed = now - self._reported_at
        if passed > 0 and self._evidence.kind == "bucket":
            gain = passed / (passed + _AVERAGED_S)
            off = (used - expected) / passed  # bounded below: no client exceeds the limit
            self.others += gain * min(self.rate, max(-self.rate, off))
            self.others = min(max(0.0, self.others), _MAX_OF_OTHERS * self.rate)
            self._late_s += gain * (now - sent_at - self._late_s)
        self._reported_at = now
        self._own.set(self.rate, self.depth, now)
        self._all.set(self.rate - self.others, self.depth, now)
        self._all.set_used(used, now)
        if not self._is_own_set:
            # The calls may not have refilled as much as their duration suggests: one more is used.
            self._own.set_used(used + min(1.0, refilled), now)
            self._is_own_set = True

    def refused(self, resumes_at: float, now: float) -> None:
        """Lower the depth after a refusal that names no limit; the arguments are as in `report`."""
        if not self.is_short:
            return
        self._cap = max(1.0, _DECREASE * self.depth)
        self._set_period(now)
        self._all.set_used(self.depth, max(now, resumes_at))

    def set_part(self, part: float, now: float) -> None:
        """Change the part of the limit that is due to this process.

        Args:
            part: the part, above 0 and up to 1.
            now: the current time.
        """
        if part == self.part:
            return
        ratio, self.part = part / self.part, part
        self._left = min(self._left, self._left * ratio) if self._left > 0 else self._left
        self.others *= ratio
        if self.period_s is not None:
            self._own.set(self.rate, self.depth, now)
            self._all.set(self.rate - self.others, self.depth, now)

    def state(self, scope: str, now: float) -> BucketState | None:
        """Return the state of the limit, or None while its period is not known.

        Args:
            scope: the model, or group of models, that it applies to.
            now: the current time, in seconds.
        """
        if self.period_s is None:
            return None
        return BucketState(
            scope=scope,
            dimension=self.dimension,
            limit=self.limit,
            per_s=self.period_s,
            used=self.used(now) / self.part,
            depth=self.depth / self.part,
            source="learned",
            others_per_s=self.others / self.part,
            part=self.part,
            header=self.source,
        )
