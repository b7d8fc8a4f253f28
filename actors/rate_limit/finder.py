"""Finds limits that nobody tells of: additive increase, multiplicative decrease. Pure (R14).

Two things can be too much, and each has a limit of its own: calls a second ("too fast") and calls
under way ("too many"). Source of the rule: Chiu and Jain, "Analysis of the increase and decrease
algorithms for congestion avoidance", 1989.
"""

from collections import deque
from math import inf
from typing import final

import attrs

from ..permit import Refused

__all__ = [
    "Finder",
    "FinderStatistics",
]


_DECREASE = 0.7
_FIRST_DECREASE = 0.9  # of what the provider is known to have borne
_INCREASE = 0.02  # of the rate after a decrease, a second; at least
_REGAIN_S = 30.0  # after which a rate that was given up is tried again
_LEAST_RATE = 1 / 60  # calls a second
_SPAN_S = 1.0  # over which what it bears is counted
_START_RATE = 2.0
_DOUBLING_S = 1.0
_START_IN_FLIGHT = 4.0
_SLOW = 2.0  # times the usual time, with as many calls under way as may be
_OF_ONE = 0.1  # what one answer counts for in the mean of the last ones
_LEAST_ANSWERS = 10  # for a mean to say anything
_STALE_S = 60.0
_LEAST_REFUSED, _LEAST_SHARE = 3, 0.3  # of the calls of a span: fewer are an accident
_REMEMBERED = 1_000  # calls


@attrs.frozen
class FinderStatistics:
    """What was found.

    Args:
        rate: calls a second; infinity while none was found to be too many.
        in_flight: calls under way; infinity while none was found to be too many.
        too_fast: how often the provider said so.
        too_many: how often the provider said so, or grew slow.
    """

    rate: float
    in_flight: float
    too_fast: int
    too_many: int


@final
class Finder:
    """The limits of one model that were found by trying.

    When calls were refused as too fast, it is decided when the pause after that is over: then it
    is known how many of those that went together were refused, and so how many the provider bears.

    Args:
        now: the present.
        starts_slowly: begin with few calls and double them, rather than with as many as there are.

    Attributes:
        rate: calls a second; infinity while there is no need to go more slowly.
        in_flight: calls under way, likewise.
        is_undecided: calls were refused, and what follows from that is not decided.
    """

    def __init__(self, now: float, *, starts_slowly: bool = False) -> None:
        self.rate = _START_RATE if starts_slowly else inf
        self.in_flight = _START_IN_FLIGHT if starts_slowly else inf
        self.is_undecided = False
        self._widens = starts_slowly  # by one for each answer: twice as many each time around
        self._doubles = starts_slowly
        self._at = now
        self._step = 0.0  # calls a second, a second
        self._sent: deque[float] = deque(maxlen=_REMEMBERED)  # when calls went
        self._refused: list[float] = []  # when those went that were refused; not decided upon
        self._decided_at = -inf  # calls that went before say nothing of the rate since
        self._too_fast = 0
        self._too_many = 0
        self._answers = 0  # since the number in flight was last lowered
        self._mean_s = 0.0  # until an answer begins, of the last ones
        self._usual_s = inf  # the least that this was

    def stop_seeking(self) -> None:
        """The provider has told its limits: there is no need to begin slowly."""
        if self._doubles:
            self.rate = inf
            self._doubles = False
        if self._widens:
            self.in_flight = inf
            self._widens = False

    def send(self, now: float) -> None:
        """A call goes."""
        self._sent.append(now)
        passed, self._at = now - self._at, now
        if self.rate == inf or passed <= 0:
            return
        if passed > _STALE_S and not self._doubles:
            self.rate = inf  # what was found is long past
            return
        if self._doubles:
            self.rate *= 2.0 ** min(passed / _DOUBLING_S, 1.0)
        else:
            self.rate += self._step * min(passed, _SPAN_S)  # while nobody goes, nothing is shown

    def answered(self, seconds: float, under_way: int) -> None:
        """A call was not refused.

        Args:
            seconds: until its answer began.
            under_way: calls, at its end.
        """
        self._answers += 1
        self._mean_s += max(_OF_ONE, 1.0 / self._answers) * (seconds - self._mean_s)
        if self._answers >= _LEAST_ANSWERS:
            self._usual_s = min(self._usual_s, self._mean_s)
        if self.in_flight == inf or under_way + 1 < self.in_flight:
            return  # it was not this that held anybody back
        if self._answers >= _LEAST_ANSWERS and self._mean_s > _SLOW * self._usual_s:
            self._too_many += 1
            self._narrow(self.in_flight)
        else:
            self.in_flight += 1.0 if self._widens else 1.0 / self.in_flight

    def refused(self, why: Refused, sent_at: float, under_way: int, now: float) -> None:
        """A call that went at `sent_at` was refused."""
        if why == "too_many":
            self._too_many += 1
            if sent_at >= self._decided_at:
                self._decided_at = now
                self._narrow(min(self.in_flight, under_way))
            return
        self._too_fast += 1
        if sent_at >= self._decided_at:
            self._refused.append(sent_at)
            self.is_undecided = True

    def decide(self, now: float) -> None:
        """The pause is over."""
        self.is_undecided = False
        refused, self._refused = self._refused, []
        last = max(refused)
        sent = sum(last - _SPAN_S < at <= last for at in self._sent)
        of_them = sum(last - _SPAN_S < at for at in refused)
        before = min(self.rate, sent / _SPAN_S)
        if self.rate == inf:
            if of_them < _LEAST_REFUSED or of_them < _LEAST_SHARE * sent:
                return
            self.rate = _FIRST_DECREASE * max(1.0, (sent - of_them) / _SPAN_S)
        else:
            self.rate *= _DECREASE
        self.rate = max(_LEAST_RATE, self.rate)
        self._decided_at = now
        self._doubles = False
        self._step = max(_INCREASE * self.rate, (before - self.rate) / _REGAIN_S)
        self._at = now

    def _narrow(self, most: float) -> None:
        self.in_flight = max(1.0, _DECREASE * most)
        self._widens = False
        self._answers = 0

    def statistics(self) -> FinderStatistics:
        """What was found."""
        return FinderStatistics(self.rate, self.in_flight, self._too_fast, self._too_many)
