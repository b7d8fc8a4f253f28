"""A server without JSON schemas is asked for structured output in words (L15)."""

import json
from typing import Literal

import attrs
import pytest
from fakes import MODEL, URL, Reply, Script, completion_json, error_json

from callsheet import CallFailed, Endpoint, Request, RetryPolicy, TroupeSettings, open_troupe


@attrs.frozen
class Label:
    sentiment: Literal["positive", "negative"]


GOOD = Reply(body=completion_json('{"sentiment": "positive"}'))
REFUSALS = {
    "DeepSeek": error_json("This response_format type is unavailable now"),
    "llama.cpp": error_json(
        'response_format type must be one of "text" or "json_object", but got: json_schema'
    ),
    "Groq": {
        "error": {
            "message": "This model does not support response format `json_schema`.",
            "param": "response_format",
        }
    },
    "FastAPI": {
        "detail": [
            {
                "loc": ["body", "response_format", "type"],
                "msg": "unexpected value; permitted: 'text'",
            }
        ]
    },
    "pydantic 1": {
        "detail": [{"loc": ["body", "response_format"], "msg": "extra fields not permitted"}]
    },
    "plain": "json_schema is not supported",
}


def label(text="Good.", **more):
    return Request.of(text, **{"model": MODEL, "returns": Label, "max_tokens": 50} | more)


async def complete(script, *requests, endpoint=None):
    settings = TroupeSettings(
        endpoint=endpoint or Endpoint(URL), transport=script, retry=RetryPolicy(base_s=0.0)
    )
    async with open_troupe(settings) as troupe:
        return [await troupe.complete(request) for request in requests]


def bodies(script):
    return [json.loads(sent.body) for sent in script.sent]


@pytest.mark.parametrize("shape", REFUSALS)
async def test_json_is_asked_for_where_schemas_are_refused(autojump_clock, shape):
    """It is tried once, and for that model from then on."""
    script = Script(Reply(400, REFUSALS[shape]), GOOD)
    first, again = await complete(script, label(), label("Bad.", system="Classify."))
    assert first.parsed == again.parsed == Label("positive")
    refused, accepted, later = bodies(script)
    assert refused["response_format"]["type"] == "json_schema"
    assert accepted["response_format"] == later["response_format"] == {"type": "json_object"}
    schema = json.dumps(refused["response_format"]["json_schema"]["schema"])
    assert [one["role"] for one in accepted["messages"]] == ["system", "user"]
    assert accepted["messages"][0]["content"].endswith(schema)
    assert [one["role"] for one in later["messages"]] == ["system", "user"]
    assert later["messages"][0]["content"].startswith("Classify.\n\n")


async def test_the_schema_is_only_described_where_json_is_refused_too(autojump_clock):
    script = Script(Reply(400, REFUSALS["plain"]), Reply(400, REFUSALS["DeepSeek"]), GOOD)
    (response,) = await complete(script, label())
    assert (response.parsed, response.http_requests) == (Label("positive"), 3)
    last = bodies(script)[-1]
    assert "response_format" not in last
    assert "JSON schema" in last["messages"][0]["content"]


TEXT = '{"sentiment": "positive"}'
OTHERS = {
    "Anthropic": (
        Endpoint(URL, "sk-ant-1234567890", vendor="anthropic"),
        "output_config: Extra inputs are not permitted",
        {
            "type": "message",
            "content": [{"type": "text", "text": TEXT}],
            "stop_reason": "end_turn",
            "usage": {"input_tokens": 3, "output_tokens": 5},
        },
    ),
    "Gemini": (
        Endpoint("http://provider/v1beta", "a-long-enough-key", vendor="gemini"),
        'Invalid JSON payload received. Unknown name "responseJsonSchema"',
        {"candidates": [{"content": {"parts": [{"text": TEXT}]}, "finishReason": "STOP"}]},
    ),
    "Responses": (
        Endpoint(URL, "key", vendor="compatible", api="responses"),
        "text.format of the type json_schema is not supported",
        {
            "status": "completed",
            "output": [
                {"type": "message", "content": [{"type": "output_text", "text": TEXT}]},
            ],
        },
    ),
}


@pytest.mark.parametrize("name", OTHERS)
async def test_other_formats_describe_a_schema_that_is_refused(autojump_clock, name):
    endpoint, words, accepted = OTHERS[name]
    script = Script(Reply(400, {"error": {"message": words}}), Reply(body=accepted))
    (response,) = await complete(script, label(), endpoint=endpoint)
    assert (response.parsed, response.http_requests) == (Label("positive"), 2)
    first, second = (sent.body.decode() for sent in script.sent)
    assert "JSON schema" not in first
    assert "JSON schema" in second
    assert not {"output_config", "text"} & json.loads(second).keys()
    assert "responseJsonSchema" not in second


@pytest.mark.parametrize(
    "request_",
    [
        label(returns=None, json_schema={"type": "object"}),
        label(extra_body={"response_format": {"type": "json_object"}}),
    ],
)
async def test_what_the_user_wrote_is_not_replaced(autojump_clock, request_):
    """L15: nothing here would validate the text."""
    script = Script(Reply(400, REFUSALS["DeepSeek"]), GOOD)
    with pytest.raises(CallFailed, match="unavailable now"):
        await complete(script, request_)
    assert len(script.sent) == 1


async def test_a_schema_of_the_users_is_sent_as_written_after_a_typed_result(autojump_clock):
    script = Script(Reply(400, REFUSALS["DeepSeek"]), GOOD)
    await complete(script, label(), label(returns=None, json_schema={"type": "object"}))
    assert bodies(script)[-1]["response_format"]["type"] == "json_schema"


@pytest.mark.parametrize(
    "words",
    [
        "Invalid schema for response_format 'Label': In context=(), 'minimum' is not permitted.",
        "max_tokens is not supported by json_tools",
        "Too long.",
    ],
)
async def test_another_refusal_is_reported(autojump_clock, words):
    script = Script(Reply(400, error_json(words)), GOOD)
    with pytest.raises(CallFailed):
        await complete(script, label(max_tokens=None))
    assert len(script.sent) == 1
