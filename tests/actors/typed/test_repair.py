"""Structured output of whole calls, and the second request for a valid one (issue 18, point 7)."""

import json
from math import inf
from typing import Literal

import attrs
import pytest
import trio
from fakes import MODEL, URL, Reply, Script, completion_json, refusal

from callsheet import (
    AskTimedOut,
    Endpoint,
    Request,
    ResultNotValid,
    RetryPolicy,
    TroupeSettings,
    open_troupe,
)
from callsheet.actors import (
    Budget,
    CachePolicy,
    Delta,
    LedgerPolicy,
    Tool,
    Usage,
)


@attrs.frozen
class Label:
    sentiment: Literal["positive", "negative"]
    confidence: float = 1.0


GOOD = '{"sentiment": "positive", "confidence": 0.5}'
BAD = '{"sentiment": "mixed", "confidence": 0.5}'
RESULT = Label("positive", 0.5)
REASON = "Invalid enum value 'mixed' - at `$.sentiment`"


def answer(text, *, finish="stop", **message):
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text, **message},
        "finish_reason": finish,
    }
    return Reply(body=completion_json(choices=[choice]))


def label(prompt="Good.", **more):
    return Request.of(prompt, **{"model": MODEL, "returns": Label, "max_tokens": 100} | more)


def settings_for(*lines, **more):
    settings = {"endpoint": Endpoint(URL, vendor="openai"), "transport": Script(*lines), **more}
    return TroupeSettings(**settings)


def bodies(settings):
    return [json.loads(sent.body) for sent in settings.transport.sent]


async def complete(settings, request=None, **more):
    async with open_troupe(settings) as troupe:
        return await troupe.complete(request or label(), **more)


# ------------------------------------------------------------------------- a valid result


async def test_the_text_is_a_value_of_the_declared_class(autojump_clock):
    settings = settings_for(answer(GOOD))
    response = await complete(settings)
    assert response.parsed == RESULT
    assert response.choices[0].parsed == RESULT
    assert (response.text, response.http_requests) == (GOOD, 1)
    (body,) = bodies(settings)
    assert body["response_format"]["json_schema"]["name"] == "Label"


async def test_a_response_of_a_request_without_a_class_has_no_result(autojump_clock):
    response = await complete(settings_for(answer(GOOD)), Request.of("Good.", model=MODEL))
    assert response.parsed is None


async def test_each_choice_has_its_result_and_the_first_one_decides(autojump_clock):
    texts = [GOOD, BAD, GOOD]
    choices = [
        {"index": at, "message": {"content": text}, "finish_reason": "stop"}
        for at, text in enumerate(texts)
    ]
    request = Request(model=MODEL, messages=label().messages, returns=Label, n=3, max_tokens=100)
    settings = settings_for(Reply(body=completion_json(choices=choices)))
    response = await complete(settings, request)
    assert response.parsed == RESULT
    assert [choice.parsed for choice in response.choices] == [RESULT, None, RESULT]
    assert response.http_requests == 1


async def test_a_response_that_calls_tools_has_no_result_yet(autojump_clock):
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    settings = settings_for(answer(None, finish="tool_calls", tool_calls=[call]))
    response = await complete(settings)
    assert response.parsed is None
    assert [one.name for one in response.tool_calls] == ["f"]
    assert response.http_requests == 1


# ---------------------------------------------------------------------- the second request


async def test_an_invalid_text_is_asked_for_once_more_with_the_reason(autojump_clock):
    settings = settings_for(answer(BAD), answer(GOOD))
    events = []
    settings = attrs.evolve(settings, observer=events.append)
    response = await complete(settings, call="label")
    assert response.parsed == RESULT
    first, second = bodies(settings)
    assert second["messages"][:1] == first["messages"]
    assert [message["role"] for message in second["messages"]] == ["user", "assistant", "user"]
    assert second["messages"][1]["content"] == BAD
    assert REASON in second["messages"][2]["content"]
    assert {**second, "messages": None} == {**first, "messages": None}
    ends = [(event.context.call, event.stage) for event in events if event.stage == "answered"]
    assert ends == [("label", "answered"), ("label.repair", "answered")]


async def test_the_response_has_the_usage_and_cost_of_both_requests(autojump_clock):
    once = await complete(settings_for(answer(GOOD)))
    both = await complete(settings_for(answer(BAD), answer(GOOD)))
    assert both.usage == once.usage + once.usage == Usage(20, 10)
    assert both.cost_usd == 2 * once.cost_usd
    assert both.http_requests == 2


