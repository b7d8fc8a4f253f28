"""The provider's words reach the user, and what they say about a parameter is learned (L15)."""

import json

import attrs
import pytest
from fakes import URL, Reply, Script, call, completion_json, error_json, refusal, requester

from callsheet.actors import (
    AuthenticationFailed,
    BadRequest,
    CallContext,
    Complete,
    Endpoint,
    ProviderUnavailable,
    Request,
    RetryPolicy,
)

ONCE = RetryPolicy(max_attempts=1)
QUICK = RetryPolicy(base_s=0.0)
EXTRA = "Extra inputs are not permitted"
WORDS = "n is not supported"
SHAPES = {
    "error.message": {"error": {"message": WORDS, "type": "invalid_request_error"}},
    "error": {"error": WORDS},
    "detail": {"detail": WORDS},
    "list of details": {"detail": [{"loc": ["body", "n"], "msg": WORDS, "type": "value_error"}]},
    "message": {"message": WORDS},
    "object as message": {
        "object": "error",
        "message": {"detail": [{"type": "extra_forbidden", "loc": ["body", "n"], "msg": WORDS}]},
    },
    "texts": {"errors": [WORDS]},
    "objects": {"success": False, "errors": [{"code": 7003, "message": WORDS}]},
    "fields": {"errors": {"n": [WORDS]}},
    "Django": {"n": [WORDS]},
    "problem": {"type": "about:blank", "title": "Bad Request", "status": 400, "detail": WORDS},
    "a title": {"statusCode": 400, "error": "Bad Request", "message": WORDS},
    "OAuth": {"error": "invalid_request", "error_description": WORDS},
    "list": [{"error": {"code": 400, "message": WORDS, "status": "INVALID_ARGUMENT"}}],
    "quoted JSON": {
        "error": {
            "message": "Provider returned error",
            "code": 400,
            "metadata": {"raw": json.dumps({"error": {"message": WORDS}}), "provider_name": "P"},
        }
    },
    "plain text": f"{WORDS}\n",
}


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("shape", SHAPES)
async def test_the_words_of_a_refusal_reach_the_user_in_any_shape(autojump_clock, shape, status):
    async with requester(Script(Reply(status, SHAPES[shape]))) as (ref, _):
        with pytest.raises(BadRequest, match=WORDS) as caught:
            await ref.ask(call())
    assert caught.value.attempts == 1, "and it is tried once"


def says(text, **more):
    return Reply(400, error_json(text, kind="invalid_request_error") | more)


def sent_bodies(script):
    return [json.loads(sent.body) for sent in script.sent]


LIMIT = "Unsupported parameter: '{}' is not supported with this model. Use '{}' instead."
REFUSES_MAX_TOKENS = {
    "OpenAI": error_json(
        LIMIT.format("max_tokens", "max_completion_tokens"), code="unsupported_parameter"
    ),
    "FastAPI": {"detail": [{"loc": ["body", "max_tokens"], "msg": EXTRA}]},
    "text": {"detail": "max_tokens is not supported"},
    "plain": "Unknown field `max_tokens`.",
    "param": {"error": {"message": "Not supported.", "param": "max_tokens"}},
    "vLLM": {"message": "[{'type': 'extra_forbidden', 'loc': ('body', 'max_tokens')}]"},
    "Bedrock": {"message": "Malformed input: #: extraneous key [max_tokens] is not permitted"},
    "advice": error_json("This model requires 'max_completion_tokens' rather than 'max_tokens'."),
}


@pytest.mark.parametrize("shape", REFUSES_MAX_TOKENS)
async def test_another_name_of_a_parameter_is_learned_from_a_refusal(autojump_clock, shape):
    """L15: tried once with the other name, and for that model from then on."""
    script = Script(Reply(400, REFUSES_MAX_TOKENS[shape]), Reply())
    async with requester(script, retry=QUICK) as (ref, _):
        for number in range(3):
            assert (await ref.ask(call(str(number), max_tokens=9))).text == "Hello"
        other = Request.of("Hi", model="other", max_tokens=9)
        await ref.ask(Complete(other, CallContext("other")))
    names = [next(name for name in body if "tokens" in name) for body in sent_bodies(script)]
    assert names == ["max_tokens", *["max_completion_tokens"] * 3, "max_tokens"]


async def test_the_newer_name_is_replaced_by_the_older_one_too(autojump_clock):
    said = LIMIT.format("max_completion_tokens", "max_tokens")
    script = Script(says(said), Reply())
    request = Request(
        model="m",
        messages=call().request.messages,
        max_tokens=9,
        max_tokens_name="max_completion_tokens",
    )
    async with requester(script, retry=QUICK) as (ref, _):
        await ref.ask(Complete(request, CallContext("Hi")))
    first, second = sent_bodies(script)
    assert first["max_completion_tokens"] == second["max_tokens"] == 9
    assert "max_completion_tokens" not in second


