"""Simulate a day of 100 million calls by 200 workers at one limit, on the virtual clock.

Each worker is a limiter with a lease keeper, as in its process, and the store is its own core,
`SharedLimits`: no code of the product is modelled, but for the network (a millisecond) and the
tasks around the cores. A day has so many calls that each quarter of an hour is represented by six
seconds, the last five of which count for all. The state of the store and of the workers goes on
from one to the next, and so do the calls that wait.
"""

import heapq
import itertools
from collections import deque
from functools import partial
from math import cos, inf, pi
from random import Random
from typing import cast, final

import attrs

from callsheet.actors.rate_limit.core import Limiter
from callsheet.actors.rate_limit.lane_queue import Waiting
from callsheet.actors.rate_limit.lease_keeper import LeaseKeeper
from callsheet.actors.rate_limit.leased_limits import LeasedLimits, MemberLimits
from callsheet.actors.rate_limit.limits import Cost, Limits, PermitRequest
from callsheet.actors.rate_limit.scope import Reservation
from callsheet.actors.rate_limit.shared import LimitAsk, LimitGrant, SharedLimits
from callsheet.actors.rate_limit.simulation import Grant
from gateway_bench.fairness import jains_index

__all__ = ["LIMIT_PER_S", "SPAN_S", "WORKERS", "DayFigures", "simulate"]

WORKERS = 200
LIMIT_PER_S = 100_000 / 60.0
SPAN_S = 900.0
_CALLS = 100e6
_DAY_S = 86_400.0
_TENANTS, _LANES_EACH = 16, 3  # of all workers, and of each
_PART_S, _WARM_S = 6.0, 1.0
_TRIP_S = 0.001
_SPREAD_S = 0.2  # over which workers come back after an outage
_CALL_S = 2.0
_IN_FLIGHT = 10_000
_QUEUED = 20  # calls of a lane that a limiter knows; further ones wait before it
_OUTAGE = (39_600.0, 41_400.0)  # half an hour from 11:00 on
_DEATHS_EVERY = 3  # spans: then a worker dies, and another one starts
_KEPT_ASKS = 4_000
_LIMITS = Limits(rpm=LIMIT_PER_S * 60.0, in_flight=_IN_FLIGHT)
_COST = Cost()


