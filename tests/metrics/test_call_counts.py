"""Each call is counted once, by how it ended, with its tokens, dollars and seconds."""

import pytest
import trio
from fakes import MODEL, REFUSED, STALL, Reply, completion_json, refusal
from scraped import scrape, settings_with

from callsheet.actors import (
    CachePolicy,
    CallContext,
    CallEvent,
    CallFailed,
    HedgePolicy,
    Lane,
    Limits,
    Request,
    RetryPolicy,
    open_troupe,
)
from callsheet.metrics import Metrics
from callsheet.metrics.calls import ERRORS
from callsheet.runtime import AskFailed, AskTimedOut


def ask(prompt="Hi", **more):
    return Request.of(prompt, model=MODEL, **more)


async def test_a_call_counts_once_with_its_tokens_dollars_and_seconds(autojump_clock):
    metrics = Metrics()
    async with open_troupe(settings_with(metrics, Reply(after=2.0))) as troupe:
        response = await troupe.complete(ask())
        seen = await scrape(metrics)
    assert seen.series("calls_total") == {(MODEL, "answered"): 1}
    assert seen.series("responses_total") == {(MODEL, "live"): 1}
    assert seen.series("attempts_total") == {(MODEL, "live"): 1}
    assert (seen("input_tokens_total", MODEL), seen("output_tokens_total", MODEL)) == (10, 5)
    assert seen("cost_dollars_total", MODEL) == float(response.cost_usd)
    assert seen("call_duration_seconds_sum", MODEL, "live") == pytest.approx(2.0, abs=0.01)
    assert seen("call_duration_seconds_bucket", "1.0", MODEL, "live") == 0
    assert seen("call_duration_seconds_bucket", "2.5", MODEL, "live") == 1
    assert seen("queue_duration_seconds_count", "default") == 1
    assert seen("calls_open") == 0


async def test_a_failure_counts_by_its_error_and_a_retry_by_what_it_follows(autojump_clock):
    metrics = Metrics()
    lines = (refusal(429), refusal(503), refusal(400))
    async with open_troupe(settings_with(metrics, *lines)) as troupe:
        with pytest.raises(CallFailed):
            await troupe.complete(ask())
        seen = await scrape(metrics)
    assert seen.series("calls_total") == {(MODEL, "failed"): 1}
    assert seen.series("call_failures_total") == {("BadRequest", MODEL): 1}
    assert seen.series("retries_total") == {
        ("RateLimited", MODEL): 1,
        ("ProviderUnavailable", MODEL): 1,
    }
    assert seen("attempts_total", MODEL, "live") == 3


async def test_a_caller_who_leaves_counts_as_cancelled_and_one_in_time_out_as_failed(
    autojump_clock,
):
    metrics = Metrics()
    async with open_troupe(settings_with(metrics, STALL)) as troupe:
        with trio.move_on_after(1):
            await troupe.complete(ask("leaves"))
        with pytest.raises(AskTimedOut):
            await troupe.complete(ask("waits"), timeout=1)
        with trio.move_on_after(1):
            async with troupe.stream(ask("streams")) as pieces:
                async for _ in pieces:
                    pass
        seen = await scrape(metrics)
    assert seen.series("calls_total") == {(MODEL, "cancelled"): 2, (MODEL, "failed"): 1}
    assert seen.series("call_failures_total") == {("AskTimedOut", MODEL): 1}
    assert seen("calls_open") == 0


async def test_hits_and_joined_calls_are_shared_and_cost_nothing(autojump_clock):
    metrics = Metrics()
    cache = CachePolicy(path=None)
    async with open_troupe(settings_with(metrics, cache=cache)) as troupe:
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(troupe.complete, ask(cacheable=True))
        response = await troupe.complete(ask(cacheable=True))
        seen = await scrape(metrics)
    assert response.route == "cache"
    assert seen.series("calls_total") == {(MODEL, "answered"): 1, (MODEL, "shared"): 2}
    assert seen.series("responses_total") == {
        (MODEL, "live"): 1,
        (MODEL, "joined"): 1,
        (MODEL, "cache"): 1,
    }
    assert seen("input_tokens_total", MODEL) == 10
    assert seen("cache_lookups_total", "memory") == 1
    assert seen("joined_calls_total") == 1
    assert seen("cache_saved_dollars_total") > 0


