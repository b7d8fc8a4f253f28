"""The limiter in a troupe: limits that the built-in provider reports, lanes, changes."""

from functools import partial

import attrs
import pytest
import trio
from fakes import MODEL, outcomes
from provided import VENDORS, house

from callsheet.actors import (
    BreakerPolicy,
    ChatMessage,
    Lane,
    Limits,
    ProviderUnavailable,
    Rate,
    Request,
    RequestTooLarge,
    Usage,
)
from callsheet.simulator.settings import ProviderSettings


def requests(count, **more):
    return [
        attrs.evolve(Request.of(f"Say something about {n} ships.", model=MODEL), **more)
        for n in range(count)
    ]


async def all_answered(at, count, *, lane="", **more):
    """Send several requests at once; return the times at which they were sent."""
    found = await outcomes(
        *(partial(at.troupe.complete, request, lane=lane) for request in requests(count, **more))
    )
    assert not [one for one in found if isinstance(one, Exception)]
    return [sent.at for sent in at.sent]


SETTINGS = {
    "openai": {"rpm": 600, "tpm": 90_000},
    "anthropic": {"rpm": 600, "itpm": 90_000, "otpm": 90_000},
}


@pytest.mark.parametrize("vendor", VENDORS)
async def test_limits_are_read_from_responses_and_no_call_is_rejected(autojump_clock, vendor):
    provider = ProviderSettings(burst_s=1.0, time_scale=0.1, **SETTINGS[vendor])
    async with house(vendor=vendor, provider=provider, limits=Limits(find=True)) as at:
        sent = await all_answered(at, 150, max_tokens=50)
        known = (await at.troupe.limiter_statistics()).limiter.buckets
        assert at.stats.rejected == 0
    assert {state.source for state in known} == {"learned"}
    assert {state.limit for state in known} == set(SETTINGS[vendor].values())
    assert 0.97 <= 149 / (sent[-1] - sent[0]) / 10 <= 1.06


async def test_a_warm_prompt_cache_raises_the_throughput(autojump_clock):
    """Anthropic does not count what is read from the cache."""
    instruction = "Label the sentiment of the review, and nothing else. " * 160  # 2,000 tokens
    provider = ProviderSettings(time_scale=0.1, itpm=12_000, burst_s=10.0)
    limits = Limits(rates=[Rate("input_tokens", 12_000, burst_s=10.0)], learn=False, in_flight=1)

    async def time_of(**mark):
        async with house(vendor="anthropic", provider=provider, limits=limits) as at:
            system = ChatMessage("system", instruction, extra=mark)
            begun = trio.current_time()
            for number in range(20):
                user = ChatMessage("user", f"Review {number}")
                chat = Request(model="claude-sonnet-4-5", messages=(system, user), max_tokens=5)
                await at.troupe.complete(chat)
            assert at.stats.rejected == 0
            return trio.current_time() - begun

    unmarked_s = await time_of()
    marked_s = await time_of(cache_control={"type": "ephemeral"})
    assert unmarked_s > 190, "ten seconds a call"
    assert marked_s < 30


async def test_without_find_a_crowd_is_sent_at_once_and_learns_from_rejections(autojump_clock):
    provider = ProviderSettings(rpm=600, burst_s=1.0, time_scale=0.1)
    async with house(provider=provider, limits=Limits(in_flight=50)) as at:
        await all_answered(at, 100, max_tokens=50)
        assert 0 < at.stats.rejected < 60
        (state,) = (await at.troupe.limiter_statistics()).limiter.buckets
    assert (state.limit, state.per_s, state.source) == (600, 60.0, "learned")


async def test_with_learn_off_nothing_is_learned(autojump_clock):
    provider = ProviderSettings(rpm=6_000, time_scale=0.1)
    async with house(provider=provider, limits=Limits(learn=False)) as at:
        await all_answered(at, 20)
        assert (await at.troupe.limiter_statistics()).limiter.buckets == ()


async def test_tokens_are_settled_and_the_estimator_is_updated(autojump_clock):
    limits = Limits(rates=[Rate("output_tokens", 60_000), Rate("usd", 1.0, 86_400)])
    async with house(provider=ProviderSettings(time_scale=0.1), limits=limits) as at:
        answer = await at.troupe.complete(requests(1)[0])
        now = await at.troupe.limiter_statistics()
    assert answer.usage.output_tokens > 0
    used = {state.dimension: state.used for state in now.limiter.buckets}
    assert used["usd"] == pytest.approx(float(answer.cost_usd), rel=0.1)
    assert now.estimators[MODEL].calls == 1
    assert now.estimators[MODEL].output_tokens == answer.usage.output_tokens


async def test_streams_are_settled_like_whole_answers(autojump_clock):
    async with house(provider=ProviderSettings(time_scale=0.1)) as at:
        async with at.troupe.stream(requests(1)[0]) as pieces:
            async for _ in pieces:
                pass
        assert isinstance(pieces.response.usage, Usage)
        assert (await at.troupe.limiter_statistics()).estimators[MODEL].calls == 1


async def test_a_call_that_a_breaker_held_returns_its_reservation(autojump_clock):
    """The call was admitted, but never sent (L3)."""
    limits = Limits(rates=[Rate("requests", 60, burst_s=60.0)], learn=False)
    breaker = BreakerPolicy(consecutive=1, pause_s=50.0, max_pause_s=50.0)
    async with house("500", limits=limits, breaker=breaker) as at:
        for request in requests(2):
            with pytest.raises(ProviderUnavailable, match="breaker"):
                await at.troupe.complete(request, timeout=5)
        (state,) = (await at.troupe.limiter_statistics()).limiter.buckets
        assert len(at.sent) == 1
        assert state.used == pytest.approx(1.0 - trio.current_time(), abs=1e-6)


async def test_lanes_share_while_they_wait(autojump_clock):
    limits = Limits(rpm=60, burst_s=0, learn=False, lanes={"paying": Lane(weight=3)})
    order = []

    async with house(provider=ProviderSettings(time_scale=0.0), limits=limits) as at:

        async def ask(lane, request):
            await at.troupe.complete(request, lane=lane)
            order.append(lane)

        async with trio.open_nursery() as nursery:
            for request in requests(20):
                nursery.start_soon(ask, "free", request)
                nursery.start_soon(ask, "paying", request)
    assert 14 <= order[:20].count("paying") <= 16


async def test_limits_can_be_changed_while_calls_wait(autojump_clock):
    limits = Limits(rpm=6, burst_s=0, learn=False)
    async with house(provider=ProviderSettings(time_scale=0.0), limits=limits) as at:
        async with trio.open_nursery() as nursery:
            for request in requests(5, max_tokens=500):
                nursery.start_soon(at.troupe.complete, request)
            await trio.sleep(1)
            why = (await at.troupe.explain(requests(1)[0])).limits
            assert why.wait_s == pytest.approx(49)
            assert (why.before, "6 requests a minute" in why.because) == (4, True)
            await at.troupe.change_limits(attrs.evolve(limits, rpm=60))
        assert trio.current_time() == pytest.approx(1 + 0.9 + 3, abs=0.2)
        await trio.sleep(10)
        start = trio.current_time()
        waiting = partial(at.troupe.complete, requests(1, max_tokens=500)[0])

        async def tighten():
            await trio.sleep(0.1)
            await at.troupe.change_limits(Limits(tpm=100))

        first, second, _ = await outcomes(waiting, waiting, tighten)
        assert isinstance(second, RequestTooLarge)
        assert not isinstance(first, Exception)
        assert trio.current_time() - start < 5
