"""The cache and its store: what is written when, and what happens when the store breaks."""

import attrs
import pytest
import trio
from cache_stage import BROKEN, MEMORYLESS, FakeStore, again, cache_to, stage_of
from fakes import Behaviour, Journal, call, outcomes
from trio.testing import wait_all_tasks_blocked

from callsheet.actors.cache.actor import ClearCache, GetCacheStatistics
from callsheet.runtime import open_runtime

# ------------------------------------------------------------------ writing


async def test_responses_are_written_in_few_transactions(autojump_clock):
    store = FakeStore(write_s=10.0)
    async with open_runtime() as runtime:
        cache = await cache_to(runtime, await stage_of(runtime, Journal()), store=store)
        for prompt in "abcde":
            await outcomes(*again(cache, prompt))
        assert store.transactions == []
    assert store.transactions == [(1, 0), (4, 0)]


async def test_what_was_used_is_written_with_the_next_answer_and_once(autojump_clock):
    store = FakeStore()
    async with open_runtime() as runtime:
        cache = await cache_to(runtime, await stage_of(runtime, Journal()), store=store)
        await outcomes(*again(cache, "a", "b"))
        await wait_all_tasks_blocked()
        before = len(store.transactions)
        await outcomes(*again(cache, "a", "b", "a"))
        await wait_all_tasks_blocked()
        assert len(store.transactions) == before
        await outcomes(*again(cache, "c"))
        await wait_all_tasks_blocked()
        assert store.transactions[before:] == [(1, 2)]
        await outcomes(*again(cache, "a"))
    assert store.transactions[-1] == (0, 1)


async def test_a_stopped_cache_waits_for_what_was_paid_for_and_writes_it(autojump_clock):
    store = FakeStore(write_s=2.0)
    async with open_runtime() as runtime:
        stage = await stage_of(runtime, Journal(), {"slow": Behaviour(30)})
        cache = await cache_to(runtime, stage, store=store)
        async with trio.open_nursery() as nursery:
            for function in again(cache, "quick", "slow"):
                nursery.start_soon(function)
            await trio.sleep(5)
            await runtime.stop(cache)
            assert trio.current_time() == 32
        assert len(store.kept) == 2
        assert not store.is_open


async def test_a_cache_that_has_no_more_time_writes_what_it_has(autojump_clock):
    store = FakeStore(write_s=1.0)
    async with open_runtime(drain_s=5) as runtime:
        stage = await stage_of(runtime, Journal(), {"slow": Behaviour(1000)})
        cache = await cache_to(runtime, stage, store=store)
        await outcomes(*again(cache, "quick"))
        await cache.submit(call("slow", cacheable=True))
        await trio.sleep(1)
    assert trio.current_time() < 20
    assert len(store.kept) == 1
    assert not store.is_open


async def test_a_cache_in_memory_waits_for_nothing_when_it_is_stopped(autojump_clock):
    async with open_runtime() as runtime:
        cache = await cache_to(runtime, await stage_of(runtime, Journal()))
        slot = await cache.submit(call(cacheable=True))
        await wait_all_tasks_blocked()
        await runtime.stop(cache)
        assert trio.current_time() == 0
        assert (await slot.wait()).text == "about Hi"


# ------------------------------------------------------------------ a store that breaks


@pytest.mark.parametrize("what", ["open", "get_many", "put_many", "count", "clear"])
async def test_without_its_store_the_cache_continues_in_memory_and_logs_that_once(
    autojump_clock, log, what
):
    journal, store = Journal(), FakeStore(breaks={what})
    async with open_runtime() as runtime:
        cache = await cache_to(runtime, await stage_of(runtime, journal), store=store)
        await outcomes(*again(cache, "a", "b"))
        await wait_all_tasks_blocked()
        await cache.ask(GetCacheStatistics())
        await cache.ask(ClearCache())
        answers = await outcomes(*again(cache, "c", "d"))
        assert [answer.text for answer in answers] == ["about c", "about d"]
        assert (await cache.ask(call("c", cacheable=True))).route == "cache"
        statistics = await cache.ask(GetCacheStatistics())
        assert not statistics.is_on_disk
        assert runtime.snapshot()[cache.path].incarnation == 1
    assert [event for event in log if event["event"] == "cache_unavailable"] == [
        {
            "event": "cache_unavailable",
            "log_level": "warning",
            "path": "a fake",
            "reason": BROKEN.reason,
            "remedy": BROKEN.remedy,
        }
    ]
    assert not store.is_open


async def test_an_entry_that_cannot_be_read_is_asked_for_again_and_replaced(autojump_clock):
    journal, store = Journal(), FakeStore()
    async with open_runtime() as runtime:
        cache = await cache_to(
            runtime, await stage_of(runtime, journal), store=store, policy=MEMORYLESS
        )
        await cache.ask(call(cacheable=True))
        await wait_all_tasks_blocked()
        [(key, entry)] = store.kept.items()
        store.kept[key] = attrs.evolve(entry, value=b"rubbish")
        assert (await cache.ask(call(cacheable=True))).route == "live"
        await wait_all_tasks_blocked()
        assert store.kept[key] == entry
        assert (await cache.ask(call(cacheable=True))).route == "cache"
