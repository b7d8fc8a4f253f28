"""What the reports of one limit say about its period. Pure (R14).

A report has the limit L, the used amount U, and the time R until reset. Providers mean one of two:

- a bucket with the period P refills continuously, and R is the time until it is full: R = U P / L;
- a window of P seconds begins anew at one instant, and R is the time until then, whatever U is.

Each report narrows the interval of periods that a bucket could have: from (R - g) L / U to
(R + g) L / (U - 1), because R is rounded by up to g and U is rounded up. An empty interval refutes
the bucket. Reports that agree on a narrow interval, with amounts that differ, establish it. Reports
before the end of a window that name another end refute it. In each case the period is at least R.
"""

from math import inf
from typing import Literal, final

from ..permit import Report

Kind = Literal["bucket", "window", "unknown"]

_USUAL_S = (60.0, 86_400.0, 1.0, 3_600.0, 2_592_000.0)  # the most likely first
_ROUND_S = (10.0, 30.0, 5.0, 2.0, 15.0, 20.0, 300.0, 600.0, 900.0, 1_800.0, 43_200.0, 604_800.0)
_TOLERANCE = 0.02  # of a period: remaining amount and reset are not read at the same instant
_TELLING = 2.5  # highest over lowest period of an interval that later reports may agree with
_CLOSE = 1.05  # a usual period so close above the lowest possible one is no chance
_AGREEING = 2  # reports with differing amounts that establish a bucket
_CONTRADICTING = 2  # reports that refute it
_SLOWER, _SLOWEST = 1.25, 4.0  # factors of the shortest period after a refusal, and at most
_REGAIN = 0.995  # of such a factor with each report


