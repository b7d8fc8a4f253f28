"""The billed tokens by model and tier; flex calls without capacity."""

import httpx
import pytest
from provider_client import connected

from callsheet.simulator.stats import BilledTokens


async def test_tokens_are_billed_by_model_and_tier(autojump_clock):
    async with connected(latency_s=(0.0, 0.0)) as client:
        usages = {
            tier: (await client.chat(service_tier=tier)).json()["usage"]
            for tier in ("auto", "default", "flex", "priority", "fast")
        }
        await client.message(model="claude")
        await client.post("/v1/embeddings", json={"model": "e", "input": "four"})
        stats = client.provider.stats
        shown = (await client.get("/callsheet/stats")).json()
    one = BilledTokens(usages["auto"]["prompt_tokens"], usages["auto"]["completion_tokens"])
    two = one.plus(one.input_tokens, one.output_tokens)
    assert stats.billed["m"] == {"default": two, "flex": one, "priority": two}
    assert stats.billed["claude"] == {"default": one}
    assert stats.billed["e"] == {"default": BilledTokens(1, 0)}
    assert stats.input_tokens == 6 * one.input_tokens + 1
    assert stats.output_tokens == 6 * one.output_tokens
    assert shown["billed"]["e"] == {"default": {"input_tokens": 1, "output_tokens": 0}}


async def test_flex_may_be_refused_and_costs_nothing_then(autojump_clock):
    async with connected(flex_refused=1.0, rpm=10) as client:
        refused = await client.chat(service_tier="flex")
        assert (await client.chat(service_tier="auto")).status_code == 200
        stats = client.provider.stats
    assert refused.status_code == 429
    error = refused.json()["error"]
    assert (error["code"], error["message"]) == ("resource_unavailable", "Resource Unavailable")
    assert refused.headers["x-ratelimit-remaining-requests"] == "9"
    assert "retry-after" not in refused.headers
    assert set(stats.billed["m"]) == {"default"}
    assert stats.rejected == 1


async def test_flex_is_refused_by_chance_and_repeats(autojump_clock):
    async def statuses():
        async with connected(flex_refused=0.5, latency_s=(0.0, 0.0)) as client:
            return [(await client.chat(service_tier="flex")).status_code for _ in range(40)]

    found = await statuses()
    assert 10 < found.count(429) < 30
    assert await statuses() == found


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_is_lost_is_billed(autojump_clock, stream):
    async with connected() as client:
        usage = (await client.chat()).json()["usage"]
        with pytest.raises(httpx.ReadError):
            await client.chat(headers={"x-callsheet-fault": "lost"}, stream=stream)
        stats = client.provider.stats
    assert stats.input_tokens == 2 * usage["prompt_tokens"]
    assert stats.output_tokens == 2 * usage["completion_tokens"]
    assert (stats.broken, stats.in_flight, stats.working) == (1, 0, 0)
