"""Limits of keys over replicas: one limit for all, places in flight, and a store that is away."""

from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from random import Random

import pytest
import trio
from structlog.testing import capture_logs

from callsheet.actors import LeasedLimits, MemoryStores, SharedLimiting, TurnTooLate
from callsheet.gateway.keys import ApiKey, Tenants, TurnLeases
from callsheet.gateway.tenants import SharedTurnsActor
from callsheet.runtime import open_runtime


def key_of(name="team-a", **terms):
    return ApiKey(name=name, id=f"k_{name}", prefix="cs-…", created_at=0.0, **terms)


class Replica:
    """The tenants of one replica, and the turns that their calls had."""

    def __init__(self, stores, number, runtime):
        self.leases = TurnLeases(LeasedLimits(f"replica-{number}"))
        self.tenants = Tenants(self.leases)
        self.turns = []  # (when, name)
        self.most = 0
        self._runtime = runtime
        limits = stores.limits("keys")
        self._shared = SharedLimiting(limits, stores.outage == "divide", self.leases.leased)

    async def start(self, number):
        actor = partial(SharedTurnsActor, self._shared, self.leases)
        await self._runtime.spawn(f"turns-{number}", actor)

    async def call(self, key, tokens=1.0, lasts_s=0.0, used=None, patience_s=float("inf")):
        async with self.tenants.of(key).turn(tokens, patience_s=patience_s) as turn:
            self.turns.append((trio.current_time(), key.name))
            self.most = max(self.most, self.tenants.of(key).in_flight)
            await trio.sleep(lasts_s)
            if used is not None:
                turn.settle(used)


@asynccontextmanager
async def replicas(stores, count=2):
    async with AsyncExitStack() as stack:
        found = []
        for number in range(count):
            runtime = await stack.enter_async_context(open_runtime(f"replica-{number}"))
            one = Replica(stores, number, runtime)
            await one.start(number)
            found.append(one)
        yield found


async def fill(them, key, until_s, **call):
    """Let each replica have calls all the time; return the times of all turns, from the start."""
    started = trio.current_time()
    with trio.move_on_after(until_s):
        async with trio.open_nursery() as nursery:

            async def keep_calling(one):
                while True:
                    await one.call(key, **call)

            for one in them:
                for _ in range(20):
                    nursery.start_soon(keep_calling, one)
    return sorted(at - started for one in them for at, _ in one.turns)


def most_within(turns, span_s):
    """The most turns within any span of so many seconds."""
    most = first = 0
    for last, at in enumerate(turns):
        while at - turns[first] >= span_s:
            first += 1
        most = max(most, last - first + 1)
    return most


async def test_all_replicas_together_have_the_requests_of_one_limit(autojump_clock):
    key = key_of(rpm=60)
    async with replicas(MemoryStores(), 3) as them:
        turns = await fill(them, key, 150.0)
    assert 60 + 0.97 * 150 <= len(turns) <= 60 + 151
    assert most_within(turns, 60.0) <= 60 + 60 + 1
    assert most_within(turns[130:], 10.0) <= 12
    counts = [len(one.turns) for one in them]
    assert min(counts) > 0.8 * max(counts)


async def test_tokens_are_leased_as_estimated_and_corrected_as_used(autojump_clock):
    key = key_of(tpm=6000)
    async with replicas(MemoryStores()) as them:
        turns = await fill(them, key, 120.0, tokens=200.0, lasts_s=1.0, used=100.0)
    assert 0.9 * 18_000 <= 100 * len(turns) <= 18_000 + 100 * 40


async def test_places_in_flight_are_those_of_all_replicas(autojump_clock):
    key = key_of(in_flight=4)
    stores, running, most = MemoryStores(), [0], [0]
    async with replicas(stores, 3) as them, trio.open_nursery() as nursery:

        async def work(one):
            async with one.tenants.of(key).turn(1.0):
                running[0] += 1
                most[0] = max(most[0], running[0])
                await trio.sleep(1.0)
                running[0] -= 1

        started = trio.current_time()
        for _ in range(20):
            for one in them:
                nursery.start_soon(work, one)
    assert most[0] == 4
    assert trio.current_time() - started <= 15 * 1.35


async def test_one_place_goes_from_one_replica_to_the_other(autojump_clock):
    key = key_of(in_flight=1)
    async with replicas(MemoryStores()) as (one, other):
        await one.call(key, lasts_s=1.0)
        started = trio.current_time()
        await other.call(key)
        assert trio.current_time() - started < 1.5


async def test_a_lone_call_waits_for_one_exchange_alone(autojump_clock):
    stores = MemoryStores()
    async with replicas(stores) as (one, other):
        await other.call(key_of(rpm=600))
        started = trio.current_time()
        await one.call(key_of(rpm=600))
        assert trio.current_time() - started < 0.01


async def test_a_call_that_comes_too_late_is_refused_at_once(autojump_clock):
    key = key_of(rpm=60)
    async with replicas(MemoryStores()) as (one, other), trio.open_nursery() as nursery:
        for _ in range(150):
            nursery.start_soon(one.call, key)
            nursery.start_soon(other.call, key)
        await trio.sleep(1.0)
        asked_at = trio.current_time()
        with pytest.raises(TurnTooLate, match=r"in about (2\d\d|300)\.\d s"):
            await one.call(key, patience_s=60.0)
        assert trio.current_time() == asked_at
        nursery.cancel_scope.cancel()