async def test_retries_and_lost_responses_of_both_requests_are_counted(autojump_clock):
    settings = settings_for(
        refusal(503), answer(BAD), refusal(503), answer(GOOD), retry=RetryPolicy(base_s=0.1)
    )
    response = await complete(settings)
    assert (response.parsed, response.http_requests) == (RESULT, 4)


async def test_the_cost_of_both_is_unknown_if_one_is(autojump_clock):
    unpriced = Reply(body=completion_json(GOOD, model="made-up"))
    response = await complete(settings_for(answer(BAD), unpriced))
    assert (response.parsed, response.cost_usd) == (RESULT, None)


async def test_a_result_that_is_invalid_twice_is_an_error_with_all_that_was_paid(autojump_clock):
    settings = settings_for(answer("Positive."), answer(BAD), answer(GOOD))
    with pytest.raises(ResultNotValid) as caught:
        await complete(settings)
    error = caught.value
    assert str(error) == f"the response is no valid Label: {REASON}"
    assert (error.reason, error.attempts, error.billed) == (REASON, 2, "no")
    assert (error.response.text, error.response.usage) == (BAD, Usage(20, 10))
    assert error.response.cost_usd > 0
    assert len(bodies(settings)) == 2


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (answer(None, refusal="I will not."), "the model refused: I will not."),
        (answer(GOOD[:-9], finish="length"), "cut off at the limit"),
        (answer(GOOD, finish="length"), "cut off at the limit"),
        (answer("", finish="content_filter"), "the provider filtered the text"),
    ],
)
async def test_what_would_not_change_is_not_asked_for_again(autojump_clock, reply, reason):
    settings = settings_for(reply, answer(GOOD))
    with pytest.raises(ResultNotValid, match=reason) as caught:
        await complete(settings)
    assert (caught.value.attempts, len(bodies(settings))) == (1, 1)


async def test_an_empty_text_is_no_turn_of_the_second_request(autojump_clock):
    settings = settings_for(answer(" "), answer(GOOD))
    assert (await complete(settings)).parsed == RESULT
    assert [message["role"] for message in bodies(settings)[1]["messages"]] == ["user", "user"]


async def test_a_second_request_that_fails_is_an_error_with_both_reasons(autojump_clock):
    settings = settings_for(answer(BAD), refusal(401, "Wrong key."))
    with pytest.raises(ResultNotValid) as caught:
        await complete(settings)
    error = caught.value
    assert error.reason.startswith(f"{REASON}; the second request failed: ")
    assert "Wrong key." in str(error)
    assert (error.attempts, error.response.text) == (2, BAD)
    assert (error.usage, error.cost_usd) == (error.response.usage, error.response.cost_usd)


async def test_both_requests_are_within_the_timeout_of_the_call(autojump_clock):
    settings = settings_for(attrs.evolve(answer(BAD), after=4), attrs.evolve(answer(GOOD), after=4))
    with pytest.raises(AskTimedOut):
        await complete(settings, timeout=7)
    assert trio.current_time() == 7
    assert (await complete(settings, timeout=9)).parsed == RESULT


async def test_both_requests_are_within_the_deadline_of_the_request(autojump_clock):
    """L1."""
    settings = settings_for(
        attrs.evolve(answer(BAD), after=4), attrs.evolve(answer(GOOD), after=inf)
    )
    with pytest.raises(AskTimedOut):
        await complete(settings, label(deadline=7))
    assert trio.current_time() == 7


async def test_a_call_that_is_cancelled_cancels_the_second_request(autojump_clock):
    settings = settings_for(answer(BAD), Reply(after=inf))
    with trio.move_on_after(5) as scope:
        await complete(settings)
    assert scope.cancelled_caught
    assert settings.transport.open == 0


# ---------------------------------------------------------------------------------- streams


def events_of(text):
    chunk = {"choices": [{"index": 0, "delta": {"content": text}}], "model": MODEL}
    last = {
        "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5},
        "model": MODEL,
    }
    lines = [f"data: {json.dumps(one)}\n\n" for one in (chunk, last)]
    return Reply(
        body="".join([*lines, "data: [DONE]\n\n"]), headers={"content-type": "text/event-stream"}
    )


async def stream(settings, request):
    async with open_troupe(settings) as troupe, troupe.stream(request, call="label") as items:
        pieces = [item async for item in items]
    assert items.response is pieces[-1]
    return pieces


