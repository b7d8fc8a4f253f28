"""Limits that are reported or found by trying, and that other clients use, too."""

import heapq
import itertools
from math import inf
from random import Random

import attrs
import pytest

from callsheet.actors import Limits
from callsheet.actors.permit import Report
from callsheet.actors.rate_limit.core import Limiter
from callsheet.actors.rate_limit.finder import Finder
from callsheet.actors.rate_limit.learned import Learned
from callsheet.actors.rate_limit.limits import Cost, PermitRequest
from callsheet.simulator.limits import MinuteBucket as ProviderBucket


@attrs.define(eq=False)
class Waiter:
    number: int
    done: bool = False
    reservation: object = None


class World:
    """A provider with a limit of requests a minute, and limiters that call it."""

    def __init__(self, *, rpm=600, burst_s=1.0, way_s=0.02, answer_s=0.1, seed=0, tells=True):
        self.bucket = ProviderBucket(rpm, burst_s)
        self.way_s, self.answer_s, self.tells = way_s, answer_s, tells
        self.random = Random(seed)
        self.events, self.order = [], itertools.count()
        self.now = 0.0
        self.admitted, self.refused = [], 0

    def at(self, when, happen):
        heapq.heappush(self.events, (when, next(self.order), happen))

    def join(self, limits, count, start=0.0):
        Client(self, Limiter(limits, start), count, start)

    def run(self, until=inf):
        while self.events and self.events[0][0] <= until:
            self.now, _, happen = heapq.heappop(self.events)
            happen()


class Client:
    """Send all calls at once, and send refused ones again."""

    def __init__(self, world, limiter, count, start):
        self.world, self.limiter = world, limiter
        self.wake_at = inf
        world.at(start, lambda: self.begin(count))

    def begin(self, count):
        for number in range(count):
            self.limiter.push(Waiter(number), PermitRequest("m", Cost()), self.world.now)
        self.go()

    def go(self):
        world = self.world
        while (grant := self.limiter.pop(world.now)) is not None:
            grant.waiting.reservation = grant.reservation
            delay = world.random.uniform(0.0, world.way_s)
            world.at(world.now + delay, lambda waiter=grant.waiting: self.arrive(waiter))
        at = self.limiter.next_at(world.now)
        if at < self.wake_at:
            self.wake_at = at
            world.at(at, self.wake)

    def wake(self):
        if self.world.now >= self.wake_at:
            self.wake_at = inf
        self.go()

    def arrive(self, waiter):
        world = self.world
        wait = world.bucket.wait(1, world.now)
        if not wait:
            world.bucket.debit(1, world.now)
            world.admitted.append(world.now)
            report = self.report()
            world.at(world.now + world.answer_s, lambda: self.end(waiter, report))
        else:
            world.refused += 1
            report = self.report()
            world.at(world.now + world.way_s, lambda: self.refuse(waiter, wait, report))

    def report(self):
        limit, used = self.world.bucket.limit, self.world.bucket.used(self.world.now)
        reset_s = int(1000 * used * 60.0 / limit) / 1000
        return Report("requests", limit, limit - int(limit - used), 60.0, reset_s)

    def end(self, waiter, report):
        world, limiter = self.world, self.limiter
        if world.tells:
            limiter.report(waiter.reservation, [report], world.now)
        limiter.release(waiter.reservation, world.now)
        limiter.succeeded(waiter.reservation, world.answer_s, world.now)
        self.go()

    def refuse(self, waiter, wait, report):
        world, limiter = self.world, self.limiter
        told = report if world.tells else None
        limiter.refused(waiter.reservation, "too_fast", told, pause_s=wait, now=world.now)
        limiter.push_renewal(waiter, waiter.reservation, world.now + wait)
        self.go()


def used(world, rpm=600):
    return (len(world.admitted) - 1) / (world.admitted[-1] - world.admitted[0]) * 60 / rpm


seeds = pytest.mark.parametrize(
    "seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 5))]
)


@seeds
def test_a_reported_limit_is_kept_and_used(seed):
    world = World(seed=seed)
    world.join(Limits(find=True, in_flight=1000), 600)
    world.run()
    assert len(world.admitted) == 600
    assert world.refused == 0
    assert used(world) >= 0.97


