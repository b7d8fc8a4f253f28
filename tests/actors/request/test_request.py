"""A whole call: the HTTP request, the caller's response, and invalid responses."""

import gzip
import json
from decimal import Decimal
from functools import partial

import pytest
from fakes import (
    MODEL,
    URL,
    Reply,
    Script,
    asking,
    call,
    completion_json,
    outcomes,
    refusal,
    requester,
)

from callsheet.actors import (
    CallContext,
    CallFailed,
    Complete,
    Endpoint,
    Price,
    PriceBook,
    Request,
    RequestActor,
    RetryPolicy,
    Usage,
)
from callsheet.runtime import ActorCrashed, open_runtime

KEY = "sk-secret-0123456789"


# ------------------------------------------------------------------ a call that goes well


async def test_an_answer_with_what_it_took(autojump_clock):
    script = Script(Reply(body=completion_json("Hi", tokens=(1000, 500)), after=1.5))
    async with requester(script, api_key=KEY) as (ref, _):
        answer = await ref.ask(call("Hello", system="Be brief.", max_tokens=999, temperature=0.5))
    assert answer.text == "Hi"
    assert (answer.model, answer.finish_reason) == (MODEL, "stop")
    assert answer.usage == Usage(1000, 500)
    assert answer.cost_usd == Decimal("0.0075"), "2.50 and 10.00 USD per million tokens"
    assert (answer.http_requests, answer.seconds) == (1, 1.5)
    (sent,) = script.sent
    assert sent.url == f"{URL}/chat/completions"
    assert sent.headers["authorization"] == f"Bearer {KEY}"
    assert sent.headers["content-type"] == "application/json"
    assert json.loads(sent.body) == {
        "model": MODEL,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hello"},
        ],
        "max_tokens": 999,
        "temperature": 0.5,
        # A request without a stream is streamed over HTTP, too.
        "stream": True,
        "stream_options": {"include_usage": True},
    }


@pytest.mark.parametrize(("limit", "streams"), [(None, True), (257, True), (256, False)])
async def test_a_response_that_is_short_by_its_limit_is_requested_whole(
    autojump_clock, limit, streams
):
    script = Script()
    async with requester(script) as (ref, _):
        await ref.ask(call("Hello", max_tokens=limit))
    assert ("stream" in json.loads(script.sent[0].body)) is streams


async def test_without_a_key_none_is_sent(autojump_clock):
    script = Script()
    async with requester(script) as (ref, _):
        await ref.ask(call())
    assert "authorization" not in script.sent[0].headers


async def test_text_in_any_language_is_sent_and_received_whole(autojump_clock):
    words = "Über 世界 🎭 \u2028 \x00"
    script = Script(Reply(body=json.dumps(completion_json(words), ensure_ascii=False), pieces=7))
    async with requester(script) as (ref, _):
        assert (await ref.ask(call(words))).text == words
    assert script.sent[0].prompt == words


async def test_a_compressed_answer_is_read(autojump_clock):
    body = gzip.compress(json.dumps(completion_json("Hi")).encode())
    script = Script(Reply(body=body, headers={"content-encoding": "gzip"}, pieces=5, gap=1))
    async with requester(script) as (ref, _):
        answer = await ref.ask(call())
    assert (answer.text, answer.seconds) == ("Hi", 5.0)


async def test_so_many_calls_at_a_time(autojump_clock):
    script = Script()
    async with requester(script, concurrency=3) as (ref, _):
        await outcomes(*asking(ref, *map(str, range(7))))
    assert script.times == [0, 0, 0, 1, 1, 1, 2]


async def test_the_connections_are_closed_when_it_ends(autojump_clock):
    script = Script()
    async with requester(script) as (ref, _):
        await ref.ask(call())
        assert script.closed == 0
    assert script.closed == 1


# ------------------------------------------------------------------ what it cost


@pytest.mark.parametrize(
    ("vendor", "cost"), [("openrouter", Decimal("0.25")), ("compatible", Decimal("0.0075"))]
)
async def test_a_cost_that_openrouter_reports_is_believed_and_kept_beside_the_listed_one(
    autojump_clock, vendor, cost
):
    body = completion_json(tokens=(1000, 500))
    body["usage"]["cost"] = 0.25
    endpoint = Endpoint(URL, vendor=vendor)
    make = partial(RequestActor, endpoint, transport=Script(Reply(body=body)), streaming=False)
    async with open_runtime() as runtime:
        ref = await runtime.spawn("requester", make)
        model = "openai/gpt-4o" if vendor == "openrouter" else "gpt-4o"
        body["model"] = model
        answer = await ref.ask(Complete(Request.of("Hi", model=model), CallContext("Hi")))
    assert answer.cost_usd == cost
    assert answer.reported_cost_usd == Decimal("0.25")
    assert answer.listed_cost_usd == answer.listed_beside_reported == Decimal("0.0075")


@pytest.mark.parametrize(
    ("asked", "answered", "cost"),
    [
        ("gpt-4o", "gpt-4o-2024-08-06", Decimal("0.0075")),
        ("gpt-4o", None, Decimal("0.0075")),
        ("gpt-4o", "gpt-4o-2099-01-31", Decimal("0.0075")),
        ("gpt-4o", "gpt-4o-2024-05-13", Decimal("0.0125")),
        ("gpt-4o", "deployment-7", None),
        ("my-model", "my-model", None),
        ("my-model", None, None),
    ],
)
async def test_the_price_is_that_of_the_model_that_answered_and_null_if_unknown(
    autojump_clock, asked, answered, cost
):
    script = Script(Reply(body=completion_json(model=answered, tokens=(1000, 500))))
    async with requester(script) as (ref, _):
        answer = await ref.ask(Complete(Request.of("Hi", model=asked), CallContext("Hi")))
    assert answer.cost_usd == cost
    assert answer.model == (answered or asked)


