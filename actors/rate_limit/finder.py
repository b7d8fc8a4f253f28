"""Finds limits that the provider does not report, by trying. Pure (R14).

It uses additive increase and multiplicative decrease, separately for the calls a second ("too
fast") and the calls in flight ("too many"). Source of the rule: Chiu and Jain, "Analysis of the
increase and decrease algorithms for congestion avoidance", 1989.
"""

from collections import deque
from math import inf
from typing import final

import attrs

from ..permit import ThrottleReason

_DECREASE = 0.7
_FIRST_DECREASE = 0.9  # of the rate that the provider accepted before the first refusal
_INCREASE = 0.02  # least increase a second, as a share of the rate after a decrease
_REGAIN_S = 30.0  # seconds until the rate before a decrease is tried again
_LEAST_RATE = 1 / 60  # calls a second
_SPAN_S = 1.0  # seconds over which calls are counted
_START_RATE = 2.0
_DOUBLING_S = 1.0
_START_IN_FLIGHT = 4.0
_SLOW = 2.0  # times the usual latency: so slow, the provider is overloaded
_GAIN = 0.1  # weight of one response in the mean of the latest ones
_LEAST_RESPONSES = 10  # a mean of fewer is not significant
_STALE_S = 60.0  # seconds without a call, after which a rate is forgotten
_LEAST_REFUSED, _LEAST_SHARE = 3, 0.3  # refusals in a span, and their share: fewer are chance
_REMEMBERED = 1_000  # calls


@attrs.frozen
class FinderStatistics:
    """The limits that were found.

    Args:
        rate: calls a second; infinity without a limit.
        in_flight: calls in flight; infinity without a limit.
        too_fast: number of refusals because of too many calls a second.
        too_many: number of refusals because of too many calls in flight, or of times at which
            the provider became slow.
    """

    rate: float
    in_flight: float
    too_fast: int
    too_many: int


@final
class Finder:
    """The limits of one model that are found by trying.

    After refusals as "too fast", the new rate is decided at the end of the pause: only then it is
    known how many of the calls in the same span were refused, and how many were accepted.

    Args:
        now: the current time, in seconds.
        starts_slowly: begin with few calls and double them, rather than without a limit.

    Attributes:
        rate: calls a second; infinity without a limit.
        in_flight: calls in flight; infinity without a limit.
        is_undecided: calls were refused, and the new rate is not decided yet.
    """

    def __init__(self, now: float, *, starts_slowly: bool = False) -> None:
        self.rate = _START_RATE if starts_slowly else inf
        self.in_flight = _START_IN_FLIGHT if starts_slowly else inf
        self.is_undecided = False
        self._widens = starts_slowly  # by one a response: this doubles it in each round trip
        self._doubles = starts_slowly
        self._at = now
        self._step = 0.0  # increase a second, in calls a second
        self._sent: deque[float] = deque(maxlen=_REMEMBERED)  # times at which calls were sent
        self._refused: list[float] = []  # times at which refused calls were sent, until `decide`
        self._elsewhere: list[float] = []  # the same, of other processes
        self._decided_at = -inf  # calls sent before that do not count for the rate since
        self._too_fast = 0
        self._too_many = 0
        self._responses = 0  # since `in_flight` was last lowered
        self._mean_s = 0.0  # mean seconds until a response began, of the latest ones
        self._usual_s = inf  # the least value of that mean

    def stop_seeking(self) -> None:
        """End the slow start, because the provider reports its limits."""
        if self._doubles:
            self.rate = inf
            self._doubles = False
        if self._widens:
            self.in_flight = inf
            self._widens = False

    def send(self, now: float) -> None:
        """Record that a call is sent."""
        self._sent.append(now)
        passed, self._at = now - self._at, now
        if self.rate == inf or passed <= 0:
            return
        if passed > _STALE_S and not self._doubles:
            self.rate = inf  # it is out of date
            return
        if self._doubles:
            self.rate *= 2.0 ** min(passed / _DOUBLING_S, 1.0)
        else:
            self.rate += self._step * min(passed, _SPAN_S)  # an idle time is no evidence

    def succeeded(self, seconds: float, in_flight: int) -> None:
        """Record a call that was not refused.

        Args:
            seconds: seconds until its response began.
            in_flight: number of calls in flight at its end.
        """
        self._responses += 1
        self._mean_s += max(_GAIN, 1.0 / self._responses) * (seconds - self._mean_s)
        if self._responses >= _LEAST_RESPONSES:
            self._usual_s = min(self._usual_s, self._mean_s)
        if self.in_flight == inf or in_flight + 1 < self.in_flight:
            return  # this limit did not delay any call
        if self._responses >= _LEAST_RESPONSES and self._mean_s > _SLOW * self._usual_s:
            self._too_many += 1
            self._narrow(self.in_flight)
        else:
            self.in_flight += 1.0 if self._widens else 1.0 / self.in_flight

    def refused(self, why: ThrottleReason, sent_at: float, in_flight: int, now: float) -> None:
        """Record a call that was refused.

        Args:
            why: the kind of refusal.
            sent_at: when it was sent.
            in_flight: number of calls in flight.
            now: the current time.
        """
        if why == "too_many":
            self._too_many += 1
            if sent_at >= self._decided_at:
                self._decided_at = now
                self._narrow(min(self.in_flight, in_flight))
            return
        self._too_fast += 1
        if sent_at >= self._decided_at:
            self._refused.append(sent_at)
            self.is_undecided = True

    def refused_elsewhere(
        self, why: ThrottleReason, sent_at: float, in_flight: int, now: float
    ) -> None:
        """Record a call of another process that was refused; both use the same limits.

        Args:
            why: the kind of refusal.
            sent_at: when it was sent.
            in_flight: number of calls in flight here.
            now: the current time.
        """
        if why == "too_many":
            self.refused(why, sent_at, in_flight, now)
        elif sent_at >= self._decided_at:
            self._elsewhere.append(sent_at)
            self.is_undecided = True

    def decide(self, now: float) -> None:
        """Decide the new rate, at the end of the pause after a refusal."""
        self.is_undecided = False
        refused, self._refused = self._refused, []
        elsewhere, self._elsewhere = self._elsewhere, []
        last = max((*refused, *elsewhere))
        sent = sum(last - _SPAN_S < at <= last for at in self._sent)
        of_them = sum(last - _SPAN_S < at for at in refused)
        before = min(self.rate, sent / _SPAN_S)
        if self.rate == inf:
            every = of_them + sum(last - _SPAN_S < at for at in elsewhere)
            if every < _LEAST_REFUSED or every < _LEAST_SHARE * sent:
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
        self._responses = 0

    def statistics(self) -> FinderStatistics:
        """Return the limits that were found."""
        return FinderStatistics(self.rate, self.in_flight, self._too_fast, self._too_many)
