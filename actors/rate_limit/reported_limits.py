"""The limits of one scope that its provider reports, and what its calls take meanwhile. Pure (R14).

A report shows the state at which its call reached the provider. So the totals of what was admitted
are kept: their difference since that call is what the report does not show yet.
"""

import copy
from collections import deque
from collections.abc import Callable, Sequence
from math import inf
from operator import add
from typing import final

from ..permit import DIMENSIONS, Report
from .learned import Learned
from .limits import Cost, Limits
from .reports import REFUSAL

_REFUSED_REMEMBERED = 256  # calls
_MAX_LEARNED = 32  # limits of one scope; no provider has so many


@final
class ReportedLimits:
    """All limits that the reports of a provider have shown for one scope.

    Args:
        limits: says whether limits are learned, and how much of one may be used at once.

    Attributes:
        by_source: the learned limits, by dimension and header.
        most_in_flight: the most calls in flight by the reports; infinity without one.
        part: the part of the limits that is due to this process, above 0 and up to 1.
        refusals: the last calls that the provider refused: the totals when each was admitted, and
            what it had taken.
    """

    def __init__(self, limits: Limits) -> None:
        self.by_source: dict[tuple[str, str], Learned] = {}
        self.most_in_flight = inf
        self.part = 1.0
        self._burst_s = limits.burst_s
        self._learns = limits.learn
        self._taken: Sequence[float] = (0.0,) * len(DIMENSIONS)
        self.refusals: deque[tuple[Sequence[float], Cost]] = deque(maxlen=_REFUSED_REMEMBERED)

    def __repr__(self) -> str:
        return f"<ReportedLimits {', '.join(map(str, self.by_source.values())) or 'none'}>"

    @property
    def knows_pace(self) -> bool:
        """Whether the provider reports a limit for up to a minute, so that none need be found."""
        return any(learned.is_short for learned in self.by_source.values())

    def take(self, cost: Cost) -> Sequence[float]:
        """Add to the totals what a call takes; return them, or nothing without learning."""
        if not self._learns:
            return ()
        self._taken = tuple(map(add, self._taken, cost))
        return self._taken

    def apply(
        self,
        report: Report,
        mark: Sequence[float],
        sent_at: float,
        now: float,
        *,
        in_flight: int,
        may_guess: Callable[[int], bool],
        resumes_at: float | None = None,
    ) -> Learned | None:
        """Apply a report of the provider; see `Learned.report`.

        Args:
            report: the limit as the provider states it.
            mark: the totals when its call was admitted; empty if they are not known.
            sent_at: when its call was sent.
            now: the current time.
            in_flight: the calls in flight.
            may_guess: whether a period may be assumed for a dimension, by its index in `Cost`.
            resumes_at: when calls go on after a refusal; None without one.

        Returns:
            The limit of the report; None if it is not one of `by_source`.
        """
        if report.dimension == "in_flight":  # other clients may use it, too
            left = max(0.0, report.limit - report.used)
            self.most_in_flight = max(1.0, min(report.limit, in_flight + left))
            return None
        index = DIMENSIONS.index(report.dimension)
        since = 0.0
        if mark:
            since = self._taken[index] - mark[index]
            # Where the provider counts the calls that it refuses, its next reports show it.
            since -= sum(cost[index] for at, cost in self.refusals if at[index] > mark[index])
        learned = self._find(report)
        if learned is not None:
            learned.report(report, since, sent_at, now, resumes_at=resumes_at)
            return learned
        if len(self.by_source) >= _MAX_LEARNED:
            return None
        learned = self.by_source[report.dimension, report.source] = Learned(
            report,
            self._burst_s,
            since,
            sent_at,
            now,
            may_guess=may_guess(index),
            part=self.part,
        )
        return learned

    def _find(self, report: Report) -> Learned | None:
        """Return the limit of a report; a refusal's text has the amount, but not the header."""
        found = self.by_source.get((report.dimension, report.source))
        if found is None and report.source == REFUSAL:
            found = next(
                (
                    one
                    for one in self.by_source.values()
                    if (one.dimension, one.limit) == (report.dimension, report.limit)
                ),
                None,
            )
        return found

    def note_refused(self, mark: Sequence[float], cost: Cost) -> None:
        """Record that the provider refused a call, which has taken nothing of its limits.

        Args:
            mark: the totals when it was admitted; empty if they are not known.
            cost: what it had taken.
        """
        if mark:
            self.refusals.append((mark, cost))

    def return_request(self, cost: Cost, since: float, now: float) -> None:
        """Return the request of a refused call, which no report corrects.

        Where the provider counts the calls that it refuses, its next reports show it.

        Args:
            cost: what the call had taken.
            since: when it was admitted.
            now: the current time.
        """
        for learned in self.by_source.values():
            if learned.dimension == "requests":
                learned.give_back(cost.requests, since, now)

    def refused(self, resumes_at: float, now: float) -> None:
        """Lower the limits after a refusal that names none; see `Learned.refused`.

        Args:
            resumes_at: when calls go on.
            now: the current time.
        """
        for learned in self.by_source.values():
            learned.refused(resumes_at, now)

    def set_part(self, part: float, now: float) -> None:
        """Set the part of the limits that is due to this process.

        Args:
            part: the part, above 0 and up to 1.
            now: the current time.
        """
        self.part = part
        for learned in self.by_source.values():
            learned.set_part(part, now)

    def change(self, limits: Limits) -> None:
        """Apply changed settings; without learning, all that was learned is forgotten."""
        self._burst_s = limits.burst_s
        self._learns = limits.learn
        if not limits.learn:
            self.by_source.clear()
            self.most_in_flight = inf

    def copy(self) -> "ReportedLimits":
        """Return an independent copy, to simulate with."""
        other = copy.copy(self)
        other.by_source = copy.deepcopy(self.by_source)
        other.refusals = self.refusals.copy()
        return other