async def test_prices_of_ones_own(autojump_clock):
    prices = PriceBook({"mine": Price(Decimal(1), Decimal(2))})
    script = Script(Reply(body=completion_json(model="mine", tokens=(10, 5))))
    async with requester(script, prices=prices) as (ref, _):
        assert (await ref.ask(call())).cost_usd == Decimal("0.00002")


@pytest.mark.parametrize("usage", [None, {}, []])
async def test_a_call_whose_tokens_are_not_reported_has_an_unknown_cost(autojump_clock, usage):
    """It was not free, so the cost is null, not 0."""
    script = Script(Reply(body=completion_json(usage=usage)))
    async with requester(script) as (ref, _):
        answer = await ref.ask(call())
    assert (answer.text, answer.usage) == ("Hello", Usage())
    assert answer.cost_usd is None


# ------------------------------------------------------------------ nothing brings it down


NONSENSE = {
    "deep": b"[" * 200_000,
    "deep, and whole": b"[" * 200_000 + b"]" * 200_000,
    "a number of tokens beyond all bounds": json.dumps(completion_json())
    .replace('"prompt_tokens": 10', '"prompt_tokens": 1e999')
    .encode(),
    "an endless number": b'{"choices": ' + b"9" * 10_000 + b"}",
    "null": b"null",
}


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("body", NONSENSE.values(), ids=NONSENSE)
async def test_an_invalid_response_to_one_call_affects_no_other_call(autojump_clock, body, status):
    """Invalid data from a provider is not a bug of the actor, so it crashes nothing (R8)."""
    script = Script(
        by_prompt={"odd": [Reply(status, body, after=0.5)], "good": [Reply(after=20.0)]}
    )
    async with requester(script, retry=RetryPolicy(max_attempts=1)) as (ref, runtime):
        good, odd = await outcomes(*asking(ref, "good", "odd"))
        assert getattr(good, "text", good) == "Hello"
        assert runtime.snapshot()[ref.path].incarnation == 1
    assert isinstance(odd, CallFailed) or odd.text == "Hello"


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        (
            {
                "retry-after": "Thu, 01 Jan 2026 00:00:00 +99999999999999999999",
                "date": "Thu, 01 Jan 2026 00:00:00 GMT",
            },
            "",
        ),
        ({}, "PLEASE TRY AGAIN IN 5S"),
        ({"retry-after": "9" * 400}, ""),
    ],
)
async def test_an_odd_way_of_asking_to_wait_costs_no_other_call_anything(
    autojump_clock, headers, message
):
    script = Script(
        by_prompt={
            "odd": [refusal(503, message, headers=headers), Reply()],
            "good": [Reply(after=20.0)],
        }
    )
    async with requester(script) as (ref, runtime):
        good, _ = await outcomes(*asking(ref, "good", "odd"))
        assert getattr(good, "text", good) == "Hello"
        assert runtime.snapshot()[ref.path].incarnation == 1


async def test_a_prompt_that_no_encoding_can_write_costs_no_other_call_anything(autojump_clock):
    """Python decodes a shell argument that is not UTF-8 to such a text."""
    script = Script(Reply(after=5))
    async with requester(script) as (ref, runtime):
        good, odd = await outcomes(*asking(ref, "good"), lambda: ref.ask(call("caf\udce9")))
        assert getattr(good, "text", good) == "Hello"
        assert not isinstance(odd, ActorCrashed)
        assert runtime.snapshot()[ref.path].incarnation == 1


async def test_content_null_is_an_answer_without_text(autojump_clock):
    body = completion_json(None)
    async with requester(Script(Reply(body=body))) as (ref, _):
        answer = await ref.ask(call())
    assert answer.text == ""
    assert answer.usage == Usage(10, 5)


@pytest.mark.parametrize("stage", ["sent", "retrying"])
async def test_an_observer_that_raises_is_a_bug_and_the_actor_comes_back(autojump_clock, stage):
    """R8: the caller gets the error, and the next call works."""

    def observer(event):
        if event.stage == stage and event.context.call == "watched":
            raise ZeroDivisionError("bug")

    async with requester(Script(refusal(500), Reply()), observer=observer) as (ref, runtime):
        with pytest.raises(ActorCrashed, match="ZeroDivisionError"):
            await ref.ask(call("watched"))
        assert (await ref.ask(call("next"))).text == "Hello"
        assert runtime.snapshot()[ref.path].incarnation == 2


async def test_events_tell_of_every_attempt(autojump_clock):
    events = []
    script = Script(refusal(503, "Busy.", headers={"retry-after": "3"}), Reply())
    async with requester(script, observer=events.append) as (ref, _):
        await ref.ask(call())
    assert [(event.stage, event.attempt) for event in events] == [
        ("sent", 1),
        ("retrying", 1),
        ("sent", 2),
    ]
    retrying = events[1]
    assert "Busy." in retrying.error
    assert events[2].at - retrying.at == pytest.approx(retrying.delay)
