"""Calls that share a beginning: one writes it, the others follow its first token and read it.

The built-in provider lets a prefix be read from the first token of the response that wrote it.
"""

import json
from functools import partial
from itertools import pairwise

import pytest
import trio
from fakes import outcomes
from provided import house
from similar_calls import (
    CLAUDE,
    NEWER,
    OLDER,
    ONCE,
    SYSTEM,
    N,
    all_of,
    asking,
    at_once,
    cancel_soon,
    many,
    reads,
    times,
    writes,
)
from trio.testing import wait_all_tasks_blocked

from callsheet.actors import (
    CallFailed,
    ChatMessage,
    Lane,
    Limits,
    ProviderUnavailable,
    Request,
    Response,
    Tool,
)
from callsheet.actors.prompt_cache import ExplainPromptCache
from callsheet.runtime import ActorCrashed, AskFailed, AskTimedOut
from callsheet.simulator import ProviderSettings


async def counts(at):
    """Return the counts of the stage; no call waits in it any more."""
    found = await at.troupe.prompt_cache_statistics()
    assert found.waiting == 0
    return found


# ------------------------------------------------------------------------- who leads, who follows


async def test_one_of_many_marked_calls_writes_and_the_others_read(autojump_clock):
    async with house(vendor="anthropic") as at:
        found = await all_of(at, many(marked=True))
        assert (sum(writes(found)), sum(reads(found))) == (1, N - 1)
        assert times(at) == [0.0] + [1.0] * (N - 1), "they wait for one first token"
        statistics = await counts(at)
        assert (statistics.leading, statistics.warm, statistics.followed) == (1, N - 1, N - 1)
        assert statistics.longest_wait_s == 1.0
        await at.at_rest()


async def test_without_the_stage_every_one_of_them_writes(autojump_clock):
    async with house(vendor="anthropic", prompt_caching="off") as at:
        found = await all_of(at, many(marked=True))
        assert (sum(writes(found)), sum(reads(found))) == (N, 0)
        assert at.troupe.prompt_cache is None
        with pytest.raises(ValueError, match="prompt_caching is off"):
            await at.troupe.prompt_cache_statistics()


async def test_auto_marks_the_second_call_with_a_beginning_and_those_after_it(autojump_clock):
    async with house(vendor="anthropic", prompt_caching="auto") as at:
        found = await all_of(at, many())
        assert (sum(writes(found)), sum(reads(found))) == (1, N - 2)
        assert times(at) == [0.0, 0.0] + [1.0] * (N - 2)
        [alone] = [
            one for one in found if not one.usage.cached_tokens + one.usage.cache_write_tokens
        ]
        assert alone is found[0]


async def test_an_automatic_cache_is_read_by_all_but_the_first(autojump_clock):
    async with house(vendor="openai") as at:
        found = await all_of(at, many(15, model=OLDER))
        assert sum(reads(found)) == 14
        assert times(at) == [0.0] + [1.0] * 14
        assert (await counts(at)).leading == 1


async def test_auto_spreads_the_calls_of_a_minute_over_keys_each_with_a_leader(autojump_clock):
    """One of the provider's machines takes 15 requests a minute; without keys, others miss."""
    missed = {}
    for caching in ("order", "auto"):
        async with house(vendor="openai", prompt_caching=caching) as at:
            found = await all_of(at, many(45, model=OLDER))
            missed[caching] = len(found) - sum(reads(found))
            keys = {json.loads(sent.body).get("prompt_cache_key") for sent in at.sent}
            assert len(keys) == {"order": 1, "auto": 3}[caching]
    assert missed["auto"] == 3
    assert missed["order"] > 25


@pytest.mark.parametrize(
    ("limits", "count", "most"),
    [
        (Limits(in_flight=2), 100, 5),
        pytest.param(Limits(in_flight=2), 300, 8, marks=pytest.mark.slow),
        pytest.param(Limits(rpm=30), 300, 3, marks=pytest.mark.slow),
    ],
    ids=["in_flight", "in_flight, many", "rpm"],
)
async def test_calls_that_wait_for_the_limiter_get_keys_when_they_are_sent(
    autojump_clock, limits, count, most
):
    """Each key is another cache, which a call must write."""
    async with house(vendor="openai", prompt_caching="auto", limits=limits) as at:
        found = await all_of(at, many(count, model=OLDER))
        keys = {json.loads(sent.body)["prompt_cache_key"] for sent in at.sent}
        assert len(keys) <= most
        assert len(found) - sum(reads(found)) <= most
        await at.at_rest()


