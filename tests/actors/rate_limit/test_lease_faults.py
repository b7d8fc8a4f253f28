"""Processes that share limits, under lost exchanges, deaths, restarts, refusals and clock jumps.

Calls are small beside what a limit allows at once. Of larger ones, a part is leased that must wait
for the next lease, and a provider whose bucket is no deeper than `burst_s` may refuse some.
"""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from leasing_processes import LeasingProcess, SharedWorld

from callsheet.actors import Lane, Limits
from callsheet.actors.rate_limit.limits import Cost
from callsheet.actors.rate_limit.shared import SharedLimits

MANY = 100_000  # calls in flight
CALL_S = 0.5
TOKENS = [50, 150, 300]  # of calls: up to a fifth of the depth of the smallest limit
DEAD_S = 10.0  # after which what a dead process held is free
LANES = {"a": Lane(), "b": Lane(weight=3), "c": Lane(priority=1)}
LIMITS = [
    Limits(rpm=600, in_flight=MANY, lanes=LANES),
    Limits(rpm=3_000, in_flight=12),
    Limits(rpm=1_200, in_flight=MANY, models={"m": Limits(rpm=600, in_flight=6)}),
    Limits(tpm=300_000, in_flight=MANY, token_charge="used", lanes=LANES),
    Limits(rpm=1_200, tpm=120_000, in_flight=20, token_charge="used"),
]

PROCESS = st.integers(0, 3)
STEP = st.one_of(
    st.tuples(st.just("wait"), st.sampled_from([0.003, 0.03, 0.1, 0.3, 1.0])),
    st.tuples(st.just("calls"), PROCESS, st.sampled_from([1, 4, 20]), st.sampled_from("abc")),
    st.tuples(st.just("lose"), PROCESS, st.sampled_from(["question", "answer"])),
    st.tuples(st.just("repeat"), PROCESS),
    st.tuples(st.just("refuse"), PROCESS),
    st.tuples(st.just("restart"), PROCESS),
    st.tuples(st.just("die"), PROCESS),
    st.tuples(st.just("jump"), st.sampled_from([-0.1, -3_600.0])),
)
LIMIT = st.sampled_from(LIMITS)
SEED = st.integers(0, 1_000)


class CountedStore:
    """A store that adds up what each process was granted and has reported, each question once."""

    def __init__(self):
        self.core = SharedLimits()
        self.jumped = 0.0
        self.leased, self.unused, self.refunds, self.owed = (Counter() for _ in range(4))
        self._numbers = Counter()

    @property
    def news(self):
        return self.core.news

    def ask(self, ask, now, epoch):
        grant = self.core.ask(ask, now + self.jumped, epoch)
        if ask.number > self._numbers[ask.worker]:
            self._numbers[ask.worker] = ask.number
            for lease in grant.leases:
                self.leased[ask.worker, lease.limit] += lease.amount
            for one in ask.corrections:
                sums = self.owed if one.amount > 0 else self.unused if one.unused else self.refunds
                sums[ask.worker, one.limit] += abs(one.amount)
        return grant


class FaultyProcess(LeasingProcess):
    """A process whose limiter is restarted with the stages behind it, so that its calls end."""

    def __init__(self, world, name, limits):
        self.open = {}  # {call: what it has taken}
        self.refunded = 0.0
        self.faults = []  # of the next exchanges
        super().__init__(world, name, limits)

    def send(self, call, reservation):
        self.open[call] = reservation
        super().send(call, reservation)

    def end(self, call, reservation):
        if self.open.pop(call, None) is not None and not self.is_dead:
            if call.actual is not None:
                self.refunded += call.cost.tokens - call.actual
            super().end(call, reservation)

    def refuse(self, call, reservation):
        if self.open.pop(call, None) is not None and not self.is_dead:
            self.refunded += call.cost.tokens
            super().refuse(call, reservation)

    def restart(self):
        waiting = self.waiting()
        open_, self.open = self.open, {}
        self.world.in_flight -= len(open_)
        for reservation in open_.values():
            self.limiter.release(reservation, self.world.now)
        self.begin()
        for call in waiting:
            self.limiter.push(call, call.request, self.world.now)
            self.keeper.pushed()
        self.advance()

    def waiting(self):
        scopes = self.limiter.scopes.by_name.values()
        return [place.waiting.waiting for scope in scopes for place in scope.queue.upcoming()]


