"""The span tree of each way that a call can go, under the span of its caller."""

import json
from decimal import Decimal
from functools import partial

import pytest
import trio
from fakes import MODEL, RESET, URL, Reply, Script, completion_json, outcomes, refusal
from opentelemetry.trace import SpanKind, StatusCode
from tracing import STREAM, chat, events, links_of

from callsheet.actors import (
    CachePolicy,
    Endpoint,
    HedgePolicy,
    Limits,
    Packing,
    Recipe,
    Request,
    Step,
    Target,
    open_troupe,
)

CALL = f"chat {MODEL}"
VECTORS = {
    "data": [{"index": at, "embedding": [1.0, float(at)]} for at in range(2)],
    "model": MODEL,
    "usage": {"prompt_tokens": 4, "total_tokens": 4},
}


async def test_a_call_is_one_span_with_an_attempt(autojump_clock, telemetry):
    async with open_troupe(telemetry.settings(Script(Reply()))) as troupe:
        await telemetry.ask_all(troupe, chat(max_tokens=50, stop="END"))
    assert telemetry.tree() == [["caller of a", [CALL, "POST"]]]
    call, attempt = telemetry.one(CALL), telemetry.one("POST")
    assert call.kind is attempt.kind is SpanKind.CLIENT
    assert dict(call.attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "compatible",
        "gen_ai.request.model": MODEL,
        "gen_ai.request.max_tokens": 50,
        "gen_ai.request.stop_sequences": ("END",),
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.response.model": MODEL,
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 5,
        "server.address": "provider",
        "server.port": 80,
        "callsheet.call.id": "a",
        "callsheet.outcome": "answered",
        "callsheet.route": "live",
        "callsheet.http_requests": 1,
        "callsheet.cost_usd": pytest.approx(0.000075),
    }
    assert dict(attempt.attributes) == {
        "callsheet.route": "live",
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "server.address": "provider",
        "server.port": 80,
    }
    assert call.status.status_code is attempt.status.status_code is StatusCode.UNSET


async def test_a_streamed_call_has_the_time_to_its_first_chunk(autojump_clock, telemetry):
    script = Script(Reply(body=events("Hel", "lo"), headers=STREAM, after=2.0))
    async with open_troupe(telemetry.settings(script)) as troupe:
        with telemetry.tracer.start_as_current_span("caller"):
            async with troupe.stream(chat(), call="a") as items:
                assert len([item async for item in items]) == 3
    assert telemetry.tree() == [["caller", [CALL, "POST"]]]
    attributes = telemetry.call("a").attributes
    assert attributes["gen_ai.request.stream"] is True
    assert attributes["gen_ai.response.time_to_first_chunk"] == pytest.approx(2.0)


async def test_a_stream_that_its_reader_leaves_is_cancelled(autojump_clock, telemetry):
    script = Script(Reply(body=events("Hel", "lo"), headers=STREAM, pieces=10, gap=10.0))
    async with (
        open_troupe(telemetry.settings(script)) as troupe,
        troupe.stream(chat(), call="a") as items,
    ):
        await anext(items)
    assert telemetry.tree() == [[CALL, "POST"]]
    for span in telemetry.spans:
        assert span.attributes["error.type"] == "cancelled"
        assert span.status.status_code is StatusCode.UNSET
    assert telemetry.call("a").attributes["callsheet.outcome"] == "cancelled"


async def test_retries_are_further_attempts_of_one_call(autojump_clock, telemetry):
    script = Script(refusal(500), Reply(error=RESET), Reply())
    async with open_troupe(telemetry.settings(script)) as troupe:
        await telemetry.ask_all(troupe, chat())
    assert telemetry.tree() == [["caller of a", [CALL, "POST", "POST", "POST"]]]
    first, second, third = telemetry.attempts(telemetry.call("a"))
    assert [one.attributes.get("http.request.resend_count") for one in (first, second, third)] == [
        None,
        1,
        2,
    ]
    assert (first.attributes["error.type"], first.attributes["http.response.status_code"]) == (
        "500",
        500,
    )
    assert second.attributes["error.type"] == "ConnectionFailed"
    assert first.status.status_code is StatusCode.ERROR
    assert third.status.status_code is StatusCode.UNSET
    call = telemetry.call("a")
    assert [event.name for event in call.events] == ["callsheet.retrying"] * 2
    assert call.attributes["callsheet.http_requests"] == 3
    assert call.status.status_code is StatusCode.UNSET


async def test_a_call_that_fails_says_why(autojump_clock, telemetry):
    async with open_troupe(telemetry.settings(Script(refusal(401, "No.")))) as troupe:
        await telemetry.ask_all(troupe, chat())
    assert telemetry.tree() == [["caller of a", [CALL, "POST"]]]
    call = telemetry.call("a")
    assert (call.attributes["error.type"], call.attributes["callsheet.outcome"]) == (
        "401",
        "failed",
    )
    assert call.status.status_code is StatusCode.ERROR
    assert "No." in call.status.description


