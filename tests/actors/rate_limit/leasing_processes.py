"""Processes that share limits, a store and a provider, on one simulated clock."""

import heapq
import itertools
from collections import Counter
from math import inf
from random import Random

from callsheet.actors.rate_limit.core import Limiter
from callsheet.actors.rate_limit.lease_keeper import LeaseKeeper
from callsheet.actors.rate_limit.leased_limits import LeasedLimits, MemberLimits
from callsheet.actors.rate_limit.limits import Cost, PermitRequest
from callsheet.actors.rate_limit.shared import SharedLimits
from callsheet.actors.rate_limit.simulation import Grant
from callsheet.actors.responses import Usage


class ProviderLimit:
    """A token bucket of the provider's, which refuses what it does not hold."""

    def __init__(self, rate, depth):
        self.rate, self.depth = rate, depth
        self.level, self.at = depth, 0.0

    @classmethod
    def of(cls, limit):
        """One as deep as the limit says, and as much deeper as exchanges differ in their time."""
        rate = limit.amount / limit.per_s
        late = max(1.0, 0.002 * rate)
        return cls(rate, max(2.0, late + min(limit.amount, rate * limit.burst_s)))

    def allows(self, amount, now):
        self.level = min(self.depth, self.level + self.rate * (now - self.at))
        self.at = now
        return self.level >= min(amount, self.depth - 2.0 - 0.002 * self.rate) - 1e-6

    def take(self, amount):
        self.level -= amount

    def give_back(self, amount):
        self.level = min(self.depth, self.level + amount)


class SentCall:
    """A call of one process, from its arrival to its end."""

    def __init__(self, process, cost, lane, at, actual):
        self.process, self.cost, self.lane, self.at, self.actual = process, cost, lane, at, actual
        self.sent_at = None
        self.done = False


class LeasingProcess:
    """A limiter with its keeper, whose exchanges take time."""

    def __init__(self, world, name, limits):
        self.world, self.name, self.limits = world, name, limits
        self.random = Random(name)
        self.leased = LeasedLimits(name)
        self.is_dead = False
        self.asking = 0
        self.trips = 0
        self.sent = []
        self.begin()

    def begin(self):
        now = self.world.now
        self.limiter = Limiter(self.limits, now, source=MemberLimits(self.leased))
        self.keeper = LeaseKeeper(self.leased, self.limiter, now)
        self.wake_at = inf
        self.asking += 1  # what the last incarnation asked for is not heard
        self.is_asking = False
        self.check_at = inf
        self.check()

    def push(self, cost=None, lane="", actual=None, model="m"):
        call = SentCall(self, cost or Cost(), lane, self.world.now, actual)
        request = call.request = PermitRequest(model, call.cost, lane)
        reservation = self.limiter.try_admit(request, self.world.now)
        if reservation is not None:
            self.send(call, reservation)
        else:
            self.limiter.push(call, request, self.world.now)
            self.keeper.pushed()
            self.advance()
        return call

    def advance(self):
        if self.is_dead:
            return
        while isinstance(found := self.limiter.advance(self.world.now), Grant):
            self.send(found.waiting, found.reservation)
        if found < self.wake_at or self.wake_at <= self.world.now:
            self.wake_at = found
            if found < inf:
                self.world.at(found, self.wake)
        self.check()

    def wake(self):
        if self.wake_at <= self.world.now:
            self.wake_at = inf
            self.advance()

    def send(self, call, reservation):
        call.sent_at = self.world.now
        self.sent.append(call)
        self.world.send(self, call, reservation)

    def end(self, call, reservation):
        if self.is_dead:
            return
        call.done = True
        now = self.world.now
        self.limiter.release(reservation, now)
        if call.actual is not None:
            usage = Usage(call.actual, 0)
            self.limiter.settle(reservation, usage, None, now)
        self.advance()

    def refuse(self, call, reservation):
        pause_s = self.world.pause_s
        self.limiter.refused(reservation, "too_fast", None, pause_s=pause_s, now=self.world.now)
        self.keeper.refused(reservation, "too_fast", pause_s, self.world.now)
        self.limiter.release(reservation, self.world.now)
        self.advance()

    # ------------------------------------------------------------------ exchanges

    def check(self):
        if self.is_asking or self.is_dead:
            return
        now = self.world.now
        due_at = self.keeper.due_at(now)
        if due_at <= now:
            ask = self.keeper.ask(now)
            if ask is not None:
                self.is_asking = True
                self.world.ask(self, ask, self.asking)
                return
            due_at = self.keeper.due_at(now)
            assert due_at > now, "it would ask for nothing, again and again"
        if due_at < self.check_at or self.check_at <= now:
            self.check_at = due_at
            self.world.at(due_at, self.check_in_time)

    def check_in_time(self):
        if self.check_at <= self.world.now:
            self.check_at = inf
            self.check()

    def granted(self, grant, asking):
        if asking != self.asking or self.is_dead:
            return
        self.trips += 1
        self.is_asking = False
        self.keeper.granted(grant, self.world.now)
        self.advance()