@attrs.frozen
class DayFigures:
    """What came of the day.

    Args:
        calls: calls that were sent.
        asks: questions to the server.
        asks_per_s: questions a second, of each span.
        used: the share of the limit that was used, of each span in which calls waited at every
            worker.
        used_away: the same while the server was away.
        most_over: by how much the calls of any part exceeded depth + rate x time, as seconds of the
            limit.
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
class _Call:
    """A call that waits in a lane."""

    lane: str
    done: bool = False  # none is given up


@final
class _Worker:
    """A worker: a limiter, its leases, and the calls that its limiter does not know yet.

    Args:
        name: its name, which no other one has.
        lanes: the lanes of its calls.
        part: its part of all calls.
        now: the current time.
    """

    def __init__(self, name: str, lanes: tuple[str, ...], part: float, now: float) -> None:
        self.lanes, self.part = lanes, part
        self.leased = LeasedLimits(name)
        self.limiter: Limiter[Waiting] = Limiter(_LIMITS, now, source=MemberLimits(self.leased))
        self.keeper = LeaseKeeper(self.leased, self.limiter, now)
        self.queued, self.rest = dict.fromkeys(lanes, 0), dict.fromkeys(lanes, 0)
        self.ends: deque[tuple[float, Reservation]] = deque()
        self.wakes = 0  # counts changes of its next wake-up, so that an earlier one is known

    @property
    def waiting(self) -> int:
        return self.limiter.waiting + sum(self.rest.values())

    def push(self, lane: str, now: float) -> None:
        """Let a call come."""
        if self.queued[lane] == _QUEUED:
            self.rest[lane] += 1
            return
        self.queued[lane] += 1
        self.limiter.push(_Call(lane), PermitRequest("model", _COST, lane), now)
        self.keeper.pushed()

    def let_wait(self, lane: str, calls: int, now: float) -> None:
        """Let so many calls of a lane wait, but no fewer than its limiter knows."""
        self.rest[lane] = 0
        while self.queued[lane] < min(calls, _QUEUED):
            self.push(lane, now)
        self.rest[lane] = max(0, calls - self.queued[lane])

    def sent(self, lane: str, now: float) -> None:
        """Push the next call of a lane, of which one was sent."""
        self.queued[lane] -= 1
        if self.rest[lane]:
            self.rest[lane] -= 1
            self.push(lane, now)


@final
class _Day:
    """The simulation: a heap of events."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)  # noqa: S311  # no secrets
        self._store = SharedLimits()
        self._names, self._order = itertools.count(), itertools.count()
        self._events: list[tuple[float, int, partial[None]]] = []
        self._now = self._start = 0.0
        self._per_s = _CALLS / _DAY_S
        self._is_away = False
        parts = [self._random.uniform(0.5, 1.5) for _ in range(WORKERS)]
        self._workers = [self._worker(part / sum(parts)) for part in parts]
        self._served: dict[str, int] = {}
        self._sent: list[float] = []  # when calls were sent in this part
        self._asks = self._deaths = 0
        self._sample: list[LimitAsk] = []

    def run(self) -> DayFigures:
        for number in range(WORKERS):
            self._expect(number)
        calls = asks = over = most = 0.0
        per_s, used, away = list[float](), list[float](), list[float]()
        got: dict[str, int] = {}
        busiest = list[LimitAsk]()
        for number in range(round(_DAY_S / SPAN_S)):
            at = number * SPAN_S
            self._per_s = _CALLS / _DAY_S * (1.0 + 0.75 * cos(2 * pi * (at / _DAY_S - 0.58)))
            self._change(is_away=_OUTAGE[0] <= at < _OUTAGE[1], dies=not number % _DEATHS_EVERY)
            was_saturated = self._is_saturated
            rate = self._part(number * _PART_S)
            is_saturated = was_saturated and self._is_saturated
            calls += rate * SPAN_S
            per_s.append(self._asks / (_PART_S - _WARM_S))
            asks += per_s[-1] * SPAN_S
            over = max(over, self._most_over())
            if is_saturated and self._is_away:
                away.append(rate / LIMIT_PER_S)
            elif is_saturated:
                used.append(rate / LIMIT_PER_S)
                for lane, count in self._served.items():
                    got[lane] = got.get(lane, 0) + count
            if per_s[-1] > most:
                most, busiest = per_s[-1], self._sample
            self._go_on(rate)
        fairness = jains_index([*got.values()])
        return DayFigures(calls, asks, per_s, used, away, over, fairness, self._deaths, busiest)

    def _worker(self, part: float) -> _Worker:
        number = next(self._names)
        lanes = tuple(f"tenant {(number + 5 * step) % _TENANTS}" for step in range(_LANES_EACH))
        return _Worker(f"worker-{number}", lanes, part, self._now)

    @property
    def _is_saturated(self) -> bool:
        """Whether every worker has calls that wait for a second."""
        return min(worker.waiting for worker in self._workers) > LIMIT_PER_S / WORKERS

    # ---------------------------------------------------------------- a part

    def _part(self, start: float) -> float:
        """Simulate the part of a span, and return the calls a second in what counts of it."""
        self._start, self._asks, self._served = start, 0, {}
        self._sample, self._sent = [], []
        while self._events[0][0] < start + _PART_S:
            self._now, _, happen = heapq.heappop(self._events)
            happen()
        self._now = start + _PART_S
        return sum(at >= start + _WARM_S for at in self._sent) / (_PART_S - _WARM_S)

    def _at(self, when: float, happen: "partial[None]") -> None:
        heapq.heappush(self._events, (when, next(self._order), happen))

    def _expect(self, number: int) -> None:
        """Wait for the next call of the worker at this place."""
        per_s = self._per_s * self._workers[number].part
        self._at(self._now + self._random.expovariate(per_s), partial(self._come, number))

    def _come(self, number: int) -> None:
        worker = self._workers[number]
        lane = worker.lanes[self._random.randrange(_LANES_EACH)]
        worker.push(lane, self._now)
        if not worker.rest[lane]:
            self._act(worker)
        self._expect(number)

    def _wake(self, worker: _Worker, wakes: int) -> None:
        if wakes == worker.wakes:
            self._act(worker)

    def _act(self, worker: _Worker) -> None:
        """Let a worker send what it may, and ask what is due, as its tasks do."""
        now, limiter = self._now, worker.limiter
        while worker.ends and worker.ends[0][0] <= now:
            limiter.release(worker.ends.popleft()[1], now)
        while isinstance(found := limiter.advance(now), Grant):
            worker.ends.append((now + _CALL_S, found.reservation))
            self._sent.append(now)
            lane = cast("_Call", found.waiting).lane
            worker.sent(lane, now)
            if now >= self._start + _WARM_S:
                self._served[lane] = self._served.get(lane, 0) + 1
        wake_at = found if worker.limiter.waiting else inf
        if not self._is_away and worker.leased.asked is None:
            due_at = worker.keeper.due_at(now)
            ask = worker.keeper.ask(now) if due_at <= now else None
            if ask is not None:
                self._ask(worker, ask)
            else:
                wake_at = min(wake_at, due_at if due_at > now else worker.keeper.due_at(now))
        if wake_at < inf:
            worker.wakes += 1
            self._at(max(now, wake_at), partial(self._wake, worker, worker.wakes))

    def _ask(self, worker: _Worker, ask: LimitAsk) -> None:
        if self._now >= self._start + _WARM_S:
            self._asks += 1
            if len(self._sample) < _KEPT_ASKS:
                self._sample.append(ask)
        grant = self._store.ask(ask, self._now + _TRIP_S / 2.0, "day")
        self._at(self._now + _TRIP_S, partial(self._granted, worker, grant))

    def _granted(self, worker: _Worker, grant: LimitGrant) -> None:
        worker.keeper.granted(grant, self._now)
        self._act(worker)

    # ---------------------------------------------------------------- between parts

    def _change(self, *, is_away: bool, dies: bool) -> None:
        """Let the server go or come back, and a worker die."""
        if is_away != self._is_away:
            self._is_away = is_away
            for worker in self._workers:
                worker.leased.is_away = is_away
                if is_away:
                    worker.leased.asked = None
                    worker.keeper.divide(self._random.random(), self._now)
                back_s = 0.0 if is_away else self._random.uniform(0.0, _SPREAD_S)
                worker.wakes += 1
                self._at(self._now + back_s, partial(self._wake, worker, worker.wakes))
        if dies and not is_away:
            self._deaths += 1
            number = self._random.randrange(WORKERS)
            dead = self._workers[number]
            dead.wakes += 1  # what it would do next does not happen
            self._workers[number] = self._worker(dead.part)
            for lane in self._workers[number].lanes:
                waiting = dead.waiting // _LANES_EACH
                self._workers[number].let_wait(lane, waiting, self._now)

    def _go_on(self, rate: float) -> None:
        """Let the rest of the span pass: calls come as before, and are sent as in the part."""
        rest_s = SPAN_S - _PART_S
        before = sum(worker.waiting for worker in self._workers)
        came = self._per_s * rest_s
        after = max(0.0, before + came - rate * rest_s)
        scale = after / (before + came) if after > LIMIT_PER_S else 0.0  # fewer wait for no one
        for worker in self._workers:
            wanted = scale * (worker.waiting + came * worker.part) / _LANES_EACH
            for lane in worker.lanes:
                worker.let_wait(lane, round(wanted), self._now)

    def _most_over(self) -> float:
        """Return how deep the calls put an independent bucket of the limit into debt."""
        level, debt, last = LIMIT_PER_S, 0.0, self._start
        for at in sorted(self._sent):
            level = min(LIMIT_PER_S, level + (at - last) * LIMIT_PER_S) - 1.0
            debt, last = max(debt, -level), at
        return debt / LIMIT_PER_S