async def test_a_call_that_ends_in_time_out_is_no_cancelled_one(autojump_clock, telemetry):
    async with open_troupe(telemetry.settings(Script(Reply(after=60.0)))) as troupe:
        await telemetry.ask_all(troupe, chat(), timeout=5.0)
        await trio.sleep(1.0)
    call, (attempt,) = telemetry.call("a"), telemetry.attempts(telemetry.call("a"))
    assert call.attributes["error.type"] == "AskTimedOut"
    assert attempt.attributes["error.type"] == "cancelled"


@pytest.mark.parametrize("before_s", [0.5, 3.0])
async def test_a_call_that_is_cancelled_ends_with_its_attempt(autojump_clock, telemetry, before_s):
    """The attempt ends a moment after the call."""
    async with open_troupe(telemetry.settings(Script(Reply(after=60.0)))) as troupe:
        with trio.move_on_after(before_s):
            await telemetry.ask_all(troupe, chat())
        await trio.sleep(1.0)
        assert telemetry.tree() == [["caller of a", [CALL, "POST"]]]
    assert repr(telemetry.observer) == "<OpenTelemetry: 0 calls open>"


async def test_a_call_that_joins_is_linked_to_the_one_that_it_follows(autojump_clock, telemetry):
    async with open_troupe(telemetry.settings(Script(Reply()))) as troupe:
        await telemetry.ask_all(troupe, *[chat(cacheable=True)] * 2)
    assert telemetry.tree() == [["caller of a", [CALL, "POST"]], ["caller of b", CALL]]
    leader, follower = telemetry.call("a"), telemetry.call("b")
    assert links_of(follower) == {leader.context.span_id}
    assert follower.attributes["callsheet.outcome"] == "shared"
    assert follower.attributes["callsheet.route"] == "joined"


async def test_the_attempts_of_a_leader_that_left_belong_to_its_span(autojump_clock, telemetry):
    script = Script(refusal(500, after=4.0), Reply())
    async with open_troupe(telemetry.settings(script)) as troupe:

        async def leave():
            with trio.move_on_after(2.0):
                await troupe.complete(chat(cacheable=True), call="a")

        await outcomes(leave, partial(troupe.complete, chat(cacheable=True), call="b"))
    leader, follower = telemetry.call("a"), telemetry.call("b")
    assert leader.attributes["callsheet.outcome"] == "cancelled"
    assert len(telemetry.attempts(leader)) == 2
    assert follower.attributes["callsheet.outcome"] == "answered"
    assert repr(telemetry.observer) == "<OpenTelemetry: 0 calls open>"


async def test_a_listed_call_is_linked_with_its_members(autojump_clock, telemetry):
    requests = [
        Request(model=MODEL, task="embedding", inputs=text, deadline=60.0) for text in ("x", "y")
    ]
    async with open_troupe(telemetry.settings(Script(Reply(body=VECTORS)))) as troupe:
        await telemetry.ask_all(troupe, *requests)
    name = f"embeddings {MODEL}"
    assert telemetry.tree() == [
        ["caller of a", [name, [name, "POST"]]],
        ["caller of b", name],
    ]
    one, other, both = (telemetry.call(id_) for id_ in ("a", "b", "a+1"))
    assert links_of(both) == {one.context.span_id, other.context.span_id}
    assert links_of(one) == links_of(other) == {both.context.span_id}
    assert both.attributes["callsheet.shared_as"] == "list"
    assert both.attributes["callsheet.shared_calls"] == 2
    assert [one.attributes["gen_ai.usage.input_tokens"] for one in (one, other, both)] == [2, 2, 4]


@pytest.mark.parametrize("fails", [False, True])
async def test_a_packed_call_is_linked_with_its_members(autojump_clock, telemetry, fails):
    packed = completion_json(json.dumps({"results": ["one", "two"]}))
    reply = refusal(401) if fails else Reply(body=packed)
    packing = Packing(check_share=0.0)
    async with open_troupe(telemetry.settings(Script(reply), packing=packing)) as troupe:
        requests = [
            Request.of(text, system="Label. " * 100, model=MODEL, packable=True, deadline=60.0)
            for text in ("first", "second")
        ]
        found = await telemetry.ask_all(troupe, *requests)
    assert any(isinstance(one, Exception) for one in found) is fails
    both = telemetry.call("a+1")
    assert links_of(both) == {telemetry.call(id_).context.span_id for id_ in "ab"}
    assert both.attributes["callsheet.shared_as"] == "pack"
    assert both.attributes["callsheet.outcome"] == ("failed" if fails else "answered")
    assert [span.name for span in telemetry.attempts(both)] == ["POST"]


async def test_a_cached_call_has_no_attempt(autojump_clock, telemetry):
    cache = CachePolicy(path=None)
    async with open_troupe(telemetry.settings(Script(Reply()), cache=cache)) as troupe:
        await telemetry.ask_all(troupe, chat(cacheable=True))
        telemetry.exporter.clear()
        await telemetry.ask_all(troupe, chat(cacheable=True))
    assert telemetry.tree() == [["caller of a", CALL]]
    attributes = telemetry.call("a").attributes
    assert (attributes["callsheet.route"], attributes["callsheet.outcome"]) == ("cache", "shared")
    assert "gen_ai.usage.input_tokens" not in attributes


