"""For another dialect, what has an equivalent is translated, and the rest is refused."""

import pytest

from callsheet.actors import Endpoint, UnsupportedField, vendor_named
from callsheet.gateway.dialects import DIALECTS

HI = {"role": "user", "content": "Hi"}
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "string"}},
    "required": ["a"],
    "additionalProperties": False,
}
LOOSE = {"type": "object", "properties": {"a": {}}}
PIXEL = "data:image/png;base64,iVBORw0KGgo="


def form_of(vendor, api=None):
    return vendor_named(vendor).format_for("chat", api)


FORMS = {
    "chat": form_of("openai"),
    "responses": form_of("openai", "responses"),
    "anthropic": form_of("anthropic"),
    "gemini": form_of("gemini"),
}
PATHS = {"chat": "/chat/completions", "responses": "/responses", "anthropic": "/messages"}
NEEDED = {"chat": {"messages": [HI]}, "responses": {"input": "Hi"}}
NEEDED["anthropic"] = {"messages": [HI], "max_tokens": 5}


def sent(source, target, **body):
    """Return the body that a provider gets which speaks another dialect."""
    call = DIALECTS[PATHS[source]].read({"model": "m", **NEEDED[source], **body})
    return FORMS[target].encode(call.request, stream=False)


def chat_tool(name="f"):
    return {
        "type": "function",
        "function": {"name": name, "description": "d", "parameters": SCHEMA},
    }


