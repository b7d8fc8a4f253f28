"""Simulate a day of 100 million calls by 200 workers at one limit, on the virtual clock.

The store's own core, `SharedLimits`, answers every question; what a worker asks is a simple model
of the process side: it leases what waits and what will come in the next 0.2 s, and asks again just
before that is used up. The model works on leases, not on single calls: between two questions a
worker has used what its leases and its calls allow.

A day has so many questions that each five minutes are represented by six seconds of them, the last
five of which count for all. The calls that wait go on from one to the next.
"""

import heapq
import itertools
from math import cos, exp, inf, log, pi, sqrt
from random import Random
from typing import final

import attrs

from callsheet.actors.rate_limit.shared import (
    Correction,
    LaneDemand,
    LeaseAsk,
    LimitAsk,
    LimitGrant,
    SharedLimits,
    SharedRate,
)
from gateway_bench.fairness import jains_index

__all__ = ["LIMIT_PER_S", "WORKERS", "DayFigures", "simulate"]

WORKERS = 200
LIMIT_PER_S = 100_000 / 60.0
_CALLS = 100e6
_DAY_S = 86_400.0
_TENANTS = 16
_LANES_EACH = 3  # of each worker
_SPAN_S, _PART_S, _WARM_S = 300.0, 6.0, 1.0
_TRIP_S = 0.001
_AHEAD_S = 0.2  # for which calls are predicted
_EARLY_S = 0.004  # by which a worker asks before its leases are used up
_BEAT_S = 3.0
_OUTAGE = (39_600.0, 40_200.0)  # ten minutes from 11:00 on
_DEATHS_EVERY = 6  # spans: then a worker dies, and another one starts
_LIMIT, _SCOPE = "requests/60", ""
_KEPT_ASKS = 4_000
_MANY = 20.0
UNUSED_S = 0.25


@attrs.frozen
class DayFigures:
    """What came of the day.

    Args:
        calls: calls that were sent.
        asks: questions to the server.
        asks_per_s: questions a second, of each span.
        used: the share of the limit that was used in spans in which calls waited at every worker.
        used_away: the same while the server was away.
        most_over: by how much the calls of any stretch of a part exceeded depth + rate x time, as
            seconds of the limit.
        fairness: Jain's index of the tenants, which all have the same weight, in these spans.
        deaths: workers that died.
        sample: questions of the busiest span.
    """

    calls: float
    asks: float
    asks_per_s: list[float]
    used: list[float]
    used_away: list[float]
    most_over: float
    fairness: float
    deaths: int
    sample: list[LimitAsk]


def simulate(seed: int = 0) -> DayFigures:
    """Simulate the day.

    Args:
        seed: of the workers, their calls and their deaths.
    """
    return _Day(seed).run()


@attrs.define(eq=False)
class _Curve:
    """A lease: `min(amount, at_once + rate t)` may be used of it, t seconds after `since`."""

    amount: float
    at_once: float
    rate: float
    since: float
    used: float = 0.0

    def allowed(self, now: float) -> float:
        return max(0.0, min(self.amount, self.at_once + self.rate * (now - self.since)) - self.used)

    @property
    def ends(self) -> float:
        """When all of it is allowed."""
        return self.since + max(0.0, self.amount - self.at_once) / self.rate


@attrs.define(eq=False)
class _Worker:
    """A worker: its calls that wait, by lane, and what it has leased."""

    name: str
    lanes: tuple[str, ...]
    part: float  # of all calls
    waiting: list[float]
    curves: list[_Curve] = attrs.field(factory=list[_Curve])
    weights: list[float] = attrs.field(factory=list[float])
    at: float = 0.0  # until when its calls have come
    number: int = 0
    epoch: str = ""
    returned: float = 0.0  # what it has leased and not used in time

    @property
    def left(self) -> float:
        return sum(curve.amount - curve.used for curve in self.curves)


