"""L15: a provider that speaks the client's dialect gets the body that the client sent."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors import vendor_named
from callsheet.gateway.dialects import DIALECTS

VENDORS = {"/messages": "anthropic"}
HI = {"role": "user", "content": "Hi"}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
PIXEL = "data:image/png;base64,iVBORw0KGgo="


def sent(path, body):
    """Return the body that is sent to a provider of the same dialect."""
    call = DIALECTS[path].read(body)
    vendor = vendor_named(VENDORS.get(path, "openai"))
    api = call.request.dialect if call.request.dialect in ("chat", "responses") else None
    form = vendor.format_for(call.request.task, api)
    return form.encode(call.request, stream=False)


def usual(body):
    """Return a body without what says nothing: one choice, no stream, members that are unset."""
    unset = {"n": 1, "stream": False}
    known = {"max_tokens", "max_completion_tokens", "temperature", "top_p", "stop", "seed", "n"}
    known |= {"stream", "tools", "tool_choice", "max_output_tokens", "stop_sequences", "dimensions"}
    found = {}
    for name, value in body.items():
        if (value is None and name in known) or unset.get(name, ...) == value:
            continue
        if name in ("stop", "stop_sequences") and (isinstance(value, str) or not value):
            if value:
                found[name] = [value]
            continue
        found[name] = value
    return found


CHATS = {
    "plain": {"temperature": 0.5, "user": "u", "stop": ["a", "b"], "seed": 7, "n": 3},
    "old limit": {"max_tokens": 9},
    "new limit": {"max_completion_tokens": 9, "reasoning_effort": "low", "verbosity": "low"},
    "unknown members": {"some_new_thing": {"deep": [1, None, {"x": "y"}]}, "top_k": 4},
    "null members": {"metadata": None, "audio": None},
    "other choice": {
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}},
    },
    "tools": {
        "tools": [
            {"type": "function", "function": {"name": "f", "parameters": SCHEMA, "strict": True}},
            {"type": "custom", "custom": {"name": "c", "format": {"type": "text"}}},
        ],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "parallel_tool_calls": False,
    },
    "a forced tool of another kind": {
        "tools": [{"type": "custom", "custom": {"name": "c"}}],
        "tool_choice": {"type": "custom", "custom": {"name": "c"}},
    },
    "twice the same tool": {"tools": [{"type": "function", "function": {"name": "f"}}] * 2},
    "strange tools": {"tools": ["f", {"x": 1}], "tool_choice": "required"},
    "a tool of another dialect": {"tools": [{"name": "f", "input_schema": SCHEMA}]},
    "a tool named auto": {
        "tools": [{"type": "function", "function": {"name": "auto"}}],
        "tool_choice": {"type": "function", "function": {"name": "auto"}},
    },
    "json": {"response_format": {"type": "json_object"}},
    "a schema": {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "n", "schema": SCHEMA, "strict": True, "description": "d"},
        }
    },
    "a schema that is not strict": {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "n", "schema": {}, "strict": False},
        }
    },
}
MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
    {
        "role": "user",
        "name": "Ann",
        "content": [
            {"type": "text", "text": "What?", "cache_control": {"type": "ephemeral"}},
            {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
        ],
    },
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{"}}
        ],
        "reasoning_content": "hm",
    },
    {"role": "tool", "tool_call_id": "c1", "content": "1"},
    {"role": "assistant", "content": "Hi"},
    HI,
]


@pytest.mark.parametrize("more", CHATS.values(), ids=CHATS)
def test_a_chat_is_sent_as_it_is(more):
    body = {"model": "m", "messages": MESSAGES, **more}
    assert sent("/chat/completions", body) == usual(body)


def test_options_of_a_stream_are_sent_and_its_usage_is_ours():
    body = {"model": "m", "messages": [HI], "stream": True}
    options = {"include_usage": False, "include_obfuscation": False}
    call = DIALECTS["/chat/completions"].read({**body, "stream_options": options})
    written = vendor_named("openai").format_for("chat").encode(call.request, stream=True)
    assert written["stream_options"] == {"include_usage": True, "include_obfuscation": False}
    assert call.is_streamed
    assert not call.include_usage


ANTHROPICS = {
    "plain": {
        "temperature": 0.5,
        "top_k": 3,
        "metadata": {"user_id": "u"},
        "stop_sequences": ["a"],
    },
    "system": {"system": "Be brief."},
    "system blocks": {
        "system": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]
    },
    "thinking": {"thinking": {"type": "enabled", "budget_tokens": 1024}, "betas": ["x"]},
    "effort": {"output_config": {"effort": "low"}},
    "a schema": {
        "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}}
    },
    "tools": {
        "tools": [
            {
                "name": "f",
                "description": "d",
                "input_schema": SCHEMA,
                "cache_control": {"type": "ephemeral", "ttl": "1h"},
            },
            {"type": "custom", "name": "g", "input_schema": {"type": "object"}},
            {"type": "web_search_20250305", "name": "web_search", "max_uses": 3},
        ],
        "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
    },
    "any tool": {
        "tools": [{"name": "f", "input_schema": SCHEMA}],
        "tool_choice": {"type": "any"},
    },
    "a tool named none": {
        "tools": [{"name": "none", "input_schema": SCHEMA}],
        "tool_choice": {"type": "tool", "name": "none"},
    },
    "a tool that is not there": {
        "tools": [{"name": "f", "input_schema": SCHEMA}],
        "tool_choice": {"type": "tool", "name": "g"},
    },
    "fill the cache": {"max_tokens": 0},
    "cache control": {"cache_control": {"type": "ephemeral"}, "service_tier": "standard_only"},
}
BLOCKS = [
    HI,
    {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
            {"type": "redacted_thinking", "data": "eA=="},
            {"type": "text", "text": "I ask.", "citations": None},
            {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}},
            {"type": "server_tool_use", "id": "t2", "name": "web_search", "input": {}},
        ],
    },
    {
        "role": "user",
        "content": [
            {
                "type": "tool_result",
                "tool_use_id": "t1",
                "is_error": True,
                "content": [{"type": "text", "text": "no"}],
            },
            {
                "type": "image",
                "source": {"type": "base64", "media_type": "image/png", "data": "iVBO"},
                "cache_control": {"type": "ephemeral"},
            },
            {"type": "text", "text": "Go on"},
        ],
    },
    {"role": "assistant", "content": "Once upon"},
]


@pytest.mark.parametrize("more", ANTHROPICS.values(), ids=ANTHROPICS)
def test_a_message_is_sent_as_it_is(more):
    body = {"model": "m", "max_tokens": 5, "messages": BLOCKS, **more}
    assert sent("/messages", body) == usual(body)


RESPONSES = {
    "plain": {"instructions": "Be brief.", "temperature": 1, "max_output_tokens": 99, "top_p": 0.5},
    "stored": {"store": True, "previous_response_id": "resp_1", "metadata": {"a": "b"}},
    "reasoning": {
        "reasoning": {"effort": "low", "summary": "auto"},
        "include": ["reasoning.encrypted_content"],
    },
    "a schema": {
        "text": {
            "format": {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True},
            "verbosity": "low",
        }
    },
    "text": {"text": {"format": {"type": "text"}}, "truncation": "auto"},
    "tools": {
        "tools": [
            {"type": "function", "name": "f", "parameters": SCHEMA, "strict": None},
            {"type": "custom", "name": "c"},
            {"type": "web_search"},
        ],
        "tool_choice": {"type": "function", "name": "f"},
    },
    "a hosted tool": {"tools": [{"type": "web_search"}], "tool_choice": {"type": "web_search"}},
}
ITEMS = [
    {"role": "user", "content": "Hi"},
    {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "a"}]},
    {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"},
    {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "c1", "output": "1"},
    {"type": "item_reference", "id": "msg_1"},
    {"role": "user", "content": [{"type": "input_image", "image_url": PIXEL}]},
]


@pytest.mark.parametrize("more", RESPONSES.values(), ids=RESPONSES)
def test_a_response_is_requested_as_it_is(more):
    body = {"model": "m", "input": ITEMS, **more}
    assert sent("/responses", body) == usual(body)


def test_texts_are_sent_as_they_are():
    body = {"model": "m", "input": ["a", "b"], "encoding_format": "base64", "dimensions": 3}
    assert sent("/embeddings", body) == body
    body = {"model": "m", "prompt": ["a", "b"], "logit_bias": {"1": 2}, "echo": True, "suffix": "s"}
    assert sent("/completions", body) == body


@pytest.mark.parametrize(("path", "name"), [("/embeddings", "input"), ("/completions", "prompt")])
def test_token_ids_are_sent_as_they_are(path, name):
    """LangChain splits the texts of embeddings into tokens by itself."""
    body = {"model": "m", name: [[1, 2, 3], [4]]}
    assert sent(path, body) == body
    assert sent(path, {**body, name: [5, 6]}) == {**body, name: [[5, 6]]}
    texts = DIALECTS[path].read(body).request.inputs
    assert list(map(len, texts)) == [12, 4]


# ------------------------------------------------------------------------------- any body

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
names = st.text("abcdefgh_-", min_size=1, max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
schemas = st.dictionaries(words, values, max_size=3)
unknown = st.dictionaries(
    st.sampled_from(["user", "metadata", "x y", "top_k", "service_tier"]), values
)
numbers = {
    "temperature": st.none() | st.floats(0, 1),
    "top_p": st.none() | st.floats(0.01, 1),
}
functions = st.fixed_dictionaries(
    {"name": names}, optional={"description": words, "parameters": schemas, "strict": st.booleans()}
)
chat_bodies = st.fixed_dictionaries(
    {"model": names, "messages": st.lists(st.sampled_from(MESSAGES), min_size=1, max_size=4)},
    optional={
        **numbers,
        "n": st.integers(1, 5),
        "stop": words.filter(bool) | st.lists(words.filter(bool), max_size=3),
        "seed": st.none() | st.integers(-(2**53), 2**53),
        "max_completion_tokens": st.integers(1, 10**6),
        "tools": st.lists(
            st.builds(lambda one: {"type": "function", "function": one}, functions) | values,
            max_size=3,
        ),
        "tool_choice": st.sampled_from(["auto", "none", "required", "else"]) | values,
        "response_format": st.fixed_dictionaries(
            {
                "type": st.just("json_schema"),
                "json_schema": st.fixed_dictionaries(
                    {"name": names, "schema": schemas, "strict": st.booleans()},
                    optional={"description": words},
                ),
            }
        ),
    },
)
message_bodies = st.fixed_dictionaries(
    {
        "model": names,
        "max_tokens": st.integers(0, 10**6),
        "messages": st.lists(st.sampled_from(BLOCKS), min_size=1, max_size=4),
    },
    optional={
        **numbers,
        "system": words.filter(bool),
        "stop_sequences": st.lists(words.filter(bool), max_size=3),
        "tools": st.lists(
            st.fixed_dictionaries(
                {"name": names, "input_schema": schemas}, optional={"description": words}
            )
            | values,
            max_size=3,
        ),
        "tool_choice": st.sampled_from(
            [{"type": "auto"}, {"type": "any", "disable_parallel_tool_use": True}, {"type": "none"}]
        ),
        "output_config": st.fixed_dictionaries(
            {},
            optional={
                "effort": words,
                "format": values | st.just({"type": "json_schema", "schema": SCHEMA}),
            },
        ),
    },
)


@given(chat_bodies, unknown)
def test_any_chat_is_sent_as_it_is(body, more):
    body = {**more, **body}
    assert sent("/chat/completions", body) == usual(body)


@given(message_bodies, unknown)
def test_any_message_is_sent_as_it_is(body, more):
    body = {**more, **body}
    assert sent("/messages", body) == usual(body)


def test_reading_does_not_change_the_body():
    body = {"model": "m", "messages": MESSAGES, **CHATS["tools"], **CHATS["a schema"]}
    before = json.dumps(body)
    sent("/chat/completions", body)
    assert json.dumps(body) == before