CHAT = [
    {"role": "system", "content": "Be brief."},
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "What?"},
            {"type": "image_url", "image_url": {"url": PIXEL}},
        ],
    },
    {
        "role": "assistant",
        "content": "I ask.",
        "reasoning_content": "hm",
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":"x"}'}},
            {"id": "c2", "type": "function", "function": {"name": "f", "arguments": "{}"}},
        ],
    },
    {"role": "tool", "tool_call_id": "c1", "content": "1"},
    {"role": "tool", "tool_call_id": "c2", "content": "2"},
    {"role": "user", "content": "Go on"},
]
ANTHROPIC = [
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "What?"},
            {
                "type": "image",
                "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
            },
        ],
    },
    {
        "role": "assistant",
        "content": [
            {"type": "text", "text": "I ask."},
            {"type": "tool_use", "id": "c1", "name": "f", "input": {"a": "x"}},
            {"type": "tool_use", "id": "c2", "name": "f", "input": {}},
        ],
    },
    {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "c1", "content": "1"},
            {"type": "tool_result", "tool_use_id": "c2", "content": "2"},
            {"type": "text", "text": "Go on"},
        ],
    },
]
ITEMS = [
    {
        "role": "user",
        "content": [
            {"type": "input_text", "text": "What?"},
            {"type": "input_image", "image_url": PIXEL},
        ],
    },
    {"role": "assistant", "content": "I ask."},
    {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a":"x"}'},
    {"type": "function_call", "call_id": "c2", "name": "f", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "c1", "output": "1"},
    {"type": "function_call_output", "call_id": "c2", "output": "2"},
    {"role": "user", "content": "Go on"},
]
CHATS = {
    "chat": {"messages": CHAT},
    "anthropic": {"system": "Be brief.", "messages": ANTHROPIC},
    "responses": {"instructions": "Be brief.", "input": ITEMS},
}
OWN = {"chat": "messages", "anthropic": "messages", "responses": "input"}


def without(members, *names):
    return {name: value for name, value in members.items() if name not in names}


@pytest.mark.parametrize("source", CHATS)
def test_a_chat_with_images_and_tools_reaches_every_dialect(source):
    chat = sent(source, "chat", **CHATS[source])["messages"]
    assert [without(one, "reasoning_content") for one in chat] == [
        without(one, "reasoning_content") for one in CHAT
    ]
    anthropic = sent(source, "anthropic", **CHATS[source])
    assert anthropic["system"] == "Be brief."
    assert anthropic["messages"] == ANTHROPIC
    items = sent(source, "responses", **CHATS[source])
    if source == "responses":
        assert items["input"] == ITEMS
    else:
        assert items["input"] == [{"role": "system", "content": "Be brief."}, *ITEMS]
    gemini = sent(source, "gemini", **CHATS[source])
    assert gemini["systemInstruction"] == {"parts": [{"text": "Be brief."}]}
    assert [one["role"] for one in gemini["contents"]] == ["user", "model", "user", "user"]
    assert gemini["contents"][0]["parts"][1]["inlineData"]["mimeType"] == "image/png"
    assert [part["functionCall"]["args"] for part in gemini["contents"][1]["parts"][1:]] == [
        {"a": "x"},
        {},
    ]


TOOLS = {
    "chat": {
        "tools": [chat_tool()],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
    },
    "anthropic": {
        "tools": [{"name": "f", "description": "d", "input_schema": SCHEMA}],
        "tool_choice": {"type": "tool", "name": "f"},
    },
    "responses": {
        "tools": [{"type": "function", "name": "f", "description": "d", "parameters": SCHEMA}],
        "tool_choice": {"type": "function", "name": "f"},
    },
}


@pytest.mark.parametrize("target", ["chat", "anthropic"])
@pytest.mark.parametrize("source", TOOLS)
def test_tools_and_the_choice_among_them_reach_every_dialect(source, target):
    body = sent(source, target, **TOOLS[source])
    assert {name: body[name] for name in ("tools", "tool_choice")} == TOOLS[target]


@pytest.mark.parametrize("source", TOOLS)
def test_a_forced_tool_reaches_gemini(source):
    config = sent(source, "gemini", **TOOLS[source])["toolConfig"]["functionCallingConfig"]
    assert config == {"mode": "ANY", "allowedFunctionNames": ["f"]}


def named(schema, *, strict):
    return {"name": "n", "strict": strict, "schema": schema}


def test_schemas_reach_every_dialect():
    wanted = {"type": "json_schema", "json_schema": named(SCHEMA, strict=True)}
    anthropic = {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}
    flat = {"text": {"format": {"type": "json_schema", **named(SCHEMA, strict=True)}}}
    assert sent("chat", "responses", response_format=wanted)["text"] == flat["text"]
    assert (
        sent("chat", "anthropic", response_format=wanted)["output_config"]
        == anthropic["output_config"]
    )
    assert sent("responses", "chat", **flat)["response_format"] == wanted
    assert sent("responses", "anthropic", **flat)["output_config"] == anthropic["output_config"]
    own = {"type": "json_schema", "json_schema": {**named(SCHEMA, strict=True), "name": "answer"}}
    assert sent("anthropic", "chat", **anthropic)["response_format"] == own
    for source, body in (("chat", {"response_format": wanted}), ("anthropic", anthropic)):
        config = sent(source, "gemini", **body)["generationConfig"]
        assert config["responseMimeType"] == "application/json"


def test_a_schema_with_optional_members_is_not_strict_at_openai():
    body = {"output_config": {"format": {"type": "json_schema", "schema": LOOSE}}}
    assert sent("anthropic", "chat", **body)["response_format"]["json_schema"]["strict"] is False
    format_ = sent("anthropic", "responses", **body)["text"]["format"]
    assert (format_["strict"], format_["schema"]) == (False, LOOSE)
    loose = {"type": "json_schema", "json_schema": {"name": "n", "schema": LOOSE}}
    assert sent("chat", "responses", response_format=loose)["text"]["format"]["strict"] is False


EQUIVALENTS = [
    ("chat", "anthropic", {"reasoning_effort": "minimal"}, {"output_config": {"effort": "low"}}),
    ("chat", "anthropic", {"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
    ("chat", "anthropic", {"stop": "x", "top_p": 0.5}, {"stop_sequences": ["x"], "top_p": 0.5}),
    ("chat", "anthropic", {"max_completion_tokens": 9}, {"max_tokens": 9}),
    ("chat", "anthropic", {"thinking": {"type": "adaptive"}, "top_k": 3}, {"top_k": 3}),
    ("chat", "responses", {"reasoning_effort": "low"}, {"reasoning": {"effort": "low"}}),
    ("chat", "responses", {"verbosity": "low"}, {"text": {"verbosity": "low"}}),
    (
        "chat",
        "responses",
        {"response_format": {"type": "json_object"}},
        {"text": {"format": {"type": "json_object"}}},
    ),
    (
        "chat",
        "gemini",
        {"reasoning_effort": "xhigh", "frequency_penalty": 1, "top_k": 3, "seed": 4, "n": 2},
        {
            "generationConfig": {
                "thinkingConfig": {"thinkingLevel": "HIGH"},
                "frequencyPenalty": 1,
                "topK": 3,
                "seed": 4,
                "candidateCount": 2,
            }
        },
    ),
    (
        "chat",
        "gemini",
        {"reasoning_effort": "none", "response_format": {"type": "json_object"}},
        {
            "generationConfig": {
                "thinkingConfig": {"thinkingBudget": 0},
                "responseMimeType": "application/json",
            }
        },
    ),
    (
        "chat",
        "gemini",
        {"model": "gemini-2.5-flash", "reasoning_effort": "low"},
        {"generationConfig": {"thinkingConfig": {"thinkingBudget": 1024}}},
    ),
    ("anthropic", "gemini", {"top_k": 3}, {"generationConfig": {"maxOutputTokens": 5, "topK": 3}}),
    (
        "anthropic",
        "gemini",
        {"thinking": {"type": "enabled", "budget_tokens": 9000}},
        {
            "generationConfig": {
                "maxOutputTokens": 5,
                "thinkingConfig": {"thinkingLevel": "MEDIUM"},
            }
        },
    ),
    (
        "chat",
        "anthropic",
        {"tools": [chat_tool()], "parallel_tool_calls": False},
        {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
    ),
    (
        "chat",
        "anthropic",
        {"tools": [chat_tool()], "parallel_tool_calls": False, "tool_choice": "required"},
        {"tool_choice": {"type": "any", "disable_parallel_tool_use": True}},
    ),
    (
        "anthropic",
        "chat",
        {"thinking": {"type": "enabled", "budget_tokens": 9000}},
        {"reasoning_effort": "medium"},
    ),
    (
        "anthropic",
        "chat",
        {"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}},
        {"reasoning_effort": "max"},
    ),
    (
        "anthropic",
        "responses",
        {"output_config": {"effort": "low"}},
        {"reasoning": {"effort": "low"}},
    ),
    (
        "anthropic",
        "chat",
        {
            "tools": [{"name": "f", "input_schema": SCHEMA}],
            "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        },
        {"parallel_tool_calls": False, "tool_choice": "auto"},
    ),
    (
        "responses",
        "chat",
        {"reasoning": {"effort": "low", "summary": "auto"}, "text": {"verbosity": "low"}},
        {"reasoning_effort": "low", "verbosity": "low"},
    ),
    (
        "responses",
        "chat",
        {"text": {"format": {"type": "json_object"}}},
        {"response_format": {"type": "json_object"}},
    ),
    (
        "responses",
        "anthropic",
        {"reasoning": {"effort": "high"}},
        {"output_config": {"effort": "high"}},
    ),
    (
        "chat",
        "responses",
        {"tools": [{"type": "custom", "custom": {"name": "c"}}]},
        {"tools": [{"type": "custom", "name": "c"}]},
    ),
    (
        "responses",
        "chat",
        {"tools": [{"type": "custom", "name": "c"}]},
        {"tools": [{"type": "custom", "custom": {"name": "c"}}]},
    ),
]


@pytest.mark.parametrize(("source", "target", "given", "wanted"), EQUIVALENTS)
def test_members_are_translated(source, target, given, wanted):
    body = sent(source, target, **given)
    assert {name: body.get(name) for name in wanted} == wanted


WITHOUT_EFFECT = [
    ("chat", {"user": "u", "metadata": {"a": "b"}, "store": True, "prompt_cache_key": "k"}),
    ("chat", {"logprobs": False, "top_logprobs": 0, "frequency_penalty": 0.0, "logit_bias": {}}),
    ("chat", {"service_tier": "auto", "response_format": {"type": "text"}, "modalities": ["text"]}),
    ("chat", {"tool_choice": "none", "parallel_tool_calls": True, "audio": None}),
    ("responses", {"store": False, "truncation": "disabled", "background": False, "user": "u"}),
    ("responses", {"include": ["reasoning.encrypted_content"], "service_tier": "default"}),
    ("responses", {"text": {"format": {"type": "text"}}, "previous_response_id": None}),
    ("anthropic", {"metadata": {"user_id": "u"}, "cache_control": {"type": "ephemeral"}}),
    ("anthropic", {"service_tier": "standard_only", "thinking": {"type": "disabled"}}),
    ("anthropic", {"context_management": {"edits": [{"type": "clear_thinking_20251015"}]}}),
]


@pytest.mark.parametrize("target", ["anthropic", "gemini"])
@pytest.mark.parametrize(("source", "given"), WITHOUT_EFFECT)
def test_members_without_effect_are_left_out(source, given, target):
    if source != target:
        assert sent(source, target, **given) == sent(source, target)


REFUSED = [
    ("chat", "anthropic", {"logit_bias": {"1": 5}}, "logit_bias"),
    ("chat", "anthropic", {"logprobs": True}, "logprobs"),
    ("chat", "anthropic", {"presence_penalty": 0.5}, "presence_penalty"),
    ("chat", "anthropic", {"seed": 1}, "seed"),
    ("chat", "anthropic", {"n": 2}, "n"),
    ("chat", "anthropic", {"some_new_thing": 1}, "some_new_thing"),
    ("chat", "anthropic", {"response_format": {"type": "json_object"}}, "response_format"),
    ("chat", "anthropic", {"service_tier": "flex"}, "service_tier"),
    ("chat", "anthropic", {"tools": [{"type": "custom", "custom": {"name": "c"}}]}, "the tool 'c'"),
    ("chat", "anthropic", {"tools": [1]}, "tools"),
    ("chat", "anthropic", {"functions": [{"name": "f"}]}, "functions"),
    ("chat", "gemini", {"logit_bias": {"1": 5}}, "logit_bias"),
    ("chat", "gemini", {"parallel_tool_calls": False}, "parallel_tool_calls"),
    ("chat", "responses", {"stop": "x"}, "stop"),
    ("chat", "responses", {"seed": 1}, "seed"),
    ("anthropic", "chat", {"top_k": 1}, "top_k"),
    ("anthropic", "chat", {"mcp_servers": [{}]}, "mcp_servers"),
    ("anthropic", "chat", {"speed": "fast"}, "speed"),
    ("anthropic", "chat", {"context_management": {"edits": [{}]}}, "context_management"),
    (
        "anthropic",
        "chat",
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        "the tool 'web_search'",
    ),
    ("responses", "chat", {"previous_response_id": "r"}, "previous_response_id"),
    ("responses", "chat", {"conversation": "c"}, "conversation"),
    ("responses", "chat", {"tools": [{"type": "web_search"}]}, "the tool 'web_search'"),
    ("responses", "anthropic", {"truncation": "auto"}, "truncation"),
    (
        "responses",
        "chat",
        {"input": [{"type": "item_reference", "id": "x"}]},
        "an item of the type 'item_reference'",
    ),
    (
        "responses",
        "chat",
        {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "x"}]}]},
        "a part of the type 'input_image'",
    ),
    (
        "anthropic",
        "chat",
        {"messages": [{"role": "user", "content": [{"type": "search_result", "title": "x"}]}]},
        "a block of the type 'search_result'",
    ),
    (
        "anthropic",
        "gemini",
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "tool_result",
                            "tool_use_id": "t",
                            "content": [{"type": "x"}],
                        }
                    ],
                }
            ]
        },
        "a tool result that is no text",
    ),
]