async def test_a_document_in_a_part_of_its_own_is_marked_at_its_end(autojump_clock):
    async with house(vendor="anthropic", prompt_caching="auto") as at:
        texts = ([SYSTEM, f"Question {number}?"] for number in range(10))
        parts = [[{"type": "text", "text": text} for text in both] for both in texts]
        requests = [
            Request(model=CLAUDE, messages=[{"role": "user", "content": one}], max_tokens=300)
            for one in parts
        ]
        found = await all_of(at, requests)
        assert (sum(writes(found)), sum(reads(found))) == (1, 8)
        sent = [json.loads(one.body)["messages"][0]["content"] for one in at.sent]
        assert sent[0] == parts[0]
        for one in sent[1:]:
            assert one[0].pop("cache_control") == {"type": "ephemeral"}
            assert one in parts[1:]


async def test_newer_models_of_openai_write_only_the_marked_beginning(autojump_clock):
    async with house(vendor="openai", prompt_caching="auto") as at:
        found = await all_of(at, many(10, model=NEWER))
        assert (sum(writes(found)), sum(reads(found))) == (1, 9)
        assert found[0].usage.cache_write_tokens < found[0].usage.input_tokens


async def test_a_short_call_is_streamed_if_others_wait_for_it(autojump_clock):
    async with house(vendor="openai") as at:
        await at_once(at, many(3, model=OLDER, max_tokens=5))
        assert times(at) == [0.0, 1.0, 1.0]
        streams = [json.loads(sent.body).get("stream", False) for sent in at.sent]
        assert streams == [True, False, False]


async def test_a_stream_leads_and_follows_as_any_other_call(autojump_clock):
    async def read(at, request):
        async with at.troupe.stream(request) as items:
            return [item async for item in items][-1]

    async with house(vendor="anthropic") as at:
        first, *others = many(6, marked=True)
        found = await outcomes(
            partial(read, at, first),
            *(partial(at.troupe.complete, one) for one in others[:2]),
            *(partial(read, at, one) for one in others[2:]),
        )
        assert (sum(writes(found)), sum(reads(found))) == (1, 5)
        assert times(at) == [0.0] + [1.0] * 5
        await at.at_rest()


async def test_a_beginning_that_has_expired_is_led_again(autojump_clock):
    async with house(vendor="anthropic") as at:
        await all_of(at, many(2, marked=True))
        await trio.sleep(301)
        found = await all_of(at, many(3, marked=True))
        assert (sum(writes(found)), sum(reads(found))) == (1, 2)


async def test_each_turn_of_a_dialogue_reads_the_turns_before(autojump_clock):
    messages = [ChatMessage("system", SYSTEM)]
    async with house(vendor="anthropic", prompt_caching="auto") as at:
        usages = []
        for turn in range(5):
            messages.append(ChatMessage("user", f"Question {turn}: " + "why? " * 200))
            request = Request(model=CLAUDE, messages=tuple(messages), max_tokens=300)
            response = await at.troupe.complete(request)
            messages.append(ChatMessage.from_response(response))
            usages.append(response.usage)
        assert [usage.cached_tokens > 0 for usage in usages] == [False, False, True, True, True]
        for before, after in pairwise(usages[1:]):
            assert after.cached_tokens == before.cached_tokens + before.cache_write_tokens
        assert await counts(at)


tool = Tool(name="search", description="Finds a page.", parameters={"type": "object"})
different = {
    "model": lambda n: asking(marked=True, model=("claude-sonnet-4-5", "claude-sonnet-4-6")[n]),
    "tools": lambda n: asking(marked=True, tools=[tool][:n]),
    "schema": lambda n: asking(marked=True, json_schema=[None, {"type": "object"}][n]),
    "system": lambda n: asking(marked=True, system=f"{n}{SYSTEM}"),
    "thinking": lambda n: asking(marked=True, extra_body={"metadata": {}, "top_k": n + 1}),
}