class SharedWorld:
    """The clock, the store and the provider."""

    def __init__(self, limits, *, latency_s=0.001, call_s=0.05, seed=1):
        self.now = 0.0
        self.random = Random(seed)
        self.latency_s = latency_s
        self.call_s = call_s
        self.pause_s = 1.0
        self.store = SharedLimits()
        self.limits = limits
        self.processes = []
        self.provider = {rate.index: ProviderLimit.of(rate) for rate in limits.all_rates}
        self.refused = Counter()
        self.news = 0
        self.most_in_flight = self.in_flight = 0
        self._heap = []
        self._order = itertools.count()

    def process(self, name=None):
        found = LeasingProcess(self, name or f"w{len(self.processes)}", self.limits)
        self.processes.append(found)
        return found

    def at(self, when, do):
        heapq.heappush(self._heap, (when, next(self._order), do))

    def run(self, until):
        while self._heap and self._heap[0][0] <= until:
            when, _, do = heapq.heappop(self._heap)
            self.now = max(self.now, when)
            do()
        self.now = until

    def send(self, process, call, reservation):
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        amounts = {index: call.cost[index] for index in self.provider}
        if all(self.provider[index].allows(amount, self.now) for index, amount in amounts.items()):
            for index, amount in amounts.items():
                self.provider[index].take(amount)
            end_s = self.call_s * self.random.uniform(0.5, 1.5)
            self.at(self.now + end_s, lambda: self.end(process, call, reservation))
        else:
            self.refused[process.name] += 1
            self.at(self.now + 0.001, lambda: self.end(process, call, reservation, refused=True))

    def end(self, process, call, reservation, *, refused=False):
        self.in_flight -= 1
        if refused:
            process.refuse(call, reservation)
            return
        if call.actual is not None:
            for index in self.provider:
                if index:
                    self.provider[index].give_back(call.cost[index] - call.actual)
        process.end(call, reservation)

    def trip_s(self):
        return self.latency_s * self.random.uniform(0.6, 1.4)

    def ask(self, process, ask, asking):
        there_s, back_s = self.trip_s() / 2, self.trip_s() / 2

        def arrives():
            grant = self.store.ask(ask, self.now, "e1")
            self.at(self.now + back_s, lambda: process.granted(grant, asking))
            if self.store.news != self.news:
                self.news = self.store.news
                for other in self.processes:
                    self.at(self.now + back_s, lambda other=other: hear(other))

        def hear(other):
            other.keeper.heard(is_hint=True)
            other.check()

        self.at(self.now + there_s, arrives)


def keep_waiting(process, depth, *, lanes=("",), cost=None, actual=None, every_s=0.05):
    """Keep so many calls waiting in each lane of a process."""
    world = process.world

    def fill():
        if process.is_dead:
            return
        loads = process.limiter.scopes.of("m", world.now).queue.depths()
        for lane in lanes:
            for _ in range(depth - loads.get(lane, 0)):
                amount = cost(world.random) if cost else Cost()
                used = actual(world.random, amount) if actual else None
                process.push(amount, lane, used)
        world.at(world.now + every_s, fill)

    world.at(world.now + world.random.random() * 0.01, fill)


def saturated(limits, processes, seconds, *, depth=50, **more):
    """Keep calls waiting in each process; return the world after so many seconds."""
    calls = {name: more.pop(name) for name in ("lanes", "cost", "actual") if name in more}
    world = SharedWorld(limits, **more)
    for _ in range(processes):
        keep_waiting(world.process(), depth, **calls)
    world.run(seconds)
    return world
