"""Bodies that are no requests: each is refused with the name of the member, and nothing else."""

from contextlib import suppress

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors import UnsupportedField, vendor_named
from callsheet.gateway.dialects import DIALECTS
from callsheet.gateway.errors import InvalidBody

HI = {"role": "user", "content": "Hi"}
CHAT = {"model": "m", "messages": [HI]}
GOOD = {
    "/chat/completions": CHAT,
    "/completions": {"model": "m", "prompt": "Hi"},
    "/embeddings": {"model": "m", "input": "Hi"},
    "/responses": {"model": "m", "input": "Hi"},
    "/messages": {"max_tokens": 5, **CHAT},
}


def deep(levels):
    value = "x"
    for _ in range(levels):
        value = [value]
    return value


def with_message(**message):
    return {"messages": [HI, {"role": "user", "content": "x", **message}]}


FAULTS = [
    ("/chat/completions", {"model": None}, "model"),
    ("/chat/completions", {"model": 5}, "model"),
    ("/chat/completions", {"model": ""}, "model"),
    ("/chat/completions", {"messages": None}, "messages"),
    ("/chat/completions", {"messages": []}, "messages"),
    ("/chat/completions", {"messages": "Hi"}, "messages"),
    ("/chat/completions", {"messages": [5]}, "messages[0]"),
    ("/chat/completions", with_message(role="king"), "messages[1].role"),
    ("/chat/completions", with_message(content=None), "messages[1].content"),
    ("/chat/completions", with_message(content=[{"text": "x"}]), "messages[1].content[0]"),
    (
        "/chat/completions",
        with_message(content=[{"type": "text", "text": 5}]),
        "messages[1].content[0].text",
    ),
    ("/chat/completions", with_message(name=deep(300)), "messages[1]"),
    ("/chat/completions", with_message(name=float("nan")), "messages[1]"),
    ("/chat/completions", {"temperature": "hot"}, "temperature"),
    ("/chat/completions", {"temperature": True}, "temperature"),
    ("/chat/completions", {"temperature": 3}, "temperature"),
    ("/chat/completions", {"temperature": float("inf")}, "temperature"),
    ("/chat/completions", {"temperature": -(10**400)}, "temperature"),
    ("/chat/completions", {"max_tokens": 1.5}, "max_tokens"),
    ("/chat/completions", {"max_tokens": 10**400}, "max_tokens"),
    ("/chat/completions", {"max_completion_tokens": -1}, "max_completion_tokens"),
    ("/chat/completions", {"max_completion_tokens": 1, "max_tokens": 2}, "max_tokens"),
    ("/chat/completions", {"n": 0}, "n"),
    ("/chat/completions", {"stop": [1]}, "stop"),
    ("/chat/completions", {"stop": [""]}, "stop[0]"),
    ("/chat/completions", {"stream": "yes"}, "stream"),
    ("/chat/completions", {"stream": 1}, "stream"),
    ("/chat/completions", {"stream_options": []}, "stream_options"),
    ("/chat/completions", {"stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
    ("/chat/completions", {"tools": {}}, "tools"),
    ("/chat/completions", {"metadata": {"a": {"b": deep(300)}}}, "metadata.a.b"),
    ("/chat/completions", {"metadata": {"a": float("nan")}}, "metadata.a"),
    (
        "/chat/completions",
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"x": deep(300)}}}},
        "response_format.json_schema.schema.x",
    ),
    ("/completions", {"prompt": None}, "prompt"),
    ("/completions", {"prompt": [[1, "x"]]}, "prompt"),
    ("/completions", {"prompt": ""}, "prompt"),
    ("/embeddings", {"input": [1, True]}, "input"),
    ("/embeddings", {"input": []}, "input"),
    ("/embeddings", {"input": [[]]}, "input"),
    ("/embeddings", {"input": [[1], "x"]}, "input"),
    ("/embeddings", {"dimensions": "3"}, "dimensions"),
    ("/embeddings", {"encoding_format": "hex"}, "encoding_format"),
    ("/embeddings", {"encoding_format": ["float"]}, "encoding_format"),
    ("/responses", {"input": None}, "input"),
    ("/responses", {"input": [5]}, "input[0]"),
    ("/responses", {"input": []}, "input"),
    ("/responses", {"background": True}, "background"),
    ("/responses", {"max_output_tokens": "9"}, "max_output_tokens"),
    ("/messages", {"max_tokens": None}, "max_tokens"),
    ("/messages", {"max_tokens": -1}, "max_tokens"),
    ("/messages", {"system": 5}, "system"),
    ("/messages", {"system": [{"type": "image"}]}, "system[0]"),
    (
        "/messages",
        {"tool_choice": "any", "tools": [{"name": "f", "input_schema": {}}]},
        "tool_choice",
    ),
    ("/messages", {"stop_sequences": [None]}, "stop_sequences"),
]


@pytest.mark.parametrize(("path", "fault", "param"), FAULTS)
def test_the_member_that_is_wrong_is_named(path, fault, param):
    with pytest.raises(InvalidBody) as caught:
        DIALECTS[path].read({**GOOD[path], **fault})
    assert caught.value.param.partition("[0][0]")[0] == param
    assert param.partition("[")[0].partition(".")[0] in caught.value.reason
    assert len(caught.value.reason) < 400


# ------------------------------------------------------------------------------- any body

texts = st.sampled_from(["", "Hi", "user", "assistant", "tool", "function", "text", "auto", "m"])
members = st.sampled_from(
    [
        *("model", "messages", "input", "prompt", "max_tokens", "temperature", "stop", "stream"),
        *("tools", "tool_choice", "type", "function", "name", "parameters", "role", "content"),
        *("text", "format", "json_schema", "schema", "response_format", "system", "reasoning"),
        *("output_config", "input_schema", "tool_calls", "arguments", "id", "source", "n", "x"),
        *("stream_options", "include_usage", "instructions", "thinking", "call_id", "output"),
    ]
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(members, inner, max_size=4),
    max_leaves=12,
)
FORMS = [
    vendor_named("openai").format_for("chat"),
    vendor_named("openai").format_for("chat", "responses"),
    vendor_named("anthropic").format_for("chat"),
    vendor_named("gemini").format_for("chat"),
]


@pytest.mark.parametrize("path", GOOD)
@given(st.data())
def test_no_body_raises_anything_else(path, data):
    """What is read is sent to a provider of any dialect, or refused by the name of a member."""
    body = {**GOOD[path], **data.draw(st.dictionaries(members, anything, max_size=6))}
    with suppress(InvalidBody):
        call = DIALECTS[path].read(body)
        for form in FORMS if call.request.task == "chat" else ():
            with suppress(UnsupportedField):
                form.encode(call.request, stream=call.is_streamed)


def test_a_member_that_is_twice_in_a_body_counts_once():
    text = b'{"model":"a","model":"m","messages":[{"role":"user","content":"x","content":"Hi"}]}'
    call = DIALECTS["/chat/completions"].read(orjson.loads(text))
    assert (call.request.model, call.request.messages[0].content) == ("m", "Hi")


def test_half_a_surrogate_pair_is_no_other_error():
    body = {"model": "m", "messages": [{"role": "user", "content": "\ud800"}], "user": "\udc00"}
    call = DIALECTS["/chat/completions"].read(body)
    assert FORMS[0].encode(call.request, stream=False)["user"] == "\udc00"
