"""Caches of several processes: one of them makes a call, and the others wait for its response."""

from collections import Counter
from functools import partial
from random import Random

import pytest
import trio
from cache_stage import MEMORYLESS, URL, WallClock, again, paid, stage_of
from fakes import Behaviour, Journal, Stage, answer_to, call, outcomes

from callsheet.actors import BadRequest, BatcherActor, CallContext, Complete, TurnTooLate
from callsheet.actors.cache import MemorySharedCache, SharedMemory
from callsheet.actors.cache.actor import CacheActor, ClearCache, GetCacheStatistics
from callsheet.actors.identity import cache_keys
from callsheet.actors.valkey import UnsuitableServer
from callsheet.runtime import AskTimedOut, open_runtime

PROMPT = "Hi"
LEASE_S, RETRY_S = 10, 5


@pytest.fixture
def memory():
    return SharedMemory()


class CutOff(Stage):
    """A stage whose responses may not be stored."""

    def answer(self, prompt):
        return answer_to(prompt, finish_reason="length")


async def caches(runtime, memory, behaviour=None, *, count=2, kind=Stage, policy=MEMORYLESS):
    """Return a journal of the calls that were made, and the caches of several processes."""
    journal, clock = Journal(), WallClock()
    stage = await stage_of(runtime, journal, {PROMPT: behaviour or Behaviour(5)}, kind=kind)
    found = []
    for number in range(count):
        shared = MemorySharedCache(memory, policy)
        factory = partial(CacheActor, stage, URL, policy, shared=shared, now=clock)
        name = f"cache{number}"
        found.append(await runtime.spawn(name, factory, concurrency=8, max_deferred=100))
    return journal, found


def each(caches, **more):
    return [function for cache in caches for function in again(cache, PROMPT, **more)]


def asks(*, deadline=None, **context):
    asked = call(PROMPT, cacheable=True, deadline=deadline)
    return Complete(asked.request, CallContext("c", **context))


async def began(journal):
    return [at for _, at in journal.began]


# ------------------------------------------------------------------ one call


@pytest.mark.parametrize("count", [2, 7])
async def test_processes_that_ask_the_same_at_once_make_one_call(autojump_clock, memory, count):
    async with open_runtime() as runtime:
        journal, found = await caches(runtime, memory, count=count)
        answers = await outcomes(*each(found), *each(found))
        assert trio.current_time() == pytest.approx(5, abs=0.01)
        statistics = [await cache.ask(GetCacheStatistics()) for cache in found]
    assert {answer.text for answer in answers} == {"about Hi"}
    assert sorted(answer.route for answer in answers)[: 2 * count - 2] == (2 * count - 2) * [
        "cache"
    ]
    assert paid(journal) in ([PROMPT], 2 * [PROMPT])  # no batcher joins those of one process
    assert sum(one.elsewhere for one in statistics) == 2 * count - 2


async def test_a_later_process_waits_for_the_rest_of_the_call(autojump_clock, memory):
    async with open_runtime() as runtime:
        journal, (one, other) = await caches(runtime, memory, Behaviour(60))
        slot = await one.submit(asks())
        await trio.sleep(50)
        assert (await other.ask(asks())).route == "cache"
        assert trio.current_time() == pytest.approx(60, abs=0.01)
        assert (await slot.wait()).route == "live"
    assert paid(journal) == [PROMPT]
    assert len(memory.claims) == 0


async def test_a_response_that_was_stored_since_the_lookup_is_found(autojump_clock, memory):
    """Between the two questions of a process, another one stores the response."""
    async with open_runtime() as runtime:
        journal, (one, other) = await caches(runtime, memory, Behaviour(0))
        for _ in range(20):
            await outcomes(*each([one]), *each([other]))
            await one.ask(ClearCache())
    assert len(paid(journal)) == 20


async def test_different_requests_do_not_wait_for_each_other(autojump_clock, memory):
    async with open_runtime() as runtime:
        journal, (one, other) = await caches(runtime, memory)
        await outcomes(*again(one, PROMPT), *again(other, "Bye"))
    assert sorted(paid(journal)) == ["Bye", PROMPT]


@pytest.mark.parametrize(
    "changed", [{"allowed": frozenset({"cache"})}, {"deadline": 86_400.0}], ids=["join", "deadline"]
)
async def test_a_call_that_may_not_join_or_can_wait_for_a_day_is_made_by_itself(
    autojump_clock, memory, changed
):
    async with open_runtime() as runtime:
        journal, (one, other) = await caches(runtime, memory)
        slot = await one.submit(asks(**changed))
        await trio.sleep(1)
        assert (await other.ask(asks())).route == "live"
        await slot.wait()
    assert len(paid(journal)) == 2


# ------------------------------------------------------------------ calls without a response


async def test_when_a_call_fails_one_of_those_that_wait_makes_it(autojump_clock, memory):
    async with open_runtime() as runtime:
        behaviour = Behaviour(5, error=BadRequest("no"))
        journal, found = await caches(runtime, memory, behaviour, count=3)
        answers = await outcomes(*each(found))
    assert [type(answer) for answer in answers] == 3 * [BadRequest]
    assert await began(journal) == pytest.approx([0, 5, 10], abs=0.02)