@pytest.mark.parametrize("what", different)
async def test_calls_that_share_no_beginning_do_not_wait_for_each_other(autojump_clock, what):
    async with house(vendor="anthropic") as at:
        await all_of(at, [different[what](0), different[what](1)])
        assert times(at) == [0.0, 0.0]
        assert (await counts(at)).followed == 0


async def test_nothing_is_held_where_nothing_is_saved(autojump_clock):
    """No mark, too short, a model without a cache, a vendor of whom nothing is known."""
    cases = [
        ("anthropic", many(3)),
        ("anthropic", many(3, marked=True, system="Be brief.")),
        ("openai", many(3, model="gpt-4")),
    ]
    for vendor, requests in cases:
        async with house(vendor=vendor) as at:
            began = trio.current_time()
            await all_of(at, requests)
            assert times(at) == [began] * 3


@pytest.mark.parametrize("model", [CLAUDE, OLDER, NEWER])
@pytest.mark.parametrize("marked", [False, True])
async def test_the_default_adds_no_byte_to_any_body(autojump_clock, model, marked):
    vendor = "anthropic" if model == CLAUDE else "openai"
    sent = {}
    for caching in ("off", "order"):
        async with house(vendor=vendor, prompt_caching=caching) as at:
            await all_of(at, many(3, model=model, marked=marked and model == CLAUDE))
            sent[caching] = sorted(one.body for one in at.sent)
    assert sent["order"] == sent["off"]


# --------------------------------------------------------------------- lanes, deadlines, and ends


async def test_calls_of_other_lanes_follow_a_leader_as_well(autojump_clock):
    """One tenant has written the instruction of all of them."""
    async with house(vendor="anthropic") as at:
        each = [
            partial(at.troupe.complete, one, lane=f"tenant-{number}")
            for number, one in enumerate(many(marked=True))
        ]
        found = await outcomes(*each)
        assert (sum(writes(found)), sum(reads(found))) == (1, N - 1)
        assert times(at) == [0.0] + [1.0] * (N - 1)


async def test_a_lane_does_not_wait_behind_another_one_for_the_leader_there(autojump_clock):
    """The leader of a lane of low priority is sent last, and the others do not wait for it."""
    limits = Limits(in_flight=1, lanes={"first": Lane(priority=9)})
    async with house(vendor="anthropic", limits=limits) as at:
        other = partial(at.troupe.complete, asking("Other", system="Short."))
        last = partial(at.troupe.complete, asking("Last", marked=True))
        first = [partial(at.troupe.complete, one, lane="first") for one in many(3, marked=True)]
        found = await outcomes(other, last, *first)
        texts = [json.loads(sent.body)["messages"][-1]["content"] for sent in at.sent]
        assert texts == ["Other", "Text 0", "Text 1", "Text 2", "Last"]
        assert sum(reads(found)) == 3


async def test_a_call_whose_deadline_is_near_does_not_wait(autojump_clock):
    async with house(vendor="anthropic") as at:
        hurried = partial(at.troupe.complete, asking("Hurry", marked=True), timeout=3.9)
        patient = [partial(at.troupe.complete, one, timeout=20) for one in many(3, marked=True)]
        found = await outcomes(*patient, hurried)
        assert all(isinstance(one, Response) for one in found)
        assert times(at) == [0.0, 0.0, 1.0, 1.0]


async def test_a_follower_that_is_cancelled_leaves(autojump_clock):
    async with house(vendor="anthropic") as at:

        async def give_up():
            with trio.CancelScope() as scope:
                nursery.start_soon(cancel_soon, scope)
                await at.troupe.complete(asking("Late", marked=True))

        first, *others = many(3, marked=True)
        async with trio.open_nursery() as nursery:
            await outcomes(
                partial(at.troupe.complete, first),
                give_up,
                *(partial(at.troupe.complete, one) for one in others),
            )
        assert times(at) == [0.0, 1.0, 1.0]
        await at.at_rest()


async def test_the_first_follower_leads_if_the_leader_is_cancelled(autojump_clock):
    async with house(vendor="anthropic") as at:

        async def give_up():
            with trio.move_on_after(0.5):
                await at.troupe.complete(asking("First", marked=True))

        found = await outcomes(
            give_up, *(partial(at.troupe.complete, one) for one in many(4, marked=True))
        )
        assert times(at) == [0.0, 0.5, 1.5, 1.5, 1.5]
        assert (sum(writes(found[1:])), sum(reads(found[1:]))) == (1, 3)
        await at.at_rest()