async def test_a_key_without_limits_of_its_own_asks_nothing(autojump_clock):
    stores = MemoryStores()
    async with replicas(stores) as (one, _):
        one.tenants.keep([key_of()])
        await one.call(key_of())
        await trio.sleep(30.0)
        assert stores.limits("keys").asked == 0
        one.tenants.keep([key_of(rpm=5)])
        await trio.sleep(30.0)
        assert stores.limits("keys").asked == pytest.approx(11, abs=1)


async def test_few_places_are_not_exceeded_without_the_store_and_when_it_is_back(autojump_clock):
    stores, running, most, turns = MemoryStores(), [0], [0], []
    key = key_of(in_flight=2)
    async with replicas(stores, 3) as them, trio.open_nursery() as nursery:

        async def work(one):
            while True:
                async with one.tenants.of(key).turn(1.0):
                    turns.append(trio.current_time())
                    running[0] += 1
                    most[0] = max(most[0], running[0])
                    await trio.sleep(0.5)
                    running[0] -= 1

        for one in them:
            nursery.start_soon(work, one)
            nursery.start_soon(work, one)
        await trio.sleep(5.25)  # while calls are in flight
        stores.limits("keys").away = True
        await trio.sleep(2.0)
        await trio.sleep(8.0)  # the store takes all replicas for dead
        stores.limits("keys").away = False
        await trio.sleep(5.0)
        nursery.cancel_scope.cancel()
    assert most[0] == 2
    assert max(turns) > 19.0  # they have gone on


@pytest.mark.slow
@pytest.mark.parametrize("outage", ["divide", "wait"])
async def test_without_the_store_the_limit_is_divided_or_calls_wait(autojump_clock, outage):
    stores, key = MemoryStores(outage=outage), key_of(rpm=60)
    async with replicas(stores) as them:
        await fill(them, key, 180.0)
        for one in them:
            one.turns.clear()
        stores.limits("keys").away = True
        turns = await fill(them, key, 120.0)
        expected = 120 if outage == "divide" else 0
        assert 0.85 * expected - 1 <= len(turns) <= expected + 3
        stores.limits("keys").away = False
        for one in them:
            one.turns.clear()
        await trio.sleep(2.0)
        turns = await fill(them, key, 120.0)
        assert 0.9 * 120 <= len(turns) <= 180 + 5


async def test_a_replica_that_starts_without_the_store_waits_for_it(autojump_clock):
    stores, key = MemoryStores(), key_of(rpm=60)
    stores.limits("keys").away = True
    async with replicas(stores, 1) as (one,):
        with trio.move_on_after(30.0), capture_logs() as logs:
            await one.call(key)
        assert one.turns == []
        assert [(log["event"], log["limits"]) for log in logs] == [
            ("shared_limits_unavailable", "of keys")
        ]
        stores.limits("keys").away = False
        with trio.fail_after(2.0):
            await one.call(key)


async def test_new_terms_hold_for_all(autojump_clock):
    stores = MemoryStores()
    async with replicas(stores) as them:
        await fill(them, key_of(rpm=30), 70.0)
        for one in them:
            one.tenants.keep([key_of(rpm=120)])
            one.turns.clear()
        turns = await fill(them, key_of(rpm=120), 60.0)
        assert 0.9 * 120 <= len(turns) <= 120 + 125
        for one in them:
            one.tenants.keep([])
        assert [*them[0].tenants] == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
async def test_whatever_comes_no_limit_of_all_replicas_is_exceeded(autojump_clock, seed):
    random, stores = Random(seed), MemoryStores()
    most = random.choice([1, 3, 8])
    key = key_of(rpm=random.choice([6, 60, 600]), tpm=random.choice([600, 6000]), in_flight=most)
    running, taken = [0], []  # (when, tokens)

    async def call(one):
        tokens = random.choice([1, 10, 100])
        with trio.move_on_after(random.choice([1.0, 30.0, 300.0])):
            async with one.tenants.of(key).turn(tokens) as turn:
                running[0] += 1
                taken.append((trio.current_time(), tokens))
                try:
                    assert running[0] <= most
                    await trio.sleep(random.choice([0.0, 0.1, 5.0]))
                    if random.random() < 0.5:
                        turn.settle(tokens)
                finally:
                    running[0] -= 1

    async with replicas(stores, 3) as them, trio.open_nursery() as nursery:
        for _ in range(200):
            nursery.start_soon(call, random.choice(them))
            await trio.sleep(random.choice([0.0, 0.0, 0.01, 0.5, 10.0]))
            stores.limits("keys").delay_s = random.choice([0.0, 0.002, 0.1])
            stores.limits("keys").loses_answers = random.random() < 0.05
        stores.limits("keys").loses_answers = False
    for amount, of in ((key.rpm, lambda _: 1), (key.tpm, lambda tokens: tokens)):
        for first, (began, _) in enumerate(taken):
            used = 0.0
            for at, tokens in taken[first:]:
                used += of(tokens)
                assert used <= amount + amount / 60 * (at - began + 0.25) + 101