@final
class LimitEvidence:
    """The evidence on one limit. Reports that contradict all before them begin it anew.

    Attributes:
        kind: "bucket" or "window", once it is established; "unknown" before.
        is_guess: whether the latest result of `period_s` was a guess.
    """

    def __init__(self) -> None:
        self.kind: Kind = "unknown"
        self.is_guess = False
        self._limit = 0.0
        self._stated_s: float | None = None
        self._usual_s: float | None = None
        self._caution = 1.0  # factor of the shortest period, after refusals
        self._begin_anew()

    def _begin_anew(self) -> None:
        self.kind = "unknown"
        self._lowest_s, self._highest_s = 0.0, inf  # of a bucket
        self._is_bucket = self._is_window = True  # not refuted
        self._contradicting = 0  # reports that no bucket explains; one may be a mistake
        self._agreeing = 0
        self._latest: tuple[float, float] | None = None  # used amount and reset that agreed last
        self._end: tuple[float, float] | None = None  # earliest and latest end of the window
        self._longest_s = 0.0  # the longest time until a reset

    @property
    def shortest_s(self) -> float:
        """The shortest period that the reports allow, in seconds; 0 if they do not tell."""
        return max(self._longest_s, self._lowest_s if self.kind == "bucket" else 0.0)

    def period_s(self, *, may_guess: bool) -> float | None:
        """Return the period in seconds: as stated, as established, or the shortest possible one.

        Args:
            may_guess: take a usual period that fits the reports, before one is established.

        Returns:
            The period; None while nothing is known of it.
        """
        self.is_guess = False
        if self._stated_s is not None:
            return self._stated_s
        if self.kind == "bucket":
            return self._likely_s(_USUAL_S + _ROUND_S) or self.shortest_s * self._caution or None
        if may_guess and self.kind == "unknown" and self._is_bucket:
            usual_s = self._usual_s
            shortest_s = max(self._lowest_s, self._longest_s)
            if usual_s is not None and shortest_s <= usual_s <= self._highest_s:
                return usual_s
            guess = self._likely_s(_USUAL_S)
            if guess is not None:
                self.is_guess = True
                return guess
        return self._longest_s * self._caution or None

    def _likely_s(self, periods: tuple[float, ...]) -> float | None:
        """Return one of these periods that the interval has near its lowest one."""
        lowest, highest = self._lowest_s, self._highest_s
        close = min(highest * (1 + _TOLERANCE), _CLOSE * lowest)
        likely = (one for one in periods if lowest <= one * (1 + _TOLERANCE) and one <= close)
        return next(likely, None)

    def add(self, report: Report, sent_at: float, now: float) -> None:
        """Add a report.

        Args:
            report: the report of this limit.
            sent_at: when its call was sent; the state that it shows is of then, or later.
            now: the current time.
        """
        if report.limit != self._limit or report.period_s != self._stated_s:
            self._limit, self._stated_s = report.limit, report.period_s
            self._begin_anew()
        self._usual_s = report.usual_s
        self._caution = max(1.0, _REGAIN * self._caution)
        if report.reset_s is None:
            return
        self._add(report, report.reset_s, sent_at, now)
        if not (self._is_bucket or self._is_window):
            self._begin_anew()
            self._add(report, report.reset_s, sent_at, now)
        if not self._is_bucket:
            self.kind = "window" if self._is_window else "unknown"
            self._caution = 1.0  # it was refused because a window has to end
        elif self._agreeing >= (_AGREEING if self._is_window else 1):
            self.kind = "bucket"
        else:
            self.kind = "unknown"

    def _add(self, report: Report, reset_s: float, sent_at: float, now: float) -> None:
        grain = report.grain_s
        self._add_to_window(sent_at + reset_s - grain, now + reset_s + grain, sent_at, now)
        self._longest_s = max(self._longest_s, reset_s - grain)
        off = 0.0 if report.rounding <= 1 else report.rounding
        lowest = max(0.0, reset_s - grain) * report.limit / max(1.0, report.used + off)
        least_used = report.used - report.rounding
        highest = (reset_s + grain) * report.limit / least_used if least_used > 0 else inf
        if self._stated_s is not None:  # the period of a bucket is the stated one
            self._lowest_s = self._highest_s = self._stated_s
        if not self._is_bucket or _are_apart(lowest, highest, self._lowest_s, self._highest_s):
            self._contradicting += 1
            self._is_bucket = self._is_bucket and self._contradicting < _CONTRADICTING
            return
        self._lowest_s = max(lowest, self._lowest_s)
        self._highest_s = max(self._lowest_s, min(highest, self._highest_s))
        if reset_s > 2 * grain and self._highest_s <= _TELLING * self._lowest_s:
            self._note_agreement(report, reset_s)

    def _note_agreement(self, report: Report, reset_s: float) -> None:
        """Count reports that tell the same period as those before, though they differ."""
        grain, used = report.grain_s, report.used
        if self._latest is None:
            self._latest = (used, reset_s)
            return
        other_used, other_reset = self._latest
        if abs(used - other_used) >= report.rounding and abs(reset_s - other_reset) > 2 * grain:
            self._latest = (used, reset_s)
            self._agreeing += 1
            self._contradicting = 0

    def _add_to_window(self, earliest: float, latest: float, sent_at: float, now: float) -> None:
        """Compare the end of the window with the one that was named before."""
        known = self._end
        if known is None or known[1] <= sent_at:
            self._end = (earliest, latest)  # the first window, or a new one
        elif earliest <= known[1] and latest >= known[0]:
            self._end = (max(earliest, known[0]), min(latest, known[1]))
        elif known[0] <= now and earliest > known[0]:
            self._end = (earliest, latest)  # the other one may have ended meanwhile
        else:
            self._is_window = False

    def refute_guess(self) -> None:
        """Give up the guess: less is used than a bucket with that period would have left."""
        self._is_bucket = False
        self.kind = "window" if self._is_window else "unknown"

    def refused(self) -> None:
        """Take a longer period than the shortest one for a while, after a refusal."""
        self._caution = min(_SLOWEST, _SLOWER * self._caution)


def _are_apart(low: float, high: float, other_low: float, other_high: float) -> bool:
    return low > other_high * (1 + _TOLERANCE) or other_low > high * (1 + _TOLERANCE)
