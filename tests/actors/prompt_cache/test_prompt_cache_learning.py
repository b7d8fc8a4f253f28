"""What the stage explains beforehand, and what it learns from the provider."""

import json
from decimal import Decimal
from functools import partial

import attrs
import pytest
import trio
from fakes import URL, Reply, Script, outcomes, refusal
from provided import house
from similar_calls import CLAUDE, OLDER, all_of, asking, at_once, many, reads, times

from callsheet.actors import (
    Endpoint,
    RetryPolicy,
    Target,
    TroupeSettings,
    open_troupe,
)
from callsheet.simulator import CacheSettings, ProviderSettings

SLOW = {"latency_s": (3.0, 3.0)}


# -------------------------------------------------------------------------------- what to expect


async def test_a_plan_says_whether_a_beginning_is_cold_warming_or_warm(autojump_clock):
    async with house(vendor="anthropic") as at:
        states, savings = [], []

        async def look(after):
            await trio.sleep(after)
            found = (await at.troupe.explain(asking("What?", marked=True))).prompt_cache
            states.append((found.state, found.why))
            savings.append(found.saving_usd)

        await look(0)
        await outcomes(
            partial(at.troupe.complete, asking(marked=True)), partial(look, 0.5), partial(look, 2.0)
        )
        assert states == [("cold", ""), ("warming", ""), ("warm", "")]
        assert savings[0] == Decimal("-0.25") * 3 * 2120 / 1_000_000
        assert savings[1] == savings[2] == Decimal("0.9") * 3 * 2120 / 1_000_000
        assert len(at.sent) == 1, "a plan sends nothing"
        assert (await at.troupe.prompt_cache_statistics()).planned == 1


async def test_the_cost_of_a_plan_has_what_the_cache_saves_or_costs(autojump_clock):
    async with house(vendor="anthropic", prompt_caching="auto") as at:
        expected, costs = [], []
        for number in range(4):
            request = asking(f"Text {number}", max_tokens=5)
            expected.append((await at.troupe.explain(request)).cost_usd)
            costs.append((await at.troupe.complete(request)).cost_usd)
            await trio.sleep(1)
        assert costs[2] < costs[0] < costs[1], "reads, nothing, a write"
        for one, cost in zip(expected, costs, strict=True):
            assert float(one) == pytest.approx(float(cost), rel=0.1)


async def test_a_plan_says_why_nothing_is_cached(autojump_clock):
    async with house(vendor="anthropic") as at:
        for request, why in (
            (asking(), "no mark"),
            (asking(system="Short."), "shorter than 1024 tokens"),
            (asking(model="mystery"), "no prompt cache of this model"),
        ):
            found = (await at.troupe.explain(request)).prompt_cache
            assert why in found.why
            assert (found.tokens, found.saving_usd) == (0, 0)
    async with house(vendor="anthropic", prompt_caching="off") as at:
        assert (await at.troupe.explain(asking())).prompt_cache is None


async def test_a_plan_has_the_marks_and_the_key_that_would_be_added(autojump_clock):
    async with house(vendor="anthropic", prompt_caching="auto") as at:
        await at.troupe.complete(asking("Tea"))
        assert (await at.troupe.explain(asking("Milk"))).prompt_cache.marks == 1
    async with house(vendor="openai", prompt_caching="auto") as at:
        found = (await at.troupe.explain(asking(model=OLDER))).prompt_cache
        await at.troupe.complete(asking(model=OLDER))
        assert json.loads(at.sent[0].body)["prompt_cache_key"] == found.key != ""


def test_the_setting_takes_no_other_value():
    with pytest.raises(ValueError, match="prompt_caching"):
        TroupeSettings(endpoint=Endpoint(URL), prompt_caching="always")


async def test_a_pool_and_a_server_of_which_nothing_is_known_have_no_such_stage():
    pool = Endpoint.pool([Endpoint.of("openai", "sk-1234567890"), Endpoint.of("openai", "sk-2")])
    for endpoint in (pool, Endpoint(URL)):
        async with open_troupe(TroupeSettings(endpoint=endpoint, transport=Script())) as troupe:
            assert troupe.prompt_cache is None


# ------------------------------------------------------------------------- what the provider shows


async def test_a_minimum_that_is_higher_than_documented_is_learned_from_usage(autojump_clock):
    settings = ProviderSettings(**SLOW, cache=CacheSettings(minimum=5000))
    async with house(vendor="anthropic", prompt_caching="auto", provider=settings) as at:
        await all_of(at, many(4))
        assert sum(b"cache_control" in sent.body for sent in at.sent) == 3
        del at.transport.sent[:]
        begun = trio.current_time()
        await all_of(at, many(4))
        assert not any(b"cache_control" in sent.body for sent in at.sent)
        assert times(at) == [begun] * 4, "no call waits"


async def test_a_cache_that_can_be_read_at_the_end_only_is_waited_for_to_the_end(autojump_clock):
    """DeepSeek makes its entries when a request has ended."""
    settings = ProviderSettings(**SLOW, cache=CacheSettings(readable="ended"))
    endpoint = Endpoint(URL, "sk-1234567890", "deepseek")
    async with house(endpoint=endpoint, provider=settings) as at:
        await all_of(at, many(4, model="deepseek-chat"))
        assert times(at) == [0.0, 3.0, 3.0, 3.0]


@pytest.mark.parametrize("together", [False, True])
async def test_marks_that_a_provider_refuses_are_not_added_again(autojump_clock, together):
    """Neither to the calls that were planned before and follow."""
    words = "messages.0.content.0.cache_control: Extra inputs are not permitted"
    body = {"type": "error", "error": {"type": "invalid_request_error", "message": words}}
    message = {
        "type": "message",
        "role": "assistant",
        "model": CLAUDE,
        "content": [{"type": "text", "text": "Tea."}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 2125, "output_tokens": 2},
    }
    whole = Reply(body=message)
    script = Script(whole, attrs.evolve(refusal(400), body=body), whole)
    settings = TroupeSettings(
        endpoint=Endpoint(URL, "sk-ant-0123456789", "anthropic"),
        transport=script,
        prompt_caching="auto",
    )
    async with open_troupe(settings) as troupe:
        calls = [partial(troupe.complete, asking(max_tokens=5)) for _ in range(4)]
        if together:
            await outcomes(*calls)
        else:
            assert [(await call()).text for call in calls] == ["Tea."] * 4
    marked = [b"cache_control" in sent.body for sent in script.sent]
    assert marked == [False, True, False, False, False]


async def test_a_leader_that_falls_back_warms_nothing_and_the_next_one_leads(autojump_clock):
    second = Target(Endpoint("http://second/v1", "sk-ant-1234567890", "anthropic"))
    async with house(
        "503", vendor="anthropic", fallbacks=[second], retry=RetryPolicy(max_attempts=2)
    ) as at:
        found = await at_once(at, many(3, marked=True))
        assert sorted(one.host for one in found) == ["provider", "provider", "second"]
        hosts = sorted((sent.at, sent.host) for sent in at.sent)
        assert hosts == [
            (0.0, "provider"),
            (0.0, "provider"),
            (0.0, "second"),
            (1.0, "provider"),
        ]
        assert sorted(reads(found)) == [False, False, True]