@pytest.mark.parametrize(("source", "target", "given", "name"), REFUSED)
def test_a_member_without_an_equivalent_is_refused_by_its_name(source, target, given, name):
    with pytest.raises(UnsupportedField, match=f"support {name}") as caught:
        sent(source, target, **given)
    assert FORMS[target].name in str(caught.value)


def test_thinking_is_left_out_for_another_provider():
    said = [
        {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
        {"type": "text", "text": "a"},
    ]
    messages = [HI, {"role": "assistant", "content": said}, HI]
    assert sent("anthropic", "chat", messages=messages)["messages"][1] == {
        "role": "assistant",
        "content": "a",
    }


def test_an_image_in_a_tool_result_follows_the_results():
    source = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
    result = {
        "type": "tool_result",
        "tool_use_id": "c1",
        "content": [{"type": "text", "text": "1"}, {"type": "image", "source": source}],
    }
    calls = [{"type": "tool_use", "id": "c1", "name": "f", "input": {}}]
    messages = [
        HI,
        {"role": "assistant", "content": calls},
        {"role": "user", "content": [result, {"type": "text", "text": "So?"}]},
    ]
    assert sent("anthropic", "chat", messages=messages)["messages"][2:] == [
        {"role": "tool", "tool_call_id": "c1", "content": "1"},
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": PIXEL}},
                {"type": "text", "text": "So?"},
            ],
        },
    ]


def test_an_endpoint_takes_the_api_of_the_dialect_if_it_has_it():
    openai = Endpoint.of("openai", api="responses")
    for source, name in (("chat", "chat"), ("responses", "responses"), ("anthropic", "responses")):
        call = DIALECTS[PATHS[source]].read({"model": "m", **NEEDED[source]})
        assert openai.format_for(call.request).form == name
    call = DIALECTS["/responses"].read({"model": "m", "input": "Hi"})
    assert Endpoint.of("anthropic").format_for(call.request).form == "anthropic"