@final
class _Day:
    """The simulation: a heap of the times at which workers act."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)  # noqa: S311  # no secrets
        self._store = SharedLimits()
        self._names = itertools.count()
        self._workers = [self._worker(number) for number in range(WORKERS)]
        total = sum(worker.part for worker in self._workers)
        for worker in self._workers:
            worker.part /= total
        self._served: dict[str, float] = {}
        self._due = [(self._random.uniform(0.0, _AHEAD_S), at) for at in range(WORKERS)]
        heapq.heapify(self._due)
        self._sent: list[float] = []  # when calls were sent in this part
        self._asks = self._deaths = 0
        self._is_away = False
        self._sample: list[LimitAsk] = []
        self._per_s = self._start = 0.0

    def run(self) -> DayFigures:
        calls = asks = 0.0
        per_s, used, away = list[float](), list[float](), list[float]()
        got: dict[str, float] = {}
        over, most, busiest = 0.0, 0.0, list[LimitAsk]()
        for number in range(round(_DAY_S / _SPAN_S)):
            at = number * _SPAN_S
            self._per_s = _CALLS / _DAY_S * (1.0 + 0.75 * cos(2 * pi * (at / _DAY_S - 0.58)))
            self._is_away = _OUTAGE[0] <= at < _OUTAGE[1]
            was_saturated = self._is_saturated
            served = self._part(number * _PART_S, dies=number % _DEATHS_EVERY == 0)
            is_saturated = was_saturated and self._is_saturated
            rate = served / (_PART_S - _WARM_S)
            calls += rate * _SPAN_S
            asks += self._asks / (_PART_S - _WARM_S) * _SPAN_S
            per_s.append(self._asks / (_PART_S - _WARM_S))
            over = max(over, self._most_over())
            if is_saturated and self._is_away:
                away.append(rate / LIMIT_PER_S)
            elif is_saturated:
                used.append(rate / LIMIT_PER_S)
                for lane, count in self._served.items():
                    got[lane] = got.get(lane, 0.0) + count
            if per_s[-1] > most:
                most, busiest = per_s[-1], self._sample
            self._go_on(rate)
        return DayFigures(
            calls,
            asks,
            per_s,
            used,
            away,
            over,
            jains_index([*got.values()]),
            self._deaths,
            busiest,
        )

    @property
    def _is_saturated(self) -> bool:
        """Whether every worker has calls that wait for a second."""
        return min(sum(worker.waiting) for worker in self._workers) > LIMIT_PER_S / WORKERS

    @property
    def _waiting(self) -> float:
        return sum(sum(worker.waiting) for worker in self._workers)

    def _worker(self, number: int) -> _Worker:
        lanes = tuple(f"tenant {(number + 5 * step) % _TENANTS}" for step in range(_LANES_EACH))
        part = self._random.uniform(0.5, 1.5)
        return _Worker(f"worker-{next(self._names)}", lanes, part, [0.0] * _LANES_EACH)

    # ---------------------------------------------------------------- a part

    def _part(self, start: float, *, dies: bool) -> float:
        """Simulate the part of a span, and return how many calls were sent in what counts of it."""
        self._start, end = start, start + _PART_S
        self._asks, self._served, self._sample = 0, {}, []
        self._sent = []
        for worker in self._workers:
            if self._is_away != bool(worker.curves and worker.curves[0].amount == inf):
                own = _Curve(inf, 0.0, LIMIT_PER_S / WORKERS, start)
                worker.curves = [own] if self._is_away else []
        if dies:
            self._deaths += 1
            dead = self._workers[self._random.randrange(WORKERS)]
            dead.name, dead.number, dead.epoch = f"worker-{next(self._names)}", 0, ""
            dead.curves, dead.returned = [], 0.0
        due = self._due
        while due[0][0] < end:
            now, number = due[0]
            heapq.heapreplace(due, (self._act(self._workers[number], now), number))
        for worker in self._workers:
            self._advance(worker, end)
        return float(sum(at >= start + _WARM_S for at in self._sent))

    def _act(self, worker: _Worker, now: float) -> float:
        """Let a worker send, and ask if it needs more; return when it acts again."""
        self._advance(worker, now)
        per_s = self._per_s * worker.part
        waiting = sum(worker.waiting)
        if self._is_away:
            return now + _AHEAD_S
        left = worker.left
        needed = waiting + (1.0 if waiting < 1.0 else per_s * _AHEAD_S)
        if waiting >= 1.0 and needed - left >= 1.0:
            self._ask(worker, needed - left, now)
            self._advance(worker, now + _TRIP_S)
        if sum(worker.waiting) >= 1.0:
            ends = max((curve.ends for curve in worker.curves), default=now + _AHEAD_S)
            return max(now + 2 * _TRIP_S, ends - _EARLY_S)
        return now + min(_BEAT_S, -log(1.0 - self._random.random()) / max(per_s, 1e-9))

    def _advance(self, worker: _Worker, now: float) -> None:
        """Let the calls of a worker come until now, and send those that it may send."""
        passed = now - worker.at
        if passed <= 0.0:
            return
        came = self._poisson(self._per_s * worker.part * passed)
        for number in range(came):
            worker.waiting[(number + int(now * 1e3)) % _LANES_EACH] += 1.0
        was_waiting = sum(worker.waiting) - came >= 1.0
        can = int(min(sum(worker.waiting), sum(c.allowed(now) for c in worker.curves)) + 1e-9)
        for _ in range(can):
            allowed_at, rest = -inf, 1.0
            for curve in worker.curves:  # the last part of a call decides when it can go
                part = min(rest, curve.allowed(now))
                if part > 0.0:
                    curve.used += part
                    rest -= part
                    at = curve.since + (curve.used - curve.at_once) / curve.rate
                    allowed_at = max(allowed_at, at)
            self._send(worker, max(worker.at, min(allowed_at, now)) if was_waiting else now)
        late = [curve for curve in worker.curves if curve.ends + UNUSED_S <= now]
        worker.returned += sum(curve.amount - curve.used for curve in late)
        worker.curves = [c for c in worker.curves if c not in late and c.used < c.amount - 1e-9]
        worker.at = now

    def _send(self, worker: _Worker, at: float) -> None:
        """Send a call of one of the lanes, by their weights."""
        weights = worker.weights or worker.waiting
        lane = max(
            (number for number in range(_LANES_EACH) if worker.waiting[number] >= 1.0),
            key=lambda number: weights[number] * self._random.random(),
        )
        worker.waiting[lane] -= 1.0
        self._sent.append(at)
        if at >= self._start + _WARM_S:
            name = worker.lanes[lane]
            self._served[name] = self._served.get(name, 0.0) + 1.0

    def _ask(self, worker: _Worker, amount: float, now: float) -> None:
        worker.number += 1
        back, worker.returned = worker.returned, 0.0
        ask = LimitAsk(
            worker=worker.name,
            number=worker.number,
            epoch=worker.epoch,
            rates=(SharedRate(_LIMIT, LIMIT_PER_S, LIMIT_PER_S),),
            leases=(LeaseAsk(_SCOPE, {_LIMIT: amount}, {_LIMIT: 1.0}),),
            corrections=(Correction(_LIMIT, -back, UNUSED_S),) if back > 0.0 else (),
            lanes=tuple(
                LaneDemand(_SCOPE, lane, 1.0, waiting / LIMIT_PER_S)
                for lane, waiting in zip(worker.lanes, worker.waiting, strict=True)
                if waiting
            ),
        )
        grant: LimitGrant = self._store.ask(ask, now + _TRIP_S / 2.0, "day")
        if now >= self._start + _WARM_S:
            self._asks += 1
            if len(self._sample) < _KEPT_ASKS:
                self._sample.append(ask)
        worker.epoch = grant.epoch
        worker.weights = [grant.weights.get((_SCOPE, lane), 0.01) for lane in worker.lanes]
        worker.curves += [
            _Curve(one.amount, one.at_once, one.rate, now + _TRIP_S) for one in grant.leases
        ]

    # ---------------------------------------------------------------- between parts

    def _go_on(self, rate: float) -> None:
        """Let the rest of the span pass: calls come as before, and are sent as in the part."""
        rest_s = _SPAN_S - _PART_S
        before = self._waiting
        after = max(0.0, before + (self._per_s - rate) * rest_s)
        if after < LIMIT_PER_S:  # none waits for long
            after = 0.0
        came = self._per_s * rest_s
        scale = after / (before + came) if before + came else 0.0
        for worker in self._workers:
            worker.waiting = [
                float(round((waiting + came * worker.part / _LANES_EACH) * scale))
                for waiting in worker.waiting
            ]

    def _most_over(self) -> float:
        """Return how deep calls would have put an independent bucket of the limit into debt."""
        level, debt, last = LIMIT_PER_S, 0.0, self._start
        for at in sorted(self._sent):
            level = min(LIMIT_PER_S, level + (at - last) * LIMIT_PER_S) - 1.0
            debt, last = max(debt, -level), at
        return debt / LIMIT_PER_S

    def _poisson(self, mean: float) -> int:
        if mean > _MANY:
            return max(0, round(self._random.gauss(mean, sqrt(mean))))
        count, product, bound = 0, self._random.random(), exp(-mean)
        while product > bound:
            count += 1
            product *= self._random.random()
        return count