async def test_the_first_follower_leads_if_the_leader_expires(autojump_clock):
    async with house("stall", vendor="anthropic") as at:
        first, *others = many(3, marked=True)
        found = await outcomes(
            partial(at.troupe.complete, first, timeout=2.0),
            *(partial(at.troupe.complete, one) for one in others),
        )
        assert isinstance(found[0], AskTimedOut)
        assert times(at) == [0.0, 2.0, 3.0]


async def test_the_first_follower_leads_if_the_leader_fails_and_all_go_after_two(autojump_clock):
    async with house("503", "503", vendor="anthropic", retry=ONCE) as at:
        found = await at_once(at, many(6, marked=True))
        assert [isinstance(one, ProviderUnavailable) for one in found] == [True] * 2 + [False] * 4
        assert times(at) == [0.0] * 6
        assert (await counts(at)).leading == 3


async def test_a_leader_that_waits_at_the_limiter_is_still_followed(autojump_clock):
    async with house(vendor="anthropic", limits=Limits(in_flight=1)) as at:
        found = await all_of(at, many(3, marked=True))
        assert (sum(writes(found)), sum(reads(found))) == (1, 2)
        assert times(at) == [0.0, 3.0, 6.0]


async def test_marks_are_kept_while_the_leader_waits_at_the_limiter_however_long(autojump_clock):
    """Its followers would wait there behind it, and read what it has written."""
    slow = ProviderSettings(latency_s=(30.0, 30.0))
    settings = {"prompt_caching": "auto", "limits": Limits(in_flight=1), "provider": slow}
    async with house(vendor="anthropic", **settings) as at:
        found = await all_of(at, [asking("Other", system="Short."), *many(5)])
        assert times(at) == [0.0, 30.0, 60.0, 90.0, 120.0, 150.0]
        assert (sum(writes(found)), sum(reads(found))) == (1, 3)
        assert (await counts(at)).late == 0


# ------------------------------------------------------------------------------ crashes and drains


async def test_a_crash_fails_the_calls_that_wait_and_the_next_ones_are_led_anew(autojump_clock):
    async with house(vendor="anthropic") as at:
        first, *others = many(4, marked=True)
        late = asking("Late", marked=True)

        async def crash():
            await trio.sleep(0.2)
            await at.troupe.prompt_cache.ask(ExplainPromptCache(None))

        async def again():
            await trio.sleep(0.3)
            return await at.troupe.complete(late)

        found = await outcomes(
            partial(at.troupe.complete, first),
            *(partial(at.troupe.complete, one) for one in others),
            crash,
            again,
        )
        assert isinstance(found[0], Response), "it was sent"
        assert all(isinstance(one, ActorCrashed) for one in found[1:5])
        assert isinstance(found[5], Response)
        assert times(at)[:2] == [0.0, pytest.approx(0.3, abs=1.0)]


async def test_a_drain_sends_the_calls_that_wait(autojump_clock):
    found = []
    async with trio.open_nursery() as nursery:
        async with house("stall", vendor="anthropic") as at:
            nursery.start_soon(keep, found, at, asking("First", marked=True))
            await wait_all_tasks_blocked()
            for one in many(3, marked=True):
                nursery.start_soon(keep, found, at, one)
            await trio.sleep(0.5)
            assert (await at.troupe.prompt_cache_statistics()).waiting == 3
        nursery.cancel_scope.deadline = trio.current_time()
    assert times(at) == [0.0, 0.5, 0.5, 0.5]
    assert sum(isinstance(one, Response) for one in found) == 3


async def keep(found, at, request):
    try:
        found.append(await at.troupe.complete(request))
    except AskFailed as error:
        found.append(error)


async def test_no_call_hangs_whatever_the_provider_does(autojump_clock):
    for fault in ("lost", "truncate", "malformed", "cut", "401", "quota", "500", "error_event"):
        async with house(*[fault] * 4, vendor="anthropic") as at:
            found = await all_of(at, many(4, marked=True), timeout=100)
            assert all(isinstance(one, Response | CallFailed | AskTimedOut) for one in found)
            await counts(at)
            await at.at_rest()
