"""Simulate a day of traffic: a million requests of fifty tenants, in virtual time.

The simulation drives the limiter's core as its actor does, against a provider that rejects requests
above its limits. No code sleeps: the clock jumps from one event to the next.
"""

import heapq
import itertools
import statistics
from collections.abc import Callable, Iterator
from functools import partial
from math import inf
from random import Random

import attrs

from callsheet.actors import Lane
from callsheet.actors.rate_limit.core import Limiter
from callsheet.actors.rate_limit.limits import Cost, Limits, PermitRequest, Rate
from callsheet.actors.rate_limit.scope import Reservation
from callsheet.actors.rate_limit.simulation import Grant

__all__ = ["DayFigures", "run_day"]

INTERACTIVE = "interactive"
_DAY_S = 86_400.0
_MODEL = "model"
_TENANTS = 50
_SHARE_OF_INTERACTIVE = 0.01  # of the requests
_JOBS_AT = (3_600.0, 32_400.0, 52_000.0)  # when every tenant starts to send a third of its requests
_JOB_S = 900.0  # seconds in which a tenant sends them
_CALL_S = (0.5, 4.0)  # range of a call's duration, seconds
_ON_THE_WAY_S = 0.05  # the longest way to the provider, seconds
_OUTAGE = (39_600.0, 40_200.0)  # ten minutes from 11:00 on
_REFUSED_S = 0.1  # seconds until the client gets the rejection
_LONGEST_PAUSE_S = 60.0
_CHANGES = (  # (time, requests a minute from then on, tokens a minute from then on)
    (0.0, 900.0, 450_000.0),
    (21_600.0, 1_200.0, 500_000.0),
    (50_000.0, 600.0, 400_000.0),
    (57_000.0, 1_000.0, 600_000.0),
)
_SPAN_S = 600.0  # the spans for which use and shares are computed


@attrs.frozen
class DayFigures:
    """The results of the day.

    Args:
        requests: number of requests that got a response.
        refused: number of requests that the provider rejected, because they exceeded its limits.
        retried: number of retries, after the outage's failures and after rejections.
        used: the median of the used share of the limit that binds, over the spans of ten minutes
            in which every tenant had waiting requests.
        least_used: the least of these shares.
        fairness: Jain's index of the tenants' numbers of requests in these spans; 1 is equal.
        spans: the number of these spans.
        worst_wait_s: the longest wait of a request in seconds, by kind of lane.
        end_s: the time of the last response, in seconds.
    """

    requests: int
    refused: int
    retried: int
    used: float
    least_used: float
    fairness: float
    spans: int
    worst_wait_s: dict[str, float]
    end_s: float


def run_day(requests: int = 1_000_000, seed: int = 0) -> DayFigures:
    """Simulate the day.

    Args:
        requests: number of requests of all tenants together.
        seed: the seed of the requests and their times.
    """
    return _Day(requests, seed).run()


@attrs.define(eq=False)
class _Call:
    lane: str
    tokens: float
    came: float
    seconds: float
    failures: int = 0
    done: bool = False
    reservation: Reservation | None = None


class _Provider:
    """Limits of requests and tokens, refilled continuously, with a burst of one second's share."""

    def __init__(self) -> None:
        self._full_at = [0.0, 0.0]
        self._rates = [1.0, 1.0]

    def change(self, rpm: float, tpm: float, now: float) -> None:
        for at, per_minute in enumerate((rpm, tpm)):
            missing = max(0.0, self._full_at[at] - now) * self._rates[at]
            self._rates[at] = per_minute / 60.0
            self._full_at[at] = now + missing / self._rates[at]

    def admits(self, tokens: float, now: float) -> bool:
        """Check both limits, then take from both; a rejected request takes from neither."""
        costs = (1.0, tokens)
        for at, cost in enumerate(costs):
            rate = self._rates[at]
            if max(0.0, self._full_at[at] - now) * rate + cost > max(rate, cost) + 1e-6:
                return False
        for at, cost in enumerate(costs):
            self._full_at[at] = max(now, self._full_at[at]) + cost / self._rates[at]
        return True


class _Span:
    """The calls sent in a span of ten minutes."""

    def __init__(self, waiting: set[str]) -> None:
        self.waiting = waiting  # tenants with waiting requests at its start
        self.calls = 0
        self.tokens = 0.0
        self.served: dict[str, int] = {}