async def test_a_hedged_call_is_one_call_of_two_attempts(autojump_clock):
    metrics = Metrics()
    lines = (*[Reply(after=0.1)] * 12, Reply(after=50.0), Reply(after=0.1))
    hedging = HedgePolicy(min_calls=10, max_share=1.0)
    async with open_troupe(settings_with(metrics, *lines, hedging=hedging)) as troupe:
        for number in range(13):
            await troupe.complete(ask(f"Hi {number}"))
        seen = await scrape(metrics)
    assert seen("calls_total", MODEL, "answered") == 13
    assert seen("attempts_total", MODEL, "live") == 14
    assert seen("hedges_total") >= 1


async def test_a_wait_is_of_the_lane_of_its_call(autojump_clock):
    metrics = Metrics(lanes=["night"])
    limits = Limits(in_flight=1, lanes={"gold": Lane(weight=2)})
    async with open_troupe(settings_with(metrics, limits=limits)) as troupe:
        async with trio.open_nursery() as nursery:
            for number, lane in enumerate(["gold", "night", "tenant 17", ""]):
                wait = ask(f"Hi {number}")
                nursery.start_soon(lambda wait=wait, lane=lane: troupe.complete(wait, lane=lane))
            await trio.sleep(0.5)
            while_waiting = await scrape(metrics)
        seen = await scrape(metrics)
    waits = seen.series("queue_duration_seconds_count")
    assert waits == {("gold",): 1, ("night",): 1, ("other",): 1, ("default",): 1}
    assert sum(seen.series("queue_duration_seconds_sum").values()) == pytest.approx(6, abs=0.1)
    assert sum(while_waiting.series("calls_waiting").values()) == 3
    assert (while_waiting("calls_in_flight"), while_waiting("calls_open")) == (1, 4)
    assert seen.series("calls_waiting") == {}


async def test_a_call_that_is_cancelled_in_the_queue_leaves_nothing(autojump_clock):
    metrics = Metrics()
    limits = Limits(in_flight=1)
    async with open_troupe(settings_with(metrics, STALL, limits=limits)) as troupe:
        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(troupe.complete, ask(f"Hi {number}"))
            await trio.sleep(1)
            nursery.cancel_scope.cancel()
        seen = await scrape(metrics)
        assert seen("calls_total", MODEL, "cancelled") == 5
        assert metrics._calls._queued == metrics._calls._open == {}


async def test_a_price_that_is_not_known_is_counted_and_not_zero_dollars(autojump_clock):
    metrics = Metrics(models=["llama-at-home"])
    reply = Reply(body=completion_json(model="llama-at-home"))
    async with open_troupe(settings_with(metrics, reply)) as troupe:
        await troupe.complete(Request.of("Hi", model="llama-at-home"))
        seen = await scrape(metrics)
    assert seen.series("unpriced_calls_total") == {("llama-at-home",): 1}
    assert seen.series("cost_dollars_total") == {}


async def test_what_may_have_been_charged_is_counted(autojump_clock):
    metrics = Metrics()
    retry = RetryPolicy(max_attempts=2)
    lines = (Reply(body=b"no json"), Reply())
    async with open_troupe(settings_with(metrics, *lines, retry=retry)) as troupe:
        response = await troupe.complete(ask())
        seen = await scrape(metrics)
    assert response.maybe_billed == 1
    assert seen.series("maybe_billed_attempts_total") == {(MODEL,): 1}


async def test_what_never_reached_the_provider_may_not_have_been_charged(autojump_clock):
    metrics = Metrics()
    retry = RetryPolicy(max_attempts=1)
    async with open_troupe(settings_with(metrics, Reply(error=REFUSED), retry=retry)) as troupe:
        with pytest.raises(CallFailed):
            await troupe.complete(ask())
        seen = await scrape(metrics)
    assert seen.series("call_failures_total") == {("ConnectionFailed", MODEL): 1}
    assert seen.series("maybe_billed_attempts_total") == {}


def test_a_call_that_began_before_is_not_counted():
    metrics = Metrics()
    metrics(CallEvent(stage="cancelled", at=1.0, context=CallContext("call"), model=MODEL))
    assert not [sample for sample in metrics._calls.samples() if sample.value]


def test_the_label_of_errors_has_every_error_of_a_call():
    def below(kind):
        return {kind, *(one for each in kind.__subclasses__() for one in below(each))}

    ours = {
        kind.__name__
        for root in (CallFailed, AskFailed)
        for kind in below(root) - {root}
        if kind.__module__.startswith(("callsheet.actors.", "callsheet.runtime."))
    }
    raised_beside_calls = {name for name in ours if name.startswith("Tool")}
    assert ours - raised_beside_calls - {"MailboxFunctionFailed", "ResultNotValid"} == ERRORS