async def test_a_hedged_call_has_two_attempts_of_which_one_is_cancelled(autojump_clock, telemetry):
    script = Script(*[Reply()] * 10, Reply(after=60.0), Reply())
    hedging = HedgePolicy(min_calls=10, max_share=0.5)
    async with open_troupe(telemetry.settings(script, hedging=hedging)) as troupe:
        for _ in range(10):
            await troupe.complete(chat())
        telemetry.exporter.clear()
        await telemetry.ask_all(troupe, chat())
    assert telemetry.tree() == [["caller of a", [CALL, "POST", "POST"]]]
    first, second = telemetry.attempts(telemetry.call("a"))
    assert {one.attributes.get("error.type") for one in (first, second)} == {None, "cancelled"}


async def test_a_call_that_falls_back_has_an_attempt_at_another_server(autojump_clock, telemetry):
    script = Script(*[refusal(401)], Reply())
    fallbacks = (Target(Endpoint("https://other.example/v1", "key", "openai"), "gpt-other"),)
    async with open_troupe(telemetry.settings(script, fallbacks=fallbacks)) as troupe:
        await telemetry.ask_all(troupe, chat())
    assert telemetry.tree() == [["caller of a", [CALL, "POST", "POST"]]]
    servers = [
        (one.attributes["server.address"], one.attributes["server.port"])
        for one in sorted(telemetry.attempts(telemetry.call("a")), key=lambda span: span.start_time)
    ]
    assert servers == [("provider", 80), ("other.example", 443)]


async def test_a_call_that_waits_at_a_limit_says_how_long(autojump_clock, telemetry):
    settings = telemetry.settings(Script(Reply(after=5.0)), limits=Limits(in_flight=1))
    async with open_troupe(settings) as troupe:
        await telemetry.ask_all(troupe, chat("one"), chat("two"))
    assert telemetry.call("b").attributes["callsheet.waited_s"] == pytest.approx(5.0)


async def test_a_second_request_for_a_valid_result_is_a_call_of_its_own(autojump_clock, telemetry):
    script = Script(
        Reply(body=completion_json("no list")), Reply(body=completion_json('{"value": [1]}'))
    )
    async with open_troupe(telemetry.settings(script)) as troupe:
        await telemetry.ask_all(troupe, Request.of("Hi", model=MODEL, returns=list[int]))
    assert telemetry.tree() == [["caller of a", [CALL, "POST"], [CALL, "POST"]]]
    assert telemetry.call("a.repair").attributes["gen_ai.output.type"] == "json"


async def test_a_submitted_call_is_under_the_span_that_is_current(autojump_clock, telemetry):
    async with open_troupe(telemetry.settings(Script(Reply()))) as troupe:
        with telemetry.tracer.start_as_current_span("caller"):
            slot = troupe.submit_nowait(chat(), call="a")
        await trio.sleep(2.0)
    assert slot.value.cost_usd == Decimal("0.000075")
    assert telemetry.tree() == [["caller", [CALL, "POST"]]]


async def test_a_post_has_its_steps_with_their_calls(autojump_clock, telemetry):
    recipe = Recipe(
        name="post",
        model=MODEL,
        steps=(Step("title", "A {{ topic }}"), Step("body", "B {{ title }}", needs=("title",))),
    )
    async with open_troupe(telemetry.settings(Script(Reply()), recipe=recipe)) as troupe:
        with telemetry.tracer.start_as_current_span("caller"):
            await troupe.compose("The sea")
            with telemetry.tracer.start_as_current_span("after"):
                pass
    assert telemetry.tree() == [
        [
            "caller",
            ["compose post", ["step title", [CALL, "POST"]], ["step body", [CALL, "POST"]]],
            "after",
        ]
    ]
    assert telemetry.call("The sea/body").attributes["callsheet.step.name"] == "body"
    assert telemetry.one("compose post").attributes["callsheet.post.id"] == "The sea"


async def test_two_posts_of_one_topic_are_two_trees(autojump_clock, telemetry):
    recipe = Recipe(name="post", model=MODEL, steps=(Step("title", "A {{ topic }}"),))
    async with open_troupe(telemetry.settings(Script(Reply()), recipe=recipe)) as troupe:
        await outcomes(*[partial(troupe.compose, "The sea")] * 2)
    assert telemetry.tree() == [["compose post", ["step title", [CALL, "POST"]]]] * 2


async def test_a_post_that_fails_is_an_error(autojump_clock, telemetry):
    recipe = Recipe(name="post", model=MODEL, steps=(Step("title", "A {{ topic }}"),))
    async with open_troupe(telemetry.settings(Script(refusal(401)), recipe=recipe)) as troupe:
        await outcomes(partial(troupe.compose, "The sea"))
    post = telemetry.one("compose post")
    assert post.attributes["error.type"] == "StepFailed"
    assert post.status.status_code is StatusCode.ERROR
    assert URL not in str(post.attributes)
