"""The cache: an equal request gets the stored response at once, and nothing is sent for it."""

from decimal import Decimal
from functools import partial

import attrs
import pytest
import trio
from cache_stage import MEMORYLESS, FakeStore, WallClock, again, cache_to, paid, stage_of
from fakes import MODEL, Behaviour, Journal, Stage, answer_to, asking, call, outcomes
from trio.testing import wait_all_tasks_blocked

from callsheet.actors import BadRequest, BatcherActor, Request, Stream, Usage
from callsheet.actors.cache.actor import (
    CacheActor,
    CacheStatistics,
    ClearCache,
    GetCacheStatistics,
    PeekCache,
)
from callsheet.actors.cache.policy import CachePolicy
from callsheet.actors.cache.store import CacheUsage
from callsheet.runtime import Actor, AskTimedOut, open_runtime, streams
from callsheet.runtime.testing.conservation import check_conservation

# ------------------------------------------------------------------ hits and misses


@pytest.mark.parametrize("store", [None, FakeStore()])
async def test_a_repeated_request_gets_the_same_response_at_once_and_free(autojump_clock, store):
    journal = Journal()
    async with open_runtime() as runtime:
        cache = await cache_to(runtime, await stage_of(runtime, journal), store=store)
        first = await cache.ask(call(cacheable=True))
        at = trio.current_time()
        second = await cache.ask(call(cacheable=True))
        assert trio.current_time() == at
        statistics = await cache.ask(GetCacheStatistics())
    assert first == answer_to("Hi")
    assert second == attrs.evolve(
        first, usage=Usage(), cost_usd=Decimal(0), http_requests=0, route="cache"
    )
    assert paid(journal) == ["Hi"]
    assert statistics == CacheStatistics(
        memory_hits=1,
        disk_hits=0,
        misses=1,
        stored=1,
        saved_usd=Decimal("0.001"),
        memory=CacheUsage(1, statistics.memory.bytes, 0),
        disk=statistics.disk,
    )
    assert statistics.is_on_disk == (store is not None)


async def test_what_is_not_declared_cacheable_is_asked_each_time(autojump_clock):
    journal, store = Journal(), FakeStore()
    async with open_runtime() as runtime:
        cache = await cache_to(runtime, await stage_of(runtime, journal), store=store)
        await outcomes(*asking(cache, "Hi", "Hi"), *again(cache, "Hi"), *asking(cache, "Hi"))
        statistics = await cache.ask(GetCacheStatistics())
    assert len(paid(journal)) == 4
    assert (statistics.misses, statistics.stored, len(store.lookups)) == (1, 1, 1)


async def test_an_answer_is_for_one_endpoint(autojump_clock):
    journal, store = Journal(), FakeStore()
    async with open_runtime() as runtime:
        stage = await stage_of(runtime, journal)
        one = await cache_to(runtime, stage, store=store)
        await one.ask(call(cacheable=True))
        await runtime.stop(one)
        other = await runtime.spawn(
            "other", partial(CacheActor, stage, "http://other/v1", store=store)
        )
        assert (await other.ask(call(cacheable=True))).route == "live"
    assert len(store.kept) == 2
    with pytest.raises(ValueError, match="scope"):
        CacheActor(one, "")


async def test_what_is_on_disk_is_found_by_the_next_program_and_comes_into_memory(autojump_clock):
    journal, store = Journal(), FakeStore()
    for program in range(2):
        async with open_runtime() as runtime:
            cache = await cache_to(runtime, await stage_of(runtime, journal), store=store)
            for _ in range(2):
                answer = await cache.ask(call(cacheable=True))
            assert (answer.text, answer.route) == ("about Hi", "cache")
            counts = await cache.ask(GetCacheStatistics())
            assert (counts.disk_hits, counts.memory_hits) == (program, 1)
        assert not store.is_open
    assert paid(journal) == ["Hi"]


async def test_too_old_an_answer_is_asked_for_again(autojump_clock):
    journal, clock = Journal(), WallClock()
    async with open_runtime() as runtime:
        policy = CachePolicy(path=None, ttl_s=60)
        stage = await stage_of(runtime, journal)
        cache = await cache_to(runtime, stage, policy=policy, clock=clock)
        await cache.ask(call(cacheable=True))
        clock.now += 59
        assert (await cache.ask(call(cacheable=True))).route == "cache"
        clock.now += 1
        assert (await cache.ask(call(cacheable=True))).route == "live"
    assert len(paid(journal)) == 2