@pytest.mark.parametrize(
    "said",
    [
        "max_tokens is too large: 9000. This model supports at most 4096 completion tokens.",
        "Invalid 'max_tokens': integer below minimum value. Expected a value >= 1, but got 0.",
        "You passed max_tokens=9, and the prompt of a tool named 'max' has 20.",
    ],
)
async def test_a_value_that_is_refused_renames_nothing(autojump_clock, said):
    script = Script(says(said))
    async with requester(script, retry=QUICK) as (ref, _):
        with pytest.raises(BadRequest, match="max_tokens"):
            await ref.ask(call(max_tokens=9))
    assert len(script.sent) == 1


async def test_the_first_refusal_is_reported_if_the_other_name_is_refused_too(autojump_clock):
    script = Script(
        says("'max_tokens' is not supported here, since the model does not generate."),
        says("Unrecognized request argument supplied: max_completion_tokens"),
    )
    async with requester(script, retry=QUICK) as (ref, _):
        with pytest.raises(BadRequest, match="does not generate") as caught:
            await ref.ask(call(max_tokens=9))
        assert caught.value.attempts == 2
        with pytest.raises(BadRequest):
            await ref.ask(call(max_tokens=9))
    assert "max_tokens" in sent_bodies(script)[2], "nothing is learned from it"


REFUSES_OPTIONS = {
    "FastAPI": {"detail": [{"loc": ["body", "stream_options"], "msg": EXTRA}]},
    "nested": {"detail": [{"loc": ["body", "stream_options", "include_usage"], "msg": EXTRA}]},
    "text": error_json("Unknown parameter: 'stream_options'.", code="unknown_parameter"),
    "plain": "unknown field stream_options",
    "Go": {"error": 'json: unknown field "stream_options"'},
    "JSON Schema": error_json(
        "Additional properties are not allowed ('stream_options' was unexpected)"
    ),
    "Gemini": [{"error": {"message": 'Unknown name "stream_options": Cannot find field.'}}],
    "its member": error_json("Unknown parameter: 'include_usage'"),
}


@pytest.mark.parametrize("shape", REFUSES_OPTIONS)
async def test_the_request_for_usage_is_left_out_where_it_is_refused(autojump_clock, shape):
    """Mistral, by its base URL: the response is streamed, and only that option is left out."""
    script = Script(Reply(422, REFUSES_OPTIONS[shape]), Reply())
    async with requester(script, retry=QUICK) as (ref, _):
        await ref.ask(call())
        await ref.ask(call())
    first, *others = sent_bodies(script)
    assert first["stream_options"] == {"include_usage": True}
    assert [(body["stream"], "stream_options" in body) for body in others] == [(True, False)] * 2


REFUSES_STREAMS = [
    "Unsupported value: 'stream' does not support true with this model.",
    "Streaming is not supported.",
    "This model does not support streaming.",
    "stream=true is not supported for this model",
    "Streaming responses are currently not supported",
    "Streaming is disabled for this deployment.",
    "`stream` must be false",
    "stream: true is not allowed",
    "This model cannot be streamed.",
    "Only non-streaming requests are supported.",
]


@pytest.mark.parametrize("said", REFUSES_STREAMS)
async def test_a_whole_response_is_requested_where_streams_are_refused(autojump_clock, said):
    script = Script(says(said), Reply())
    async with requester(script, retry=QUICK) as (ref, _):
        await ref.ask(call())
        await ref.ask(call())
    assert ["stream" in body for body in sent_bodies(script)] == [True, False, False]


@pytest.mark.parametrize(
    "said",
    [
        "Invalid tool name: 'read stream' is not allowed.",
        "Tool names such as 'stream reader' or 'streaming' are not supported.",
        "Invalid schema for function read_stream: additional properties are not supported.",
        "The prompt about a stream is too long.",
        "Failed to parse the upstream response.",
        "messages[0].content: unknown type of part",
    ],
)
async def test_a_refusal_that_merely_has_the_word_stream_switches_nothing(autojump_clock, said):
    script = Script(says(said), Reply())
    async with requester(script, retry=QUICK) as (ref, _):
        with pytest.raises(BadRequest):
            await ref.ask(call())
        await ref.ask(call())
    assert [body.get("stream") for body in sent_bodies(script)] == [True, True]


@pytest.mark.parametrize(
    ("said", "member", "value"),
    [
        ("n > 1 is not supported in streaming mode", "n", 2),
        ("Tool calls with streaming are not supported", "tools", [{"type": "function"}]),
        ("logprobs is not supported with streaming", "logprobs", True),
    ],
)
async def test_streams_that_are_refused_beside_a_member_go_on_without_it(
    autojump_clock, said, member, value
):
    """Entry 10: one request of a kind does not switch the model to whole responses for all."""
    fields = {"n": value} if member == "n" else {"extra_body": {member: value}}
    request = attrs.evolve(call().request, **fields)
    answer = completion_json()
    answer["choices"] *= request.n
    script = Script(says(said), Reply(body=answer), Reply(body=answer), Reply())
    async with requester(script, retry=QUICK) as (ref, _):
        await ref.ask(Complete(request, CallContext("first")))
        await ref.ask(Complete(request, CallContext("second")))
        await ref.ask(call())
    assert ["stream" in body for body in sent_bodies(script)] == [True, False, False, True]


