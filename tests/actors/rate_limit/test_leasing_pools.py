"""Processes that share the limits of a pool: each member is used up, and by all processes."""

from collections import Counter
from functools import partial
from math import inf

import pytest
from leasing_processes import LeasingProcess, ProviderLimit, SharedWorld

from callsheet.actors import Limits
from callsheet.actors.pool_health import PoolHealth
from callsheet.actors.rate_limit.lease_keeper import LeaseKeeper
from callsheet.actors.rate_limit.leased_limits import MemberLimits
from callsheet.actors.rate_limit.limits import Cost
from callsheet.actors.rate_limit.pool import PoolLimiter
from callsheet.actors.rate_limit.spread import PoolMember

MANY = 100_000  # calls in flight


class PoolProcess(LeasingProcess):
    """A limiter of a pool, with its keeper."""

    def begin(self):
        members = [PoolMember(name=name, limits=own) for name, own in self.world.own.items()]
        health, source_of = PoolHealth(self.world.own), partial(MemberLimits, self.leased)
        now = self.world.now
        self.limiter = PoolLimiter(members, health, self.limits, now, source_of)
        self.keeper = LeaseKeeper(self.leased, self.limiter, now)
        self.wake_at = self.check_at = inf
        self.asking += 1
        self.is_asking = False
        self.check()


class PoolWorld(SharedWorld):
    """A store, and one provider for each member."""

    def __init__(self, limits, own, **more):
        super().__init__(limits, **more)
        self.own = own
        self.limits_of = {
            name: [ProviderLimit.of(rate) for rate in (its or limits).all_rates]
            for name, its in own.items()
        }
        self.flying = Counter()
        self.most_flying = Counter()

    def process(self, name=None):
        found = PoolProcess(self, name or f"w{len(self.processes)}", self.limits)
        self.processes.append(found)
        return found

    def send(self, process, call, reservation):
        member = call.member = reservation.member
        self.flying[member] += 1
        self.most_flying[member] = max(self.most_flying[member], self.flying[member])
        for limit in self.limits_of[member]:
            if limit.allows(1.0, self.now):
                limit.take(1.0)
            else:
                self.refused[member] += 1
        end_s = self.call_s * self.random.uniform(0.5, 1.5)
        self.at(self.now + end_s, lambda: self.end(process, call, reservation))

    def end(self, process, call, reservation, *, refused=False):
        self.flying[call.member] -= 1
        process.end(call, reservation)


def keep_waiting(process, depth, every_s=0.05):
    world = process.world

    def fill():
        for _ in range(depth - process.limiter.waiting):
            process.push(Cost())
        world.at(world.now + every_s, fill)

    world.at(world.now + world.random.random() * 0.01, fill)


def sent_in(world, since):
    """Return the calls sent since then, by process and by member."""
    sent = [(at, one) for at, p in enumerate(world.processes) for one in p.sent]
    late = [(at, one.member) for at, one in sent if one.sent_at >= since]
    return Counter(at for at, _ in late), Counter(member for _, member in late)


OWN = {"a": Limits(rpm=1_200, in_flight=MANY), "b": Limits(rpm=600, in_flight=MANY)}
FEW = {"a": Limits(in_flight=6), "b": Limits(in_flight=4)}
SAME = {"a": None, "b": None}


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow), 3])
@pytest.mark.parametrize(
    ("limits", "own", "per_s"),
    [
        (Limits(rpm=1_200, in_flight=MANY), SAME, {"a": 20, "b": 20}),
        (Limits(in_flight=MANY), OWN, {"a": 20, "b": 10}),
    ],
    ids=["same limits", "limits of their own"],
)
def test_each_member_is_used_up_by_all_processes(limits, own, per_s, processes):
    world = PoolWorld(limits, own, call_s=0.2)
    for _ in range(processes):
        keep_waiting(world.process(), 60)
    world.run(10)
    by_process, by_member = sent_in(world, 5)
    assert not world.refused
    for member, rate in per_s.items():
        assert by_member[member] >= 0.95 * rate * 5
    assert max(by_process.values()) <= 1.3 * min(by_process.values())
    assert len(by_process) == processes


@pytest.mark.parametrize(
    ("limits", "own", "most"),
    [
        (Limits(in_flight=10), SAME, {}),
        (Limits(in_flight=MANY), FEW, {"a": 6, "b": 4}),
    ],
    ids=["of the pool", "of each member"],
)
def test_places_in_flight_of_a_pool_are_divided(limits, own, most):
    world = PoolWorld(limits, own, call_s=0.2)
    for _ in range(2):
        keep_waiting(world.process(), 30)
    world.run(20)
    by_process, _ = sent_in(world, 10)
    assert sum(by_process.values()) >= 0.9 * 10 / 0.2 * 10
    assert max(by_process.values()) <= 1.2 * min(by_process.values())
    assert len(by_process) == 2
    for member, number in most.items():
        assert world.most_flying[member] <= number