@pytest.mark.parametrize(
    "behaviour", [Behaviour(error=BadRequest("no")), Behaviour()], ids=["failed", "cut off"]
)
async def test_what_failed_or_was_cut_off_is_asked_again(autojump_clock, behaviour):
    class CutOff(Stage):
        def answer(self, prompt):
            return answer_to(prompt, finish_reason="length")

    journal, store = Journal(), FakeStore()
    async with open_runtime() as runtime:
        stage = await stage_of(runtime, journal, {"Hi": behaviour}, kind=CutOff)
        cache = await cache_to(runtime, stage, store=store)
        await outcomes(*again(cache, "Hi"))
        await outcomes(*again(cache, "Hi"))
        assert not await cache.ask(PeekCache(call(cacheable=True).request))
    assert paid(journal) == ["Hi", "Hi"]
    assert store.kept == {}


async def test_a_stream_is_passed_on(autojump_clock):
    class Streaming(Actor):
        @streams(Stream)
        async def stream(self, message, sink):
            await sink.send(answer_to("streamed"))

    async with open_runtime() as runtime:
        cache = await cache_to(runtime, await runtime.spawn("stage", Streaming))
        asked = call(cacheable=True)
        async with cache.stream(Stream(asked.request, asked.context)) as items:
            assert [item.text async for item in items] == ["about streamed"]


# ------------------------------------------------------------------ many at once


@pytest.mark.parametrize("concurrency", [pytest.param(1, marks=pytest.mark.slow), 8])
async def test_a_thousand_identical_requests_are_one_lookup_and_one_call(
    autojump_clock, concurrency
):
    journal, store = Journal(), FakeStore(read_s=0.01)
    async with open_runtime() as runtime:
        batcher = await runtime.spawn(
            "batcher", partial(BatcherActor, await stage_of(runtime, journal))
        )
        cache = await cache_to(runtime, batcher, store=store, concurrency=concurrency)
        found = await together(*again(cache, *["Hi"] * 1000))
        statistics = await cache.ask(GetCacheStatistics())
        check_conservation(runtime.snapshot())
    assert [answer.text for answer in found] == ["about Hi"] * 1000
    assert sorted({answer.route for answer in found}) == ["joined", "live"]
    assert (len(store.lookups), paid(journal)) == (1, ["Hi"])
    assert (statistics.misses, statistics.stored) == (1000, 1)
    assert store.transactions == [(1, 0)]
    with_cost = next(iter(store.kept.values())).value
    assert b'"cost_usd":"0.001"' in with_cost  # what was paid, not the others' zero


async def together(*functions):
    """Like `outcomes`, in any order."""
    found = []

    async def run(function):
        found.append(await function())

    async with trio.open_nursery() as nursery:
        for function in functions:
            nursery.start_soon(run, function)
    return found


async def test_requests_that_arrive_during_a_lookup_gather_for_the_next_one(autojump_clock):
    store = FakeStore(read_s=1.0)
    async with open_runtime() as runtime:
        cache = await cache_to(runtime, await stage_of(runtime, Journal()), store=store)
        await outcomes(*again(cache, "a", "b", "a", "c", "b"))
        assert [len(keys) for keys in store.lookups] == [1, 2]


async def test_a_hit_waits_neither_for_the_store_nor_for_calls_that_have_no_room(autojump_clock):
    journal, store = Journal(), FakeStore()
    async with open_runtime() as runtime:
        slow = {"slow": Behaviour(100)}
        stage = await runtime.spawn("stage", partial(Stage, journal, slow), capacity=1)
        cache = await cache_to(runtime, stage, store=store)
        await cache.ask(call("known", cacheable=True))
        store.read_s = 10.0
        async with trio.open_nursery() as nursery:
            for function in again(cache, "slow", "more", "most"):
                nursery.start_soon(function)
            for function in asking(cache, "slow", "slow"):
                nursery.start_soon(function)
            await trio.sleep(20)
            at = trio.current_time()
            assert (await cache.ask(call("known", cacheable=True))).route == "cache"
            assert trio.current_time() == at