async def test_the_last_item_of_a_stream_has_the_result(autojump_clock):
    *pieces, response = await stream(settings_for(events_of(GOOD)), label())
    assert "".join(piece.text for piece in pieces) == GOOD
    assert response.parsed == RESULT


async def test_pieces_of_the_second_request_are_not_those_of_the_stream(autojump_clock):
    events = []
    settings = settings_for(events_of(BAD), answer(GOOD), observer=events.append)
    *pieces, response = await stream(settings, label())
    assert all(isinstance(piece, Delta) for piece in pieces)
    assert "".join(piece.text for piece in pieces) == BAD
    assert (response.parsed, response.text, response.http_requests) == (RESULT, GOOD, 2)
    ends = [event.context.call for event in events if event.stage == "answered"]
    assert ends == ["label", "label.repair"]


async def test_a_stream_that_is_invalid_twice_ends_with_the_error(autojump_clock):
    events = []
    settings = settings_for(events_of(BAD), answer(BAD), observer=events.append)
    with pytest.raises(ResultNotValid, match="mixed"):
        await stream(settings, label())
    assert [event.stage for event in events if event.stage in ("answered", "failed")] == [
        "answered",
        "answered",
    ]


# -------------------------------------------------------------------------- tools, the other stages


async def test_the_last_round_of_a_run_of_tools_has_the_result(autojump_clock):
    tool = Tool(name="weather", function=lambda: "rain")
    call = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    calls = answer(None, finish="tool_calls", tool_calls=[call])
    settings = settings_for(calls, answer(BAD), answer(GOOD))
    async with open_troupe(settings) as troupe:
        run = await troupe.run_tools(label(tools=[tool]))
    assert run.response.parsed == RESULT
    assert (run.rounds[0].parsed, run.rounds[1].http_requests) == (None, 2)
    roles = [message["role"] for message in bodies(settings)[2]["messages"]]
    assert roles == ["user", "assistant", "tool", "assistant", "user"]


async def test_a_response_that_goes_on_in_the_next_turn_has_no_result_yet(autojump_clock):
    response = await complete(settings_for(answer("Let me see.", finish="pause_turn")))
    assert (response.parsed, response.http_requests) == (None, 1)


async def test_a_cached_response_is_read_again(autojump_clock):
    settings = settings_for(answer(GOOD), cache=CachePolicy(path=None))
    async with open_troupe(settings) as troupe:
        await troupe.complete(label(cacheable=True))
        again = await troupe.complete(label(cacheable=True))
    assert (again.parsed, again.route, again.cost_usd) == (RESULT, "cache", 0)
    assert len(bodies(settings)) == 1


async def test_an_invalid_text_in_the_cache_is_paid_for_once(autojump_clock):
    """The second request is cacheable, too, so that its response is in the cache."""
    settings = settings_for(answer(BAD), answer(GOOD), cache=CachePolicy(path=None))
    async with open_troupe(settings) as troupe:
        first = await troupe.complete(label(cacheable=True))
        again = await troupe.complete(label(cacheable=True))
    assert first.parsed == again.parsed == RESULT
    assert (again.http_requests, again.cost_usd) == (0, 0)
    assert len(bodies(settings)) == 2


async def test_a_result_that_stays_invalid_is_not_paid_for_again(autojump_clock):
    settings = settings_for(answer(BAD), cache=CachePolicy(path=None))
    async with open_troupe(settings) as troupe:
        for source in ("", " from the cache"):
            with pytest.raises(ResultNotValid, match=f"the response{source} is no valid Label"):
                await troupe.complete(label(cacheable=True))
    assert len(bodies(settings)) == 2


async def test_the_ledger_records_both_calls(autojump_clock):
    settings = settings_for(answer(BAD), answer(GOOD), ledger=LedgerPolicy())
    async with open_troupe(settings) as troupe:
        response = await troupe.complete(label())
        costs = await troupe.costs()
    assert costs.totals.spent.usd == response.cost_usd


async def test_a_budget_that_is_used_up_ends_the_second_request(autojump_clock):
    # The second prompt, and so the most that it can cost, is longer.
    policy = LedgerPolicy(budgets=[Budget("0.0020")])
    settings = settings_for(answer(BAD), answer(GOOD), ledger=policy)
    with pytest.raises(ResultNotValid, match="the second request failed"):
        await complete(settings)
