"""OpenAI's Responses, from the choice of the API to the response."""

import json
from functools import partial

import attrs
import pytest
from fakes import MODEL, URL, LoosePermit, Reply, Script, error_json, outcomes, requester
from provided import asked, house, pieces_of

from callsheet.actors import (
    VENDORS,
    BadRequest,
    BatchApiPolicy,
    CachePolicy,
    CallContext,
    ChatMessage,
    Complete,
    Delta,
    Endpoint,
    Packing,
    ProviderUnavailable,
    RateLimited,
    Request,
    Response,
    RetryPolicy,
    Tool,
    UnsupportedField,
)
from callsheet.actors.ledger.bound import most_usage

RESPONSES = Endpoint(URL, "k", "openai", api="responses")
QUICK = RetryPolicy(base_s=0.0)
SCHEMA = {
    "type": "object",
    "properties": {"colour": {"type": "string"}},
    "required": ["colour"],
    "additionalProperties": False,
}
ADD = Tool(
    name="add",
    description="Add two numbers.",
    parameters={"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]},
)
BODY = {
    "object": "response",
    "status": "completed",
    "model": MODEL,
    "output": [{"type": "message", "content": [{"type": "output_text", "text": "Hello"}]}],
    "usage": {"input_tokens": 10, "output_tokens": 5},
}


def ask(**more):
    return Complete(Request.of("Hi", **({"model": MODEL} | more)), CallContext("c"))


# ------------------------------------------------------------------ the choice of the API


@pytest.mark.parametrize("name", VENDORS)
def test_a_vendor_without_responses_refuses_them(name):
    vendor = VENDORS[name]
    if name in {"openai", "azure", "perplexity", "ollama", "llamacpp", "lmstudio", "compatible"}:
        assert "Responses" in vendor.format_for("chat", "responses").name
        return
    with pytest.raises(UnsupportedField, match=f"{vendor.title} does not support api='responses'"):
        vendor.format_for("chat", "responses")


def test_the_api_of_a_request_overrides_that_of_its_endpoint():
    chat = Endpoint.of("openai", "k")
    for endpoint, api, path in (
        (chat, None, "/chat/completions"),
        (chat, "responses", "/responses"),
        (RESPONSES, None, "/responses"),
        (RESPONSES, "chat", "/chat/completions"),
        (Endpoint.of("openai", "k", api="responses"), None, "/responses"),
        (Endpoint.of("perplexity", "k"), None, "/agent"),
    ):
        url = endpoint.url(Request.of("Hi", model="m", api=api))
        assert url == endpoint.base_url + path


def test_perplexity_has_no_chat_completions():
    with pytest.raises(UnsupportedField, match="api='chat'"):
        Endpoint.of("perplexity", "k").url(Request.of("Hi", model="m", api="chat"))


def test_an_api_is_one_of_two_and_of_a_chat():
    with pytest.raises(ValueError, match="api"):
        Request.of("Hi", model="m", api="assistants")
    with pytest.raises(ValueError, match="api"):
        Endpoint(URL, api="assistants")
    with pytest.raises(ValueError, match='api requires task="chat"'):
        Request(model="m", task="completion", inputs="Hi", api="responses")
    vectors = Request.embedding("Hi", model="m")
    assert RESPONSES.url(vectors).endswith("/embeddings"), "it has one API only"


def test_caches_and_journals_tell_the_apis_apart():
    assert RESPONSES.identity != Endpoint(URL, "k", "openai").identity


def test_chats_of_two_apis_are_never_in_one_pack():
    packing = Packing()
    keys = {
        packing.key(Request.of("Hi", system="Label.", model="m", packable=True, api=api))
        for api in (None, "responses", "chat")
    }
    assert len(keys) == 3
    assert None not in keys


def test_the_bound_of_a_call_counts_the_limit_of_responses():
    request = Request.of("Hi", model="m", extra_body={"max_output_tokens": 70})
    assert most_usage(request, None, most_output=9).output_tokens == 70


# ------------------------------------------------------------------ what is sent and read


async def test_an_endpoint_without_responses_refuses_a_call_before_anything_is_sent(autojump_clock):
    script = Script(Reply())
    async with requester(script, vendor="anthropic") as (ref, _):
        with pytest.raises(BadRequest, match="nothing was sent: Anthropic does not support api"):
            await ref.ask(ask(api="responses"))
    assert not script.sent


async def test_a_response_is_read_whole_where_a_stream_was_asked_for(autojump_clock):
    script = Script(Reply(body=json.dumps(BODY).encode()))
    async with requester(script) as (ref, _):
        response = await ref.ask(ask(api="responses"))
    assert (response.text, response.usage.output_tokens) == ("Hello", 5)
    assert script.sent[0].url.endswith("/responses")


@pytest.mark.parametrize("param", ["store", None])
async def test_store_is_left_out_where_it_is_refused(autojump_clock, param):
    """L15: no request asks for it, so that a server which does not know it can do without."""
    said = error_json("Unknown parameter: 'store'.", code="unknown_parameter")
    if param:
        said["error"] |= {"param": param}
    script = Script(Reply(400, said), Reply(body=json.dumps(BODY).encode()))
    async with requester(script, retry=QUICK) as (ref, _):
        for _ in range(2):
            assert (await ref.ask(ask(api="responses"))).text == "Hello"
    bodies = [json.loads(sent.body) for sent in script.sent]
    assert ["store" in body for body in bodies] == [True, False, False]


async def test_a_store_that_the_user_wrote_is_never_left_out(autojump_clock):
    script = Script(Reply(400, error_json("Unknown parameter: 'store'.")))
    async with requester(script, retry=QUICK) as (ref, _):
        with pytest.raises(BadRequest, match="store"):
            await ref.ask(ask(api="responses", extra_body={"store": False}))
    assert len(script.sent) == 1


LIMITED = {
    "type": "error",
    "sequence_number": 2,
    "error": {
        "type": "tokens",
        "code": "rate_limit_exceeded",
        "message": "Rate limit reached. Please try again in 6.57s.",
        "param": None,
        "headers": {
            "X-Ratelimit-Limit-Tokens": "30000",
            "x-ratelimit-remaining-tokens": "4735",
            "x-ratelimit-reset-tokens": "50.529s",
        },
    },
}


async def test_a_limit_that_an_event_reports_is_a_limit(autojump_clock):
    """It may arrive inside a 200, after the first events, and quote the headers of a 429."""
    events = [{"type": "response.created", "response": {"status": "in_progress"}}, LIMITED]
    body = "".join(f"data: {json.dumps(event)}\n\n" for event in events).encode()
    limited = Reply(body=body, headers={"content-type": "text/event-stream"})
    script, permit = Script(limited, Reply(body=json.dumps(BODY).encode())), LoosePermit()
    async with requester(script) as (ref, _):
        await ref.ask(attrs.evolve(ask(api="responses"), permit=permit))
    ((delay, throttled),) = permit.asked
    assert delay >= 6.57
    assert (throttled.why, throttled.limit.dimension) == ("too_fast", "tokens")
    assert (throttled.limit.limit, throttled.limit.used) == (30_000, 25_265)
    assert throttled.limit.reset_s == 50.529


@pytest.mark.parametrize(
    ("code", "error", "requests"),
    [
        ("server_error", ProviderUnavailable, 2),
        ("vector_store_timeout", ProviderUnavailable, 2),
        ("rate_limit_exceeded", RateLimited, 2),
        ("too_many_requests", RateLimited, 2),
        ("invalid_prompt", BadRequest, 1),
        ("data_residency_mismatch", BadRequest, 1),
        ("bio_policy", BadRequest, 1),
        ("image_too_large", BadRequest, 1),
    ],
)
async def test_a_failed_generation_is_asked_for_again_only_if_that_may_help(
    autojump_clock, code, error, requests
):
    failed = {**BODY, "status": "failed", "error": {"code": code, "message": "Sorry."}}
    script = Script(Reply(body=json.dumps(failed).encode()))
    async with requester(script, retry=RetryPolicy(max_attempts=2)) as (ref, _):
        with pytest.raises(error, match="Sorry"):
            await ref.ask(ask(api="responses"))
    assert len(script.sent) == requests


# ------------------------------------------------------------------ the built-in provider


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_response_of_the_provider_is_the_same_streamed_and_whole(autojump_clock, streaming):
    async with house(endpoint=RESPONSES, streaming=streaming) as under_test:
        response = await under_test.troupe.complete(asked())
        assert response.text
        assert response.finish_reason == "stop"
        assert response.usage.output_tokens > 0
        assert response.cost_usd is not None
        assert (response.body["object"], response.body["store"]) == ("response", False)
        assert response.is_assembled is streaming
        assert under_test.stats.requests == 1


async def test_a_limit_cuts_a_response(autojump_clock):
    async with house(endpoint=RESPONSES) as under_test:
        response = await under_test.troupe.complete(asked(max_tokens=16))
        assert (response.finish_reason, response.usage.output_tokens) == ("length", 16)


async def test_a_stream_has_the_text_in_pieces(autojump_clock):
    async with house(endpoint=RESPONSES) as under_test:
        *deltas, response = await pieces_of(under_test.troupe)
        assert len(deltas) > 2
        assert all(isinstance(delta, Delta) for delta in deltas)
        assert "".join(delta.text for delta in deltas) == response.text


async def test_structured_output_matches_its_schema(autojump_clock):
    async with house(endpoint=RESPONSES) as under_test:
        response = await under_test.troupe.complete(asked(json_schema=SCHEMA))
        assert json.loads(response.text).keys() == {"colour"}


async def test_a_tool_is_called_and_its_result_goes_back(autojump_clock):
    async with house(endpoint=RESPONSES) as under_test:
        request = Request(
            model=MODEL, messages=asked("Add.").messages, tools=[ADD], tool_choice="add"
        )
        first = await under_test.troupe.complete(request)
        assert isinstance(first, Response)
        assert first.finish_reason == "tool_calls"
        (call,) = first.tool_calls
        assert call.name == "add"
        assert json.loads(call.arguments).keys() == {"x"}
        turns = [
            *request.messages,
            ChatMessage.from_response(first),
            ChatMessage.tool_result(call, "42"),
        ]
        second = await under_test.troupe.complete(Request(model=MODEL, messages=turns, tools=[ADD]))
        assert second.text
        assert second.finish_reason == "stop"


async def test_reasoning_goes_back_with_the_output(autojump_clock):
    extra = {"reasoning": {"effort": "low", "summary": "auto"}}
    async with house(endpoint=RESPONSES) as under_test:
        first = await under_test.troupe.complete(asked(extra_body=extra))
        assert first.reasoning
        assert first.usage.reasoning_tokens > 0
        turns = [*asked().messages, ChatMessage.from_response(first), *asked("Go on.").messages]
        await under_test.troupe.complete(Request(model=MODEL, messages=turns))
        sent = json.loads(under_test.sent[-1].body)["input"]
        assert sent[1:-1] == first.body["output"]


async def test_a_tool_runs_in_turns_with_the_model_and_its_reasoning_goes_back(autojump_clock):
    async with house(endpoint=RESPONSES) as under_test:
        request = Request(
            model=MODEL,
            messages=asked("Add.").messages,
            tools=[attrs.evolve(ADD, function=lambda x: x + 1)],
            tool_choice="required",
            extra_body={"reasoning": {"effort": "low", "summary": "auto"}},
        )
        run = await under_test.troupe.run_tools(request, max_rounds=2)
        first, second = (json.loads(sent.body)["input"] for sent in under_test.sent)
    assert run.text
    reasoning, call, result = second[len(first) :]
    assert (reasoning["type"], call["type"]) == ("reasoning", "function_call")
    assert (result["type"], result["call_id"]) == ("function_call_output", call["call_id"])


# ------------------------------------------------------------------ with the other stages


async def test_a_batch_api_takes_both_apis_each_in_batches_of_its_own(autojump_clock):
    batches = BatchApiPolicy(dialect="openai")
    async with house(endpoint=Endpoint(URL), batches=batches) as under_test:
        asks = [
            partial(under_test.troupe.complete, asked(str(n), api=api, deadline=86_400.0))
            for n in range(2)
            for api in ("chat", "responses")
        ]
        found = await outcomes(*asks)
        assert {response.route for response in found} == {"batch"}
        assert [response.body["object"] for response in found] == [
            "chat.completion",
            "response",
        ] * 2
        assert found[0].cost_usd == found[1].cost_usd
    assert sum(sent.body.startswith(b'{"input_file_id"') for sent in under_test.sent) == 2


async def test_the_cache_has_a_response_of_each_api(autojump_clock):
    async with house(endpoint=Endpoint(URL), cache=CachePolicy(path=None)) as under_test:
        routes = [
            (await under_test.troupe.complete(asked(api=api, cacheable=True))).route
            for api in ("chat", "responses", "responses")
        ]
    assert routes == ["live", "live", "cache"]


async def test_items_are_packed_into_one_response(autojump_clock):
    async with house(endpoint=RESPONSES, packing=Packing(check_share=0)) as under_test:
        asks = [
            partial(
                under_test.troupe.complete,
                Request.of(text, system="Label it. " * 60, model=MODEL, packable=True),
            )
            for text in ("good", "bad", "so-so")
        ]
        found = await outcomes(*asks)
        plan = await under_test.troupe.explain(asks[0].args[0])
    assert [(response.route, response.body) for response in found] == [("pack", None)] * 3
    assert [sent.body.count(b'"json_schema"') for sent in under_test.sent] == [1]
    assert plan.usage.output_tokens > 0