async def test_a_caller_cancelled_during_the_lookup_affects_no_other(autojump_clock):
    """R4: the cancelled request is not forwarded, the others are."""
    journal, store = Journal(), FakeStore(read_s=1.0)
    async with open_runtime() as runtime:
        cache = await cache_to(runtime, await stage_of(runtime, journal), store=store)
        gone, stays, other = await outcomes(
            *again(cache, "Hi", "bye", timeout=0.5), *again(cache, "Hi")
        )
        assert isinstance(gone, AskTimedOut)
        assert isinstance(stays, AskTimedOut)
        assert other.text == "about Hi"
        assert runtime.snapshot()[cache.path].deferred == 0
        check_conservation(runtime.snapshot())
    assert paid(journal) == ["Hi"]


async def test_the_response_is_stored_if_one_of_its_callers_has_waited_for_it(autojump_clock):
    journal = Journal()
    async with open_runtime() as runtime:
        batcher = await runtime.spawn(
            "batcher", partial(BatcherActor, await stage_of(runtime, journal))
        )
        cache = await cache_to(runtime, batcher)
        gone, _ = await outcomes(*again(cache, "Hi", timeout=0.5), *again(cache, "Hi"))
        assert isinstance(gone, AskTimedOut)
        assert (await cache.ask(call(cacheable=True))).route == "cache"
        both_gone = await outcomes(*again(cache, "Ho", "Ho", timeout=0.5))
        assert [type(error) for error in both_gone] == [AskTimedOut] * 2
        assert (await cache.ask(call("Ho", cacheable=True))).route == "live"
    assert paid(journal) == ["Hi", "Ho", "Ho"]


# ------------------------------------------------------------------ questions


async def test_a_peek_tells_of_a_hit_and_changes_nothing(autojump_clock):
    journal, store = Journal(), FakeStore()
    async with open_runtime() as runtime:
        stage = await stage_of(runtime, journal)
        cache = await cache_to(runtime, stage, store=store, policy=MEMORYLESS)
        request = call(cacheable=True).request
        assert not await cache.ask(PeekCache(request))
        await cache.ask(call(cacheable=True))
        await wait_all_tasks_blocked()
        before = await cache.ask(GetCacheStatistics())
        assert await cache.ask(PeekCache(request))
        assert not await cache.ask(PeekCache(Request.of("Hi", model=MODEL)))
        assert not await cache.ask(PeekCache(Request.of("Ho", model=MODEL, cacheable=True)))
        assert await cache.ask(GetCacheStatistics()) == before
    assert paid(journal) == ["Hi"]


async def test_a_cleared_cache_knows_nothing_not_even_what_was_being_read_or_written(
    autojump_clock,
):
    journal, store = Journal(), FakeStore()
    async with open_runtime() as runtime:
        cache = await cache_to(
            runtime,
            await stage_of(runtime, journal),
            store=store,
            policy=CachePolicy(path=None, memory_entries=1),
        )
        for function in again(cache, "a", "b"):  # in this order: the memory keeps the last
            await function()
        store.read_s = 1.0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(again(cache, "a")[0])
            await trio.sleep(0.5)
            await cache.ask(ClearCache())
            assert store.kept == {}
        assert paid(journal) == ["a", "b", "a"]
        await wait_all_tasks_blocked()
        statistics = await cache.ask(GetCacheStatistics())
        assert (statistics.memory.entries, statistics.disk.entries) == (1, 1)
        assert (await cache.ask(call("b", cacheable=True))).route == "live"


async def test_questions_do_not_queue_behind_calls(autojump_clock):
    async with open_runtime() as runtime:
        cache = await cache_to(
            runtime, await stage_of(runtime, Journal()), store=FakeStore(read_s=60), max_deferred=1
        )
        async with trio.open_nursery() as nursery:
            for function in again(cache, "a", "b", "c"):
                nursery.start_soon(function)
            await trio.sleep(1)
            assert isinstance(await cache.ask(GetCacheStatistics()), CacheStatistics)
            assert trio.current_time() == 1