class _Day:
    """The simulation: a heap of events, each a function that is called at its time."""

    def __init__(self, requests: int, seed: int) -> None:
        self._random = Random(seed)  # noqa: S311  # no secrets
        self._order = itertools.count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._limits = _limits(*_CHANGES[0][1:])
        self._limiter: Limiter[_Call] = Limiter(self._limits, 0.0)
        self._provider = _Provider()
        self._arrivals = _arrivals(requests, self._random)
        self._left = requests
        self._wake_at = inf
        self._refused = self._retried = self._answered = 0
        self._worst = {INTERACTIVE: 0.0, "tenants": 0.0}
        self._span = _Span(set())
        self._used: list[float] = []
        self._got: dict[str, int] = {}
        self._now = 0.0

    def run(self) -> DayFigures:
        for when, rpm, tpm in _CHANGES:
            self._at(when, partial(self._change, rpm, tpm))
        self._at(_SPAN_S, self._end_span)
        self._expect_next()
        while self._left:
            self._now, _, happen = heapq.heappop(self._events)
            happen()
        shares = list(self._got.values())
        squares = sum(share * share for share in shares)
        return DayFigures(
            requests=self._answered,
            refused=self._refused,
            retried=self._retried,
            used=statistics.median(self._used) if self._used else 0.0,
            least_used=min(self._used, default=0.0),
            fairness=sum(shares) ** 2 / (len(shares) * squares) if shares else 0.0,
            spans=len(self._used),
            worst_wait_s=self._worst,
            end_s=self._now,
        )

    def _at(self, when: float, happen: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._order), happen))

    # ---------------------------------------------------------------- calls

    def _expect_next(self) -> None:
        call = next(self._arrivals, None)
        if call is not None:
            self._at(call.came, lambda: self._come(call))

    def _come(self, call: _Call) -> None:
        self._expect_next()
        ask = PermitRequest(_MODEL, Cost(tokens=call.tokens), call.lane)
        reservation = self._limiter.try_admit(ask, self._now)
        if reservation is None:
            if self._limiter.push(call, ask, self._now):
                self._let_through()
        else:
            self._send(call, reservation)

    def _let_through(self) -> None:
        limiter, now = self._limiter, self._now
        while isinstance(wake_at := limiter.advance(now), Grant):
            self._send(wake_at.waiting, wake_at.reservation)
        if wake_at < self._wake_at:
            self._wake_at = wake_at
            self._at(wake_at, self._wake)

    def _wake(self) -> None:
        if self._now >= self._wake_at:
            self._wake_at = inf
            self._let_through()

    def _send(self, call: _Call, reservation: Reservation) -> None:
        span = self._span
        if call.reservation is None:
            kind = INTERACTIVE if call.lane == INTERACTIVE else "tenants"
            self._worst[kind] = max(self._worst[kind], self._now - call.came)
            span.served[call.lane] = span.served.get(call.lane, 0) + 1
        span.calls += 1
        span.tokens += call.tokens
        call.reservation = reservation
        on_the_way = self._random.uniform(0.0, _ON_THE_WAY_S)
        self._at(self._now + on_the_way, lambda: self._arrive(call))

    def _arrive(self, call: _Call) -> None:
        if _OUTAGE[0] <= self._now < _OUTAGE[1]:
            self._at(self._now + _REFUSED_S, lambda: self._fail(call))
        elif self._provider.admits(call.tokens, self._now):
            self._at(self._now + call.seconds, lambda: self._end(call))
        else:
            self._refused += 1
            self._at(self._now + _REFUSED_S, lambda: self._fail(call))

    def _fail(self, call: _Call) -> None:
        """Retry the call, with exponential back-off and full jitter."""
        self._retried += 1
        call.failures += 1
        pause_s = self._random.uniform(0.0, min(_LONGEST_PAUSE_S, 2.0 ** min(call.failures, 10)))
        if call.reservation is not None:
            self._limiter.push_renewal(call, call.reservation, self._now + pause_s)
            self._let_through()

    def _end(self, call: _Call) -> None:
        if call.reservation is not None:
            self._limiter.release(call.reservation, self._now)
        self._answered += 1
        self._left -= 1
        if self._limiter.in_flight >= self._limits.in_flight - 1:
            self._let_through()

    # ---------------------------------------------------------------- limits and figures

    def _change(self, rpm: float, tpm: float) -> None:
        self._limits = _limits(rpm, tpm)
        self._provider.change(rpm, tpm, self._now)
        self._limiter.change(self._limits, self._now)
        self._let_through()
        self._span.waiting = set()  # the span would mix two rates

    def _end_span(self) -> None:
        scopes = self._limiter.snapshot(self._now).scopes
        waiting = {name for scope in scopes for name in scope.waiting if name != INTERACTIVE}
        span = self._span
        is_outage = _OUTAGE[0] < self._now < _OUTAGE[1] + 2 * _SPAN_S
        if len(span.waiting & waiting) == _TENANTS and not is_outage:
            rpm, tpm = (rate.amount for rate in self._limits.rates)
            minutes = _SPAN_S / 60.0
            self._used.append(max(span.calls / rpm, span.tokens / tpm) / minutes)
            for name in waiting:
                self._got[name] = self._got.get(name, 0) + span.served.get(name, 0)
        self._span = _Span(waiting)
        self._at(self._now + _SPAN_S, self._end_span)


def _limits(rpm: float, tpm: float) -> Limits:
    return Limits(
        rates=(Rate("requests", rpm), Rate("tokens", tpm)),
        in_flight=10_000,
        lanes={INTERACTIVE: Lane(priority=1_000)},
    )


def _arrivals(requests: int, random: Random) -> Iterator[_Call]:
    """Return the calls by arrival: tenants in three bursts, interactive ones all day."""

    def call(lane: str, came: float) -> _Call:
        return _Call(lane, float(random.randrange(100, 800)), came, random.uniform(*_CALL_S))

    interactive = int(requests * _SHARE_OF_INTERACTIVE)
    times = [(random.uniform(0.0, _DAY_S), INTERACTIVE) for _ in range(interactive)]
    for number in range(requests - interactive):
        start = _JOBS_AT[number % len(_JOBS_AT)]
        tenant = f"tenant {number // len(_JOBS_AT) % _TENANTS}"
        times.append((start + random.uniform(0.0, _JOB_S), tenant))
    times.sort()
    return (call(lane, came) for came, lane in times)
