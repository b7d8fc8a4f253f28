"""A provider with one limit, in every spelling of its headers, and a limiter that calls it."""

import heapq
import itertools
import math
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from math import inf

import attrs

from callsheet.actors.rate_limit.core import Limiter
from callsheet.actors.rate_limit.limits import Cost, PermitRequest
from callsheet.actors.rate_limit.reports import read_reports

_START = datetime(2026, 11, 25, 12, 0, 0, 370_000, tzinfo=UTC)


@attrs.define
class RefillingLimit:
    """A bucket that refills continuously."""

    limit: int
    period_s: float
    full_at: float = 0.0

    def used(self, now):
        return max(0.0, self.full_at - now) * self.limit / self.period_s

    def reset_s(self, now):
        return max(0.0, self.full_at - now)

    def wait_s(self, now):
        wait = (self.used(now) + 1 - self.limit) * self.period_s / self.limit
        return wait if wait > 1e-9 else 0.0

    def take(self, now):
        self.full_at = max(now, self.full_at) + self.period_s / self.limit


@attrs.define
class WindowLimit:
    """A counter that begins anew at the end of each window."""

    limit: int
    period_s: float
    offset_s: float = 0.0
    count: int = 0
    ends_at: float = 0.0

    def _turn(self, now):
        if now >= self.ends_at:
            number = math.floor((now - self.offset_s) / self.period_s) + 1
            self.ends_at, self.count = self.offset_s + number * self.period_s, 0

    def used(self, now):
        self._turn(now)
        return self.count

    def reset_s(self, now):
        self._turn(now)
        return self.ends_at - now

    def wait_s(self, now):
        self._turn(now)
        return self.ends_at - now if self.count >= self.limit else 0.0

    def take(self, now):
        self._turn(now)
        self.count += 1


def go(seconds):
    """Write a duration as Go does, in milliseconds."""
    rounded = int(seconds * 1000)
    if rounded < 1000:
        return f"{rounded}ms" if rounded else "0s"
    minutes, milliseconds = divmod(rounded, 60_000)
    text = f"{milliseconds / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{text}" if hours else f"{minutes}m{text}" if minutes else text


def _headers(start, reset):
    def spell(limit, left, seconds, now):
        name = f"{start}-{{}}" if "{}" not in start else start
        values = {"limit": limit, "remaining": left, "reset": reset(seconds, now)}
        return {name.format(field): str(value) for field, value in values.items()}

    return spell


def _at(seconds, now):
    return _START + timedelta(seconds=now + seconds)


SPELLINGS = {
    "openai": _headers("x-ratelimit-{}-requests", lambda seconds, _: go(seconds)),
    "azure": _headers("x-ratelimit-{}-requests", lambda seconds, _: math.ceil(seconds)),
    "fractions": _headers("x-ratelimit-{}-requests", lambda seconds, _: f"{seconds:.5f}"),
    "gateway": _headers("x-ratelimit-{}", lambda seconds, _: int(seconds)),
    "github": _headers(
        "x-ratelimit-{}", lambda seconds, now: math.ceil(_at(seconds, now).timestamp())
    ),
    "openrouter": _headers(
        "x-ratelimit-{}", lambda seconds, now: int(_at(seconds, now).timestamp() * 1000)
    ),
    "instants": _headers(
        "x-ratelimit-{}-requests",
        lambda seconds, now: _at(seconds, now).strftime("%Y-%m-%dT%H:%M:%SZ"),
    ),
    "dates": _headers(
        "x-ratelimit-{}", lambda seconds, now: format_datetime(_at(seconds, now), usegmt=True)
    ),
    "ietf": _headers("ratelimit-{}", lambda seconds, _: round(seconds)),
    "ietf list": lambda limit, left, seconds, _: {
        "ratelimit": f"limit={limit}, remaining={left}, reset={round(seconds)}"
    },
}


class SpelledProvider:
    """Send calls as fast as a limiter allows, to a provider that reports its limit.

    Attributes:
        admitted: the times at which the provider accepted a call.
        refused: number of calls that it refused.
        limiter: the limiter.
    """

    def __init__(
        self, limit, spelling, limits, *, answer_s=0.3, way_s=0.01, pauses=True, tells=True
    ):
        self.limit, self.spell = limit, SPELLINGS[spelling]
        self.limiter = Limiter(limits, 0.0)
        self.answer_s, self.way_s, self.pauses = answer_s, way_s, pauses
        self.tells = tells  # whether a refusal has the headers, too
        self.admitted, self.refused, self.now = [], 0, 0.0
        self.events, self.order, self.wake_at = [], itertools.count(), inf
        self.report_at = 0.0

    def at(self, when, happen, *arguments):
        heapq.heappush(self.events, (when, next(self.order), happen, arguments))

    def run(self, count, until):
        for number in range(count):
            self.limiter.push(_Waiter(number), PermitRequest("m", Cost()), self.now)
        self.go()
        while self.events and self.events[0][0] <= until and len(self.admitted) < count:
            self.now, _, happen, arguments = heapq.heappop(self.events)
            happen(*arguments)

    def go(self):
        while (grant := self.limiter.pop(self.now)) is not None:
            grant.waiting.reservation = grant.reservation
            self.at(self.now + self.way_s, self.arrive, grant.waiting)
        at = self.limiter.next_at(self.now)
        if at < self.wake_at:
            self.wake_at = at
            self.at(at, self.wake)

    def wake(self):
        if self.now >= self.wake_at:
            self.wake_at = inf
        self.go()

    def headers(self):
        now, limit = self.now, self.limit
        left = math.floor(limit.limit - limit.used(now) + 1e-9)
        spelled = self.spell(limit.limit, max(0, left), limit.reset_s(now), now)
        return spelled | {"date": format_datetime(_at(0.0, now), usegmt=True)}

    def arrive(self, waiter):
        wait = self.limit.wait_s(self.now)
        if wait:
            self.refused += 1
            self.at(self.now + self.way_s, self.refuse, waiter, wait, self.headers())
        else:
            self.limit.take(self.now)
            self.admitted.append(self.now)
            self.at(self.now + self.answer_s, self.end, waiter, self.headers())

    def end(self, waiter, headers):
        if self.now >= self.report_at:
            self.report_at = self.now + 0.05
            self.limiter.report(waiter.reservation, read_reports(headers), self.now)
        self.limiter.release(waiter.reservation, self.now)
        self.limiter.succeeded(waiter.reservation, self.answer_s, self.now)
        self.go()

    def refuse(self, waiter, wait, headers):
        reports = read_reports(headers) if self.tells else ()
        report = max(reports, key=lambda one: one.used / one.limit, default=None)
        pause = wait if self.pauses else min(wait, 1.0)
        self.limiter.refused(waiter.reservation, "too_fast", report, pause_s=pause, now=self.now)
        self.limiter.push_renewal(waiter, waiter.reservation, self.now + pause)
        self.go()

    @property
    def learned(self):
        (scope,) = self.limiter._scopes.by_name.values()
        return list(scope.learned.values())


@attrs.define(eq=False)
class _Waiter:
    number: int
    done: bool = False
    reservation: object = None
