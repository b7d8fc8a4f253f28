"""Whole answers: the provider's own body where it is in the dialect, and otherwise one like it."""

import base64
import json
import struct

import pytest
from late_imports import import_when_used

from callsheet.actors import Choice, Response, TokenEstimator, ToolCall, Usage
from callsheet.gateway.dialects import (
    DIALECTS,
    MESSAGES,
    count_body,
    estimate_tokens,
    model_entry,
    model_list,
)
from callsheet.gateway.errors import InvalidBody

anthropic, openai = map(import_when_used, ("anthropic", "openai"))

HI = [{"role": "user", "content": "Hi"}]
BODIES = {
    "/chat/completions": {"model": "m", "messages": HI},
    "/completions": {"model": "m", "prompt": "Hi"},
    "/embeddings": {"model": "m", "input": ["a", "b"]},
    "/responses": {"model": "m", "input": "Hi", "temperature": 0.5, "metadata": {"a": "b"}},
    "/messages": {"model": "m", "max_tokens": 9, "messages": HI},
}
MODELS = {
    "/chat/completions": lambda: openai.types.chat.ChatCompletion,
    "/completions": lambda: openai.types.Completion,
    "/responses": lambda: openai.types.responses.Response,
    "/messages": lambda: anthropic.types.Message,
}
USAGE = Usage(10, 5, 3, 0, 2)


def answer(*choices, **more):
    first = choices[0] if choices else Choice("")
    made = {"model": "m-1", "usage": USAGE, "cost_usd": None, "finish_reason": None, **more}
    return Response(text=first.text, choices=choices, **made)


def whole(path, response, **more):
    dialect = DIALECTS[path]
    call = dialect.read({**BODIES[path], **more})
    return json.loads(dialect.whole(call, response, name="x1", created=1))


CHOICES = {
    "text": Choice("Hi", "stop"),
    "nothing": Choice("", None),
    "cut off": Choice("Hi", "length"),
    "filtered": Choice("", "content_filter", refusal="no"),
    "another word": Choice("Hi", "some new reason"),
    "reasoning": Choice("Hi", "stop", reasoning="hm"),
    "calls": Choice("", None, tool_calls=(ToolCall("f", '{"a":1}'), ToolCall("g", "", "c"))),
    "text and calls": Choice("Hi", "tool_calls", tool_calls=(ToolCall("f", "{broken"),)),
}


@pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES)
@pytest.mark.parametrize("path", MODELS)
def test_the_sdks_accept_what_is_made(path, choice):
    if path != "/completions" or not choice.tool_calls:
        MODELS[path]().model_validate(whole(path, answer(choice)))


