"""Joined, packed, batched, hedged and retried calls go through stages of a program's own."""

from functools import partial

import pytest
import trio
from fakes import MODEL, STALL, URL, Reply, Script, completion_json, outcomes, refusal
from own_stages import Idle, Shouting, Watching
from test_whole_way import WAYS, billed_usd, label

from callsheet.actors import (
    CachePolicy,
    CallContext,
    Complete,
    Endpoint,
    HedgePolicy,
    Limits,
    Request,
    RetryPolicy,
    Stream,
    Target,
    TroupeSettings,
    cast_troupe,
    insert,
    open_troupe,
)
from callsheet.runtime import open_runtime

EVERYWHERE = ("batcher", "ledger", "router", "batches", "limiter", "requester")


@pytest.mark.parametrize("kind", [Idle, Watching])
@pytest.mark.parametrize("way", WAYS)
async def test_a_stage_at_every_place_changes_nothing_on_any_way(autojump_clock, way, kind):
    """Books, bills and labels are the same; batches go through the stage before them."""
    reviews = {"reviews": ["Good soup.", "Bad soup.", "Good soup.", "It rained."] * 3}
    usual, stats, books = await label(**reviews, **WAYS[way])
    stages = [insert(kind, before=name) for name in EVERYWHERE]
    found, found_stats, found_books = await label({"stages": stages}, **reviews, **WAYS[way])
    assert [one.text for one in found] == [one.text for one in usual]
    assert [one.route for one in found] == [one.route for one in usual]
    assert [one.cost_usd for one in found] == [one.cost_usd for one in usual]
    assert billed_usd(found_stats) == billed_usd(stats) == found_books.totals.spent.usd
    assert found_books.totals == books.totals


@pytest.mark.parametrize("way", ["packed", "packed in a batch", "batch"])
async def test_what_goes_in_packs_and_batches_is_changed_as_well(autojump_clock, way):
    found, _, _ = await label(
        {"stages": [insert(Shouting, before="router")]}, reviews=["Soup."] * 3, **WAYS[way]
    )
    assert all("!" in one.text for one in found)


# ------------------------------------------------------------------------------ many calls


def settings_for(script, *stages, **more):
    return TroupeSettings(endpoint=Endpoint(URL), transport=script, stages=stages, **more)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["complete", "stream"])
async def test_many_calls_wait_in_stages_with_little_room(autojump_clock, way):
    """Full mailboxes hold callers back and close no circle, retries included."""
    slow = refusal(503, after=0.5)
    script = Script(*[slow, Reply(body=completion_json("Yes"), after=0.5)] * 400)
    stages = [insert(Watching, before=name) for name in ("batcher", "limiter", "requester")]
    more = {"limits": Limits(in_flight=3), "breaker": None, "retry": RetryPolicy(max_attempts=99)}
    async with open_troupe(settings_for(script, *stages, **more), seed="1") as troupe:

        async def ask(number):
            request = Request.of(f"Is it {number}?", model=MODEL)
            if way == "complete":
                return (await troupe.complete(request)).text
            async with troupe.stream(request, buffer=0) as items:
                return [item async for item in items][-1].text

        found = await outcomes(*(partial(ask, number) for number in range(300)))
    assert found == ["Yes"] * 300
    assert script.open == 0


async def test_a_hedge_and_a_fallback_are_one_call_for_a_stage(autojump_clock):
    seen = []

    class Counting(Watching):
        async def outgoing(self, request, context):
            seen.append(context.call)
            return request

    usual = [Reply(after=1.0) for _ in range(60)]
    script = Script(*usual, Reply(after=500.0), Reply(after=1.0))
    settings = settings_for(
        script,
        insert(Counting, before="requester"),
        hedging=HedgePolicy(min_calls=10, max_share=1.0),
        fallbacks=[Target(Endpoint("http://other/v1"))],
        retry=RetryPolicy(max_attempts=3),
    )
    async with open_troupe(settings) as troupe:
        for number in range(61):
            response = await troupe.complete(Request.of(f"{number}", model=MODEL), call=f"{number}")
        assert response.text == "Hello"
    assert len(script.sent) == 62, "the last one was hedged"
    assert seen == [f"{number}" for number in range(61)]


async def test_a_stage_before_the_cache_sees_hits_and_one_behind_it_does_not(autojump_clock):
    seen = {"before": 0, "after": 0}

    def counting(side):
        class Counting(Idle):
            async def outgoing(self, request, context):
                seen[side] += 1
                return request

        return insert(Counting, **{side: "cache"})

    settings = settings_for(
        Script(), counting("before"), counting("after"), cache=CachePolicy(path=None)
    )
    async with open_troupe(settings) as troupe:
        for _ in range(3):
            await troupe.complete(Request.of("Hi", model=MODEL, cacheable=True))
    assert seen == {"before": 3, "after": 1}


async def test_messages_that_are_told_pass_a_stage(autojump_clock):
    """No caller waits for them, and nothing is left of them."""

    script = Script()
    async with open_troupe(settings_for(script, insert(Shouting, before="batcher"))) as troupe:
        request = Request.of("hi", model=MODEL)
        for message in (Complete(request, CallContext("a")), Stream(request, CallContext("b"))):
            await troupe.first_stage.tell(message)
        await trio.sleep(10)
        assert [sent.prompt for sent in script.sent] == ["HI", "HI"]


async def test_a_troupe_that_is_cancelled_leaves_nothing_at_the_provider(autojump_clock):
    script = Script(STALL)
    with trio.move_on_after(5):
        async with open_runtime("app") as runtime, trio.open_nursery() as nursery:
            stages = [insert(Watching, before=name) for name in ("batcher", "requester")]
            troupe = await cast_troupe(runtime, settings_for(script, *stages))
            for number in range(20):
                nursery.start_soon(troupe.complete, Request.of(f"{number}", model=MODEL))
    assert len(script.sent) == 20
    assert script.open == 0