async def test_when_a_response_cannot_be_shared_all_go_on(autojump_clock, memory):
    async with open_runtime() as runtime:
        journal, found = await caches(runtime, memory, kind=CutOff, count=4)
        answers = await outcomes(*each(found))
    assert {answer.finish_reason for answer in answers} == {"length"}
    assert await began(journal) == pytest.approx([0, 5, 5, 5], abs=0.02)


async def test_when_a_caller_gives_up_another_process_makes_the_call(autojump_clock, memory):
    async with open_runtime() as runtime:
        journal, (one, other) = await caches(runtime, memory)
        with trio.move_on_after(2):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(one.ask, asks())
                await trio.sleep(1)
                slot = await other.submit(asks())
                await trio.sleep_forever()
        assert (await slot.wait()).route == "live"
        assert trio.current_time() == pytest.approx(7, abs=0.02)
    assert len(journal.cancelled) == 1


async def test_a_process_that_stops_gives_its_claims_back(autojump_clock, memory):
    async with open_runtime() as runtime:
        _, (one, other) = await caches(runtime, memory)
        first = await one.submit(asks())
        await trio.sleep(1)
        slot = await other.submit(asks())
        await trio.sleep(1)
        first.cancel()
        await runtime.stop(one)
        assert (await slot.wait()).route == "live"
        assert trio.current_time() == pytest.approx(7, abs=0.02)


async def test_a_process_that_dies_loses_its_claim_after_the_lease(autojump_clock, memory):
    async with open_runtime() as runtime:
        journal, (one, _) = await caches(runtime, memory)
        memory.claims.claim(next(iter(claims_of(asks()))), "dead", trio.current_time())
        assert (await one.ask(asks())).route == "live"
        assert LEASE_S + 5 <= trio.current_time() <= LEASE_S + 6.1
    assert paid(journal) == [PROMPT]


def claims_of(message):
    return cache_keys((URL,), message.request)


# ------------------------------------------------------------------ those that wait


async def test_waiting_ends_with_the_deadline_of_the_caller(autojump_clock, memory):
    async with open_runtime() as runtime:
        journal, (one, other) = await caches(runtime, memory, Behaviour(30))
        slot = await one.submit(asks())
        await trio.sleep(1)
        with pytest.raises(AskTimedOut):
            await other.ask(asks(), timeout=3)
        with trio.move_on_after(3) as scope:
            await other.ask(asks())
        assert scope.cancelled_caught
        await slot.wait()
    assert paid(journal) == [PROMPT]


async def test_waiting_ends_with_the_patience_of_the_call(autojump_clock, memory):
    async with open_runtime() as runtime:
        journal, (one, other) = await caches(runtime, memory, Behaviour(30))
        slot = await one.submit(asks(patience_s=3))  # its turn has come at once
        await trio.sleep(1)
        with pytest.raises(TurnTooLate, match="another process makes this call"):
            await other.ask(asks(patience_s=3))
        assert trio.current_time() == pytest.approx(4)
        patient = await other.submit(asks(patience_s=100))
        await slot.wait()
        assert (await patient.wait()).route == "cache"
    assert paid(journal) == [PROMPT]


async def test_those_that_wait_keep_no_other_request_from_its_turn(autojump_clock, memory):
    async with open_runtime() as runtime:
        journal, (one, other) = await caches(runtime, memory, Behaviour(30))
        slots = [await cache.submit(asks()) for cache in (one, *50 * [other])]
        await trio.sleep(1)
        for prompt in "abc":
            await other.ask(call(prompt, cacheable=True))
        assert trio.current_time() == pytest.approx(4, abs=0.01)
        for slot in slots:
            await slot.wait()
    assert len(paid(journal)) == 4


# ------------------------------------------------------------------ a server that is away


def events(log):
    return [event["event"] for event in log if event["event"].startswith("cache_")]


async def test_while_the_server_is_away_each_process_makes_its_calls(autojump_clock, memory, log):
    async with open_runtime() as runtime:
        memory.is_away = True
        journal, found = await caches(runtime, memory)
        await outcomes(*each(found))
        assert trio.current_time() == pytest.approx(5)
        assert len(paid(journal)) == 2
        assert events(log) == 2 * ["cache_unavailable"]
        memory.is_away = False
        await trio.sleep(RETRY_S + 0.1)
        assert events(log)[2:] == 2 * ["cache_back"]
        await outcomes(*each(found))
        await outcomes(*each(found))
        assert len(paid(journal)) == 3


async def test_a_server_that_hangs_holds_up_calls_once_and_not_again(autojump_clock, memory):
    async with open_runtime() as runtime:
        memory.is_away, memory.answer_s = True, 2.0
        _, (one, _) = await caches(runtime, memory, policy=MEMORYLESS)
        took = []
        for number in range(20):
            before = trio.current_time()
            await one.ask(call(str(number), cacheable=True))
            took.append(trio.current_time() - before)
    assert took == pytest.approx(20 * [1])  # `open` has met it before the first call