def test_an_answer_has_the_text_calls_and_usage_in_each_dialect():
    choice = Choice("Hi", "tool_calls", tool_calls=(ToolCall("f", '{"a":1}', "c1"),))
    chat = whole("/chat/completions", answer(choice))
    assert chat["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] == '{"a":1}'
    assert chat["usage"]["prompt_tokens_details"] == {"cached_tokens": 3}
    message = whole("/messages", answer(choice))
    assert message["content"][1] == {"type": "tool_use", "id": "c1", "name": "f", "input": {"a": 1}}
    assert (message["usage"]["input_tokens"], message["stop_reason"]) == (7, "tool_use")
    response = openai.types.responses.Response.model_validate(whole("/responses", answer(choice)))
    assert (response.output_text, response.output[1].call_id) == ("Hi", "c1")
    assert (response.temperature, response.metadata) == (0.5, {"a": "b"})


OWN = {
    "/chat/completions": {
        "id": "c",
        "choices": [{"message": {"role": "assistant", "content": "Hi", "own": 1}, "index": 0}],
        "usage": {"prompt_tokens": 1, "own": [2]},
        "system_fingerprint": None,
        "own": {"x": None},
    },
    "/completions": {"choices": [{"text": "Hi"}], "usage": {"prompt_tokens": 1}, "own": 1},
    "/responses": {"output": [{"type": "web_search_call"}], "usage": {"x": 1}, "own": 1},
    "/messages": {"content": [{"type": "thinking", "signature": "s"}], "usage": {"x": 1}, "own": 1},
}


@pytest.mark.parametrize("path", OWN)
def test_the_body_of_the_provider_is_the_answer(path):
    """L15: all of its members, also those that Callsheet does not know."""
    for route in ("live", "flex", "priority", "batch"):
        response = answer(Choice("Hi", "stop"), body=OWN[path], route=route)
        assert whole(path, response) == OWN[path]


@pytest.mark.parametrize("path", OWN)
@pytest.mark.parametrize("route", ["joined", "cache"])
def test_a_shared_body_has_the_usage_of_this_call(path, route):
    made = whole(path, answer(Choice("Hi", "stop"), body=OWN[path], route=route))
    assert {**made, "usage": 0} == {**OWN[path], "usage": 0}
    assert 5 in made["usage"].values()


@pytest.mark.parametrize("path", OWN)
def test_a_body_in_another_dialect_is_made_anew(path):
    for other in OWN.keys() - {path}:
        made = whole(path, answer(Choice("Hi", "stop"), body=OWN[other]))
        MODELS[path]().model_validate(made)


# ------------------------------------------------------------------------------- embeddings

VECTORS = ((0.25, -1.0), (0.5, 2.0))


def packed(vector):
    return base64.b64encode(struct.pack("<2f", *vector)).decode()


def vectors_body(write):
    data = [
        {"object": "embedding", "index": at, "embedding": write(one), "own": at}
        for at, one in enumerate(VECTORS)
    ]
    return {"object": "list", "data": data, "model": "m-1", "usage": {"prompt_tokens": 4}, "own": 1}


@pytest.mark.parametrize("wanted", ["base64", "float", None])
@pytest.mark.parametrize("given", [packed, list, None])
def test_vectors_have_the_form_that_was_asked_for(wanted, given):
    """OpenAI's SDK for JavaScript decodes base64 without a look at what it got."""
    body = None if given is None else vectors_body(given)
    made = {"model": "m-1", "finish_reason": None, "usage": USAGE, "cost_usd": None}
    response = Response(text="", embeddings=VECTORS, body=body, **made)
    more = {} if wanted is None else {"encoding_format": wanted}
    made = whole("/embeddings", response, **more)
    write = packed if wanted == "base64" else list
    assert [one["embedding"] for one in made["data"]] == list(map(write, VECTORS))
    if body is not None:
        assert (made["own"], made["data"][1]["own"]) == (1, 1)
    if wanted != "base64":
        usage = {"prompt_tokens": 4, "total_tokens": 4}
        openai.types.CreateEmbeddingResponse.model_validate({**made, "usage": usage})


def test_a_number_beyond_float32_is_infinite_in_base64():
    response = Response(
        text="", model="m", finish_reason=None, usage=USAGE, cost_usd=None, embeddings=((1e300,),)
    )
    made = whole("/embeddings", response, encoding_format="base64")
    (number,) = struct.unpack("<f", base64.b64decode(made["data"][0]["embedding"]))
    assert number == float("inf")


def test_embeddings_are_not_streamed():
    dialect = DIALECTS["/embeddings"]
    with pytest.raises(InvalidBody, match="not streamed"):
        dialect.read({**BODIES["/embeddings"], "stream": True})
    with pytest.raises(InvalidBody, match="not streamed"):
        dialect.stream(dialect.read(BODIES["/embeddings"]), name="x", created=1)


# ------------------------------------------------------------------------------- other bodies


def test_models_are_listed_in_both_shapes():
    names = ["a", "b"]
    listed = json.loads(model_list(iter(names), "openai"))
    assert [one["id"] for one in listed["data"]] == names
    listed = json.loads(model_list(iter(names), "anthropic"))
    assert (listed["first_id"], listed["last_id"], listed["has_more"]) == ("a", "b", False)
    assert json.loads(model_list([], "anthropic"))["first_id"] is None
    assert json.loads(model_entry("a", "openai"))["object"] == "model"
    assert json.loads(model_entry("a", "anthropic"))["type"] == "model"


def test_tokens_are_counted_or_estimated_in_words():
    assert json.loads(count_body(7)) == {"input_tokens": 7}
    call = MESSAGES.read_to_count({"model": "m", "messages": HI})
    estimate = json.loads(estimate_tokens(call, TokenEstimator()))
    assert estimate["input_tokens"] > 0
    assert estimate["callsheet_estimated"] is True