class FaultyWorld(SharedWorld):
    """A world in which exchanges are lost and repeated."""

    def __init__(self, limits, seed):
        super().__init__(limits, call_s=CALL_S, seed=seed)
        self.store = CountedStore()
        self.processes = [FaultyProcess(self, f"w{at}", limits) for at in range(4)]

    def end(self, process, call, reservation, *, refused=False):
        if call not in process.open:  # it ended with a restart
            self.in_flight += 1
        super().end(process, call, reservation, refused=refused)

    def ask(self, process, ask, asking):
        fault = process.faults.pop(0) if process.faults else ""
        if not fault:
            super().ask(process, ask, asking)
            return
        if fault != "question":  # it arrives once more, late
            late_s = self.random.choice([0.001, 0.05, 0.4]) if fault == "repeat" else 0.0
            epoch = "e1"
            self.at(self.now + late_s + self.trip_s(), lambda: self.store.ask(ask, self.now, epoch))
        if fault == "repeat":
            super().ask(process, ask, asking)
        else:
            self.at(self.now + self.random.choice([0.03, 0.2, 0.6]), lambda: retry(asking))

        def retry(asking):
            if asking == process.asking and not process.is_dead:
                again = process.keeper.ask(self.now)
                self.ask(process, again, asking)

    def do(self, kind, details):
        if kind == "wait":
            self.run(self.now + details[0])
            return
        if kind == "jump":
            self.store.jumped += details[0]
            return
        process = self.processes[details[0]]
        if process.is_dead:
            return
        if kind == "calls":
            for _ in range(details[1]):
                tokens = float(self.random.choice(TOKENS))
                actual = int(tokens * self.random.uniform(0.3, 1.0))
                process.push(Cost(tokens=tokens), details[2], actual)
        elif kind == "restart":
            process.restart()
        elif kind == "die":
            process.is_dead = True
        elif kind == "refuse" and process.open:
            call, reservation = next(iter(process.open.items()))
            self.in_flight -= 1
            process.refuse(call, reservation)
        elif kind in ("lose", "repeat"):
            process.faults.append(details[1] if kind == "lose" else kind)


def check(limits, steps, seed):
    world = FaultyWorld(limits, seed)
    for kind, *details in steps:
        world.do(kind, details)
    for process in world.processes:
        process.faults.clear()
    living = [process for process in world.processes if not process.is_dead]
    waiting = [call for process in living for call in process.waiting()]
    world.run(world.now + DEAD_S + 5.0 + 2.0 * longest(limits, waiting))
    assert not world.refused, "the provider refused a call"
    assert not [process.waiting() for process in living if process.waiting()], "calls wait for ever"
    most = min([limits.in_flight, *(of.in_flight for of in limits.models.values())])
    assert world.most_in_flight <= most
    for process in living:
        check_books(process, world.store)


def longest(limits, calls):
    """Return for how many seconds such calls take all of some limit."""
    every = [limits, *limits.models.values()]
    rates = [rate for one in every for rate in one.all_rates]
    found = [sum(call.cost[one.index] for call in calls) / one.amount * one.per_s for one in rates]
    return max(*found, *(len(calls) * 1.5 * CALL_S / one.in_flight for one in every), 0.0)


def check_books(process, store):
    """Each refund was reported once, and each lease is used or returned, not both."""
    for bucket in process.leased.buckets:
        key = process.name, bucket.name
        used = bucket.taken - store.owed[key]
        assert used + store.unused[key] <= store.leased[key] * (1 + 1e-9) + 1e-6
        if "tokens" in bucket.name:
            assert store.refunds[key] == pytest.approx(process.refunded)


@settings(max_examples=25, deadline=None)
@given(LIMIT, st.lists(STEP, min_size=5, max_size=25), SEED)
def test_faults_cost_neither_the_limit_nor_the_calls(limits, steps, seed):
    check(limits, steps, seed)


@pytest.mark.slow
@settings(max_examples=1_000, deadline=None)
@given(LIMIT, st.lists(STEP, min_size=10, max_size=80), SEED)
def test_many_faults_cost_neither_the_limit_nor_the_calls(limits, steps, seed):
    check(limits, steps, seed)