async def test_an_unsuitable_server_is_given_up_and_calls_go_on(autojump_clock, memory, log):
    class Unsuitable(MemorySharedCache):
        async def claim(self, asked):
            raise UnsuitableServer("the shared memory", "it is read only", "change it")

    async with open_runtime() as runtime:
        stage = await stage_of(runtime, Journal())
        shared = Unsuitable(memory, MEMORYLESS)
        factory = partial(CacheActor, stage, URL, MEMORYLESS, shared=shared)
        cache = await runtime.spawn("cache", factory, concurrency=8)
        for _ in range(2):
            assert (await cache.ask(asks())).route == "live"
            await trio.sleep(30)
    [event] = [event for event in log if event["event"] == "cache_unavailable"]
    assert (event["reason"], event["remedy"]) == ("it is read only", "change it")


async def test_those_that_wait_go_on_when_the_server_has_been_away_for_the_lease(
    autojump_clock, memory
):
    async with open_runtime() as runtime:
        journal, (one, other) = await caches(runtime, memory, Behaviour(100))
        slots = [await cache.submit(asks()) for cache in (one, other)]
        await trio.sleep(20)
        memory.is_away = True
        await trio.sleep(8)
        assert len(paid(journal)) == 1
        await trio.sleep(4)
        assert len(paid(journal)) == 2
        for slot in slots:
            assert (await slot.wait()).route == "live"


async def test_those_that_wait_still_do_when_the_server_is_soon_back(autojump_clock, memory):
    async with open_runtime() as runtime:
        journal, (one, other) = await caches(runtime, memory, Behaviour(100))
        slots = [await cache.submit(asks()) for cache in (one, other)]
        await trio.sleep(20)
        memory.is_away = True
        await trio.sleep(3)
        memory.lose()
        memory.is_away = False
        assert [(await slot.wait()).route for slot in slots] == ["live", "cache"]
    assert len(paid(journal)) == 1


# ------------------------------------------------------------------ a storm


class Moody(Stage):
    """A stage whose calls fail or cannot be stored at times, by a seed."""

    def __init__(self, journal, random, trouble):
        super().__init__(journal)
        self._random = random
        self._trouble = trouble

    async def attempt(self, message, behaviour):
        await trio.sleep(self._random.expovariate(0.3))
        if self._random.random() < self._trouble:
            raise BadRequest("no")

    def answer(self, prompt):
        is_cut = self._random.random() < self._trouble
        return answer_to(prompt, finish_reason="length" if is_cut else "stop")


async def storm(seed, *, trouble):
    """Let six processes ask at random; return the number of calls of each prompt."""
    random, memory, journal = Random(seed), SharedMemory(), Journal()
    async with open_runtime() as runtime:
        stage = await runtime.spawn(
            "stage", partial(Moody, journal, random, trouble), capacity=500, concurrency=500
        )
        found = []
        for number in range(6):
            joining = partial(BatcherActor, stage)  # one call of those here that are the same
            batcher = await runtime.spawn(f"batcher{number}", joining, capacity=500)
            shared = MemorySharedCache(memory, MEMORYLESS)
            factory = partial(CacheActor, batcher, URL, MEMORYLESS, shared=shared)
            settings = {"concurrency": 8, "max_deferred": 500}
            found.append(await runtime.spawn(f"cache{number}", factory, **settings))
        ends = Counter()

        async def ask():
            await trio.sleep(random.uniform(0, 60))
            asked = call(f"{random.randrange(12)}", cacheable=True)
            with trio.move_on_after(random.expovariate(0.2) if trouble else 1000) as scope:
                try:
                    ends[(await random.choice(found).ask(asked)).text] += 1
                except BadRequest:
                    ends["failed"] += 1
            ends["cancelled"] += scope.cancelled_caught

        async with trio.open_nursery() as nursery:
            for _ in range(300):
                nursery.start_soon(ask)
            for _ in range(6 if trouble else 0):
                await trio.sleep(random.uniform(1, 9))
                memory.is_away = not memory.is_away
                if random.random() < 0.3:
                    memory.lose()
            memory.is_away = False
        assert sum(ends.values()) == 300
        assert trio.current_time() < 600
        await trio.sleep(RETRY_S + LEASE_S + 1)
        await outcomes(*again(found[0], "last"))  # a table forgets what has ended when it is asked
        assert not any(memory.claims.claim(f"{n}", "x", 0) == "elsewhere" for n in range(12))
    return Counter(paid(journal))


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
async def test_in_a_storm_without_trouble_each_prompt_is_paid_for_once(autojump_clock, seed):
    calls = await storm(seed, trouble=0.0)
    assert calls == Counter({f"{number}": 1 for number in range(12)} | {"last": 1})


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
async def test_in_a_storm_every_request_comes_to_its_end(autojump_clock, seed):
    calls = await storm(seed, trouble=0.15)
    assert len(calls) == 13
    assert sum(calls.values()) < 250  # of 300: nearly all others waited or were answered