async def test_two_parameters_are_learned_one_after_another(autojump_clock):
    script = Script(
        Reply(422, REFUSES_OPTIONS["FastAPI"]), says("Streaming is not supported."), Reply()
    )
    async with requester(script, retry=QUICK) as (ref, _):
        assert (await ref.ask(call())).http_requests == 3
        assert (await ref.ask(call())).http_requests == 1


async def test_without_a_second_attempt_nothing_is_tried(autojump_clock):
    """L2: the other spelling is one more request of the call's budget."""
    script = Script(says("Streaming is not supported."))
    async with requester(script, retry=ONCE) as (ref, _):
        with pytest.raises(BadRequest, match="Streaming is not supported"):
            await ref.ask(call())
    assert len(script.sent) == 1


def test_no_parameter_is_renamed_for_a_server_that_is_merely_compatible():
    """L15: what the user wrote is what is sent."""
    form = Endpoint(URL, vendor="compatible").vendor.format_for("chat")
    for name in ("max_tokens", "max_completion_tokens"):
        request = Request.of("Hi", model="m", max_tokens=9)
        written = Request(model="m", messages=request.messages, max_tokens=9, max_tokens_name=name)
        body = form.encode(written, stream=False)
        assert {key: body[key] for key in body if "tokens" in key} == {name: 9}
    assert form.encode(request, stream=False)["max_tokens"] == 9


FIREWALL = "<!DOCTYPE html><html><head><title>Attention Required! | Cloudflare</title></head>"


@pytest.mark.parametrize("status", [401, 404, 405, 501])
async def test_what_will_not_change_is_tried_once(autojump_clock, status):
    script = Script(refusal(status))
    async with requester(script, retry=QUICK) as (ref, _):
        with pytest.raises((AuthenticationFailed, BadRequest), match=str(status)):
            await ref.ask(call())
    assert len(script.sent) == 1


@pytest.mark.parametrize(
    "body",
    [
        error_json("Your project may not use this model."),
        {"detail": "Not authenticated"},
        "Invalid API key",
        "Access denied: this token has expired",
    ],
)
async def test_a_403_of_the_api_is_tried_once_and_names_the_key(autojump_clock, body):
    script = Script(Reply(403, body))
    async with requester(script, retry=QUICK) as (ref, _):
        with pytest.raises(AuthenticationFailed, match="key may not do this"):
            await ref.ask(call())
    assert len(script.sent) == 1


@pytest.mark.parametrize(
    "body", [FIREWALL, "Forbidden", "", {"message": "Forbidden"}, error_json("Blocked.", kind="")]
)
async def test_a_403_of_a_firewall_does_not_blame_the_key(autojump_clock, body):
    """It may pass, as an outage does (R10)."""
    script = Script(Reply(403, body))
    async with requester(script, retry=QUICK) as (ref, _):
        with pytest.raises(ProviderUnavailable, match=r"a firewall .* may have refused") as caught:
            await ref.ask(call())
    assert caught.value.attempts == 5
    assert "key" not in str(caught.value)
    if body == FIREWALL:
        assert "Attention Required! | Cloudflare" in str(caught.value)


ANTHROPIC = {
    "temperature": ("`temperature` is deprecated for this model.", {"temperature": 0.5}),
    "both": (
        "`temperature` and `top_p` cannot both be specified for this model.",
        {"temperature": 0.5, "extra_body": {"top_p": 0.9}},
    ),
    "budget": (
        '"thinking.type.enabled" is not supported for this model. Use "adaptive".',
        {"extra_body": {"thinking": {"type": "enabled", "budget_tokens": 1024}}},
    ),
    "prefill": ("This model does not support assistant message prefill.", {}),
    "role": ('messages: Unexpected role "system". Use the top-level `system`.', {}),
    "limit": ("max_tokens: 300 > 200, which is the maximum allowed for this model.", {}),
}


@pytest.mark.parametrize("case", ANTHROPIC)
async def test_what_newer_models_of_anthropic_refuse_is_told_and_tried_once(autojump_clock, case):
    """L15: what the user wrote is neither left out nor renamed."""
    words, fields = ANTHROPIC[case]
    error = {"type": "error", "error": {"type": "invalid_request_error", "message": words}}
    script = Script(Reply(400, error))
    async with requester(script, retry=QUICK, vendor="anthropic") as (ref, _):
        with pytest.raises(BadRequest) as caught:
            await ref.ask(call(max_tokens=300, **fields))
    assert words in str(caught.value)
    assert len(script.sent) == caught.value.attempts == 1