@seeds
@pytest.mark.parametrize("processes", [2, 3])
def test_processes_share_a_limit_through_reported_values(seed, processes):
    world = World(seed=seed)
    for number in range(processes):
        world.join(Limits(find=True, in_flight=1000), 900 // processes, start=0.1 * number)
    world.run()
    assert len(world.admitted) == 900
    assert used(world) >= 0.93
    assert world.refused <= 0.05 * (processes - 1) * 900


def test_the_others_rate_is_found_and_forgotten_when_they_stop():
    world = World()
    world.join(Limits(find=True, in_flight=1000), 900)
    other = Client(world, Limiter(Limits(rpm=300, burst_s=0.0), 0.0), 0, 0.0)
    for at in range(150):  # five a second, for half a minute
        world.at(at / 5, lambda: other.begin(1))
    world.run(until=25.0)
    before = len(world.admitted)
    world.run(until=30.0)
    assert len(world.admitted) - before == pytest.approx(50, abs=8)
    world.run()
    assert used(world) >= 0.9


@pytest.mark.parametrize("seed", range(3))
def test_an_unreported_limit_is_found_with_few_refusals(seed):
    world = World(seed=seed, tells=False)
    world.join(Limits(find=True, learn=False, in_flight=1000), 600)
    world.run()
    assert len(world.admitted) == 600
    assert world.refused <= 9
    assert used(world) >= 0.6


def test_a_crowd_that_was_refused_does_not_come_back_as_a_crowd():
    world = World(tells=False)
    world.join(Limits(in_flight=1000), 300)
    world.run()
    assert len(world.admitted) == 300
    assert world.refused < 450
    assert used(world) >= 0.6


def test_reports_that_come_late_are_passed_over():
    learned = Learned(Report("requests", 600, 1, 60.0), 1.0, 0.0, 0.0, 0.0)
    learned.report(Report("requests", 600, 5, 60.0), 0.0, 10.0, 10.1)
    level = learned.used(10.1)
    learned.report(Report("requests", 600, 500, 60.0), 0.0, 9.0, 10.1)
    assert learned.used(10.1) == level


def test_a_provider_that_bears_more_than_a_seconds_worth_is_not_mistrusted():
    learned = Learned(Report("requests", 600, 0, 60.0), 1.0, 0.0, 0.0, 0.0)
    assert learned.depth == 9
    learned.report(Report("requests", 600, 100, 60.0), 0.0, 1.0, 1.0)
    assert learned.depth > 70
    assert learned.ready_at(1, 1.0) <= 4.0


def test_a_refusal_tells_how_much_may_be_missing():
    learned = Learned(Report("requests", 600, 0, 60.0), 1.0, 0.0, 0.0, 0.0)
    learned.report(Report("requests", 600, 4, 60.0), 0.0, 1.0, 1.0, resumes_at=2.0)
    assert learned.depth <= 3
    assert learned.ready_at(1, 1.0) > 2.0, "and not all at once when the pause is over"


# ------------------------------------------------------------------ found by trying


def test_a_few_refusals_among_many_calls_are_an_accident():
    finder = Finder(0.0)
    for number in range(100):
        finder.send(number / 100)
    finder.refused("too_fast", 0.5, 10, 1.0)
    finder.refused("too_fast", 0.6, 10, 1.0)
    finder.decide(2.0)
    assert finder.rate == inf


def test_the_rate_continues_at_what_the_provider_accepted():
    finder = Finder(0.0)
    for _ in range(100):
        finder.send(0.0)
    for _ in range(90):
        finder.refused("too_fast", 0.0, 100, 0.1)
    finder.decide(2.0)
    assert finder.rate == pytest.approx(9.0)


def test_too_many_lowers_the_number_in_flight_and_not_the_rate():
    finder = Finder(0.0)
    finder.refused("too_many", 0.0, 40, 0.1)
    finder.refused("too_many", 0.0, 40, 0.2)
    assert (finder.rate, finder.in_flight, finder.is_undecided) == (inf, 28.0, False)
    for _ in range(100):
        finder.succeeded(1.0, 5)
    assert finder.in_flight == 28.0, "it held no call back"
    for _ in range(60):
        finder.succeeded(1.0, int(finder.in_flight))
    assert 29 < finder.in_flight < 31


@pytest.mark.parametrize("places", [8, 20, 100])
def test_as_many_are_under_way_as_a_provider_works_on_at_a_time(places):
    """Further calls would only wait at the provider: responses would take longer."""
    finder, random, found = Finder(0.0, starts_slowly=True), Random(0), []
    for _ in range(5_000):
        under_way = int(finder.in_flight)
        seconds = random.uniform(0.5, 1.5) * max(1.0, under_way / places)
        finder.succeeded(seconds, under_way)
        found.append(under_way)
    late = found[len(found) // 2 :]
    assert 0.5 * places <= sum(late) / len(late) <= 3.0 * places
    assert max(late) <= 5 * max(places, 10)


def test_what_was_found_is_forgotten_after_a_while():
    finder = Finder(0.0)
    for _ in range(10):
        finder.send(0.0)
        finder.refused("too_fast", 0.0, 10, 0.0)
    finder.decide(1.0)
    assert finder.rate < inf
    finder.send(100.0)
    assert finder.rate == inf
