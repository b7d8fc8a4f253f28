"""Tools, tool calls and their results in each wire format (L10, L15)."""

import json

import pytest
from bodies import HI, chat

from callsheet.actors import ChatMessage, Tool
from callsheet.actors.identity import sharing_key
from callsheet.actors.ledger.bound import most_usage
from callsheet.actors.vendors.anthropic import AnthropicMessages
from callsheet.actors.vendors.catalog import VENDORS
from callsheet.actors.vendors.decoding import dumps
from callsheet.actors.vendors.format import UnsupportedField
from callsheet.actors.vendors.gemini import GeminiContent
from callsheet.actors.vendors.openai_chat import OpenAIChat
from callsheet.actors.vendors.openai_responses import OpenAIResponses

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = Tool(name="get_weather", description="Tell the weather.", parameters=SCHEMA)

# The same function as each SDK takes it, with a member that only this provider has.
CHAT = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tell the weather.",
        "parameters": SCHEMA,
        "strict": True,
    },
}
RESPONSES = {"type": "function", "strict": None, **CHAT["function"]}
ANTHROPIC = {
    "name": "get_weather",
    "description": "Tell the weather.",
    "input_schema": SCHEMA,
    "cache_control": {"type": "ephemeral"},
}
GEMINI = {
    "functionDeclarations": [
        {
            "name": "get_weather",
            "description": "Tell the weather.",
            "parametersJsonSchema": SCHEMA,
            "behavior": "BLOCKING",
        }
    ]
}
GIVEN = {"chat": CHAT, "responses": RESPONSES, "anthropic": ANTHROPIC, "gemini": GEMINI}


def as_chat(request):
    return OpenAIChat().encode(request, stream=False)


def as_anthropic(request):
    return AnthropicMessages().encode(request, stream=False)


def as_gemini(request):
    return GeminiContent().encode(request, stream=False)


def as_responses(request):
    return OpenAIResponses().encode(request, stream=False)


ENCODE = {
    "chat": as_chat,
    "responses": as_responses,
    "anthropic": as_anthropic,
    "gemini": as_gemini,
}


def sent(dialect, *tools, **more):
    return ENCODE[dialect](chat(tools=tools, **more)).get("tools")


# ----------------------------------------------------------------- the tools that are offered


def test_a_tool_is_defined_in_the_shape_of_each_provider():
    named = {"name": "get_weather", "description": "Tell the weather."}
    assert sent("chat", WEATHER) == [
        {"type": "function", "function": {**named, "parameters": SCHEMA}}
    ]
    assert sent("responses", WEATHER) == [
        {"type": "function", "strict": False, **named, "parameters": SCHEMA}
    ]
    assert sent("anthropic", WEATHER) == [{**named, "input_schema": SCHEMA}]
    assert sent("gemini", WEATHER) == [
        {"functionDeclarations": [{**named, "parametersJsonSchema": SCHEMA}]}
    ]


@pytest.mark.parametrize("dialect", ENCODE)
@pytest.mark.parametrize("given", GIVEN)
def test_a_tool_of_an_sdk_goes_unchanged_to_its_provider_and_translated_to_others(given, dialect):
    """L15: what the user wrote is what is sent."""
    assert sent(dialect, GIVEN[given]) == (
        [GIVEN[given]] if given == dialect else sent(dialect, WEATHER)
    )


@pytest.mark.parametrize("dialect", ENCODE)
def test_a_tool_that_the_provider_runs_is_sent_as_it_is(dialect):
    search = {"type": "web_search_20250305", "name": "web_search", "max_uses": 2}
    assert sent(dialect, WEATHER, search)[-1] == search
    assert sent(dialect, {"google_search": {}}) == [{"google_search": {}}]
    assert sent(dialect, {"type": "file_search"}) == [{"type": "file_search"}]


def test_googles_object_may_have_several_functions_and_a_search():
    other = {"name": "get_time"}
    (weather,) = GEMINI["functionDeclarations"]
    both = {"functionDeclarations": [weather, other], "googleSearch": {}}
    request = chat(tools=[both])
    assert [tool.name for tool in request.tools] == ["get_weather", "get_time", "googleSearch"]
    assert as_gemini(request)["tools"] == [
        {"functionDeclarations": [weather, other]},
        {"googleSearch": {}},
    ]


@pytest.mark.parametrize("dialect", ENCODE)
def test_a_tool_without_arguments_has_a_schema_where_one_is_needed(dialect):
    """Gemini refuses an object without members, OpenAI's Responses need the member."""
    empty = {"type": "object", "properties": {}}
    assert json.dumps(empty) in json.dumps(sent(dialect, Tool(name="now"))) or dialect == "gemini"
    assert sent("gemini", Tool(name="now")) == [{"functionDeclarations": [{"name": "now"}]}]


def get_forecast(city: str, days: int = 1) -> str:
    """Tell the weather."""
    return city * days


@pytest.mark.parametrize("name", ["openai", "azure", "groq", "compatible"])
def test_a_function_has_a_strict_schema_where_the_server_has_a_strict_mode(name):
    """L15: a server that is merely compatible gets the plain schema."""
    request = chat(tools=[get_forecast, WEATHER])
    body = VENDORS[name].format_for("chat").encode(request, stream=False)
    function, own = (tool["function"] for tool in body["tools"])
    assert function.get("strict") == (True if name in ("openai", "azure") else None)
    assert function["parameters"].get("additionalProperties", True) is ("strict" not in function)
    assert "strict" not in own  # the user wrote its schema
    flat = OpenAIResponses(strict_tools=True).encode(request, stream=False)["tools"]
    assert [tool["strict"] for tool in flat] == [True, False]
    assert flat[0]["parameters"]["required"] == ["city", "days"]


CHOICES = {
    "auto": ("auto", "auto", {"type": "auto"}, {"mode": "AUTO"}),
    "none": ("none", "none", {"type": "none"}, {"mode": "NONE"}),
    "required": ("required", "required", {"type": "any"}, {"mode": "ANY"}),
    "get_weather": (
        {"type": "function", "function": {"name": "get_weather"}},
        {"type": "function", "name": "get_weather"},
        {"type": "tool", "name": "get_weather"},
        {"mode": "ANY", "allowedFunctionNames": ["get_weather"]},
    ),
}


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("given", [WEATHER, CHAT, ANTHROPIC], ids=["own", "chat", "anthropic"])
def test_which_tool_to_call_is_said_in_the_words_of_each_provider(choice, given):
    request = chat(tools=[given], tool_choice=choice)
    bodies = [encode(request) for encode in ENCODE.values()]
    *others, gemini = bodies
    found = [*(body["tool_choice"] for body in others), gemini["toolConfig"]]
    *expected, config = CHOICES[choice]
    assert found == [*expected, {"functionCallingConfig": config}]


def test_a_tool_that_takes_text_is_chosen_by_its_type():
    custom = {"type": "custom", "name": "run"}
    assert as_chat(chat(tools=[custom], tool_choice="run"))["tool_choice"] == {
        "type": "custom",
        "custom": {"name": "run"},
    }


def test_a_tool_that_takes_text_has_the_name_in_its_definition():
    (flat,) = Tool.defined({"type": "custom", "name": "run"})
    (nested,) = Tool.defined({"type": "custom", "custom": {"name": "run"}})
    assert (flat.name, nested.name) == ("run", "run")


def test_a_server_that_ignores_the_choice_of_a_tool_is_not_asked_for_it():
    form = VENDORS["ollama"].format_for("chat")
    assert form.encode(chat(tools=[WEATHER]), stream=False)["tools"]
    with pytest.raises(UnsupportedField, match="tool_choice"):
        form.encode(chat(tools=[WEATHER], tool_choice="required"), stream=False)


@pytest.mark.parametrize(
    ("tools", "words"),
    [
        ([WEATHER, "get_time"], r"tools\[1\]: a tool must be a function, a Tool or .* not a str"),
        ([WEATHER, CHAT], r"tools\[1\]: another tool has the name 'get_weather', too"),
        ([{"type": "function"}], r"tools\[0\]: a tool has no \"name\""),
        ([{"type": "function", "function": []}], r"the function of a tool must be an object"),
        ([{"name": "f", "input_schema": "x"}], "the schema of the tool 'f' must be an object"),
        ([{"functionDeclarations": {}}], '"functionDeclarations" of a tool must be a list'),
        ([{}], r'tools\[0\]: a tool has no "name"'),
        ({"type": "function"}, "tools must be a list, .* not an object"),
    ],
)
def test_what_is_no_tool_is_refused_in_words(tools, words):
    with pytest.raises((TypeError, ValueError), match=words):
        chat(tools=tools)


@pytest.mark.parametrize("name", ["", "get weather", "x" * 65, "caf\u00e9"])
def test_a_name_that_some_provider_refuses_is_refused_at_once(name):
    with pytest.raises(ValueError, match="name of a tool must be"):
        Tool(name=name)
    with pytest.raises(TypeError, match="name must be a string, not 5"):
        Tool(name=5)


@pytest.mark.parametrize("dialect", ENCODE)
@pytest.mark.parametrize(
    "tool", [get_forecast, WEATHER, *GIVEN.values()], ids=["function", "tool", *GIVEN]
)
def test_the_bound_of_a_call_counts_its_tools_in_any_shape(dialect, tool):
    """L12: the bound follows from what is sent; each token stands for at least one byte."""
    plain, offering = chat(), chat(tools=[tool])
    encode = ENCODE[dialect]
    sent_bytes = len(dumps(encode(offering))) - len(dumps(encode(plain)))
    bounds = [most_usage(one, None, most_output=1).input_tokens for one in (plain, offering)]
    assert bounds[1] - bounds[0] >= sent_bytes


def test_tools_that_are_sent_differently_have_different_keys():
    """L6: a definition may have more than its name and schema."""
    other = {**ANTHROPIC, "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    keys = {
        sharing_key(chat(tools=[tool], cacheable=True))
        for tool in (WEATHER, CHAT, RESPONSES, ANTHROPIC, GEMINI, other)
    }
    assert len(keys) == 6


# ------------------------------------------------------------------ calls and their results


def call(call_id, name, arguments="{}"):
    function = {"name": name, "arguments": arguments}
    return {"id": call_id, "type": "function", "function": function}


def turn(*calls, text=""):
    extra = {"tool_calls": list(calls)}
    return ChatMessage("assistant", text, extra=extra if text else {"content": None, **extra})


def result(call_id, text):
    return ChatMessage("tool", text, extra={"tool_call_id": call_id})


def contents(*messages):
    return as_gemini(chat(messages=[*HI, *messages]))["contents"][1:]


def test_calls_and_results_in_openais_shape_go_to_gemini():
    found = contents(
        turn(call("call_1", "f", '{"x":1}'), call("call_2", "g", ""), text="Let me see."),
        result("call_1", '{"sum": 2}'),
        result("call_2", "It rains."),
        *HI,
    )
    assert found == [
        {
            "role": "model",
            "parts": [
                {"text": "Let me see."},
                {"functionCall": {"id": "call_1", "name": "f", "args": {"x": 1}}},
                {"functionCall": {"id": "call_2", "name": "g", "args": {}}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"id": "call_1", "name": "f", "response": {"sum": 2}}},
                {
                    "functionResponse": {
                        "id": "call_2",
                        "name": "g",
                        "response": {"result": "It rains."},
                    }
                },
            ],
        },
        {"role": "user", "parts": [{"text": "Hi"}]},
    ]


def test_images_sounds_and_files_of_openais_shape_go_to_gemini():
    parts = [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
        {"type": "image_url", "image_url": "data:image/png;base64,BBBB"},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,CCCC"}},
        {"type": "input_audio", "input_audio": {"data": "DDDD", "format": "wav"}},
    ]
    (found,) = contents({"role": "user", "content": parts})
    kinds = ["image/png", "image/png", "application/pdf", "audio/wav"]
    data = ["AAAA", "BBBB", "CCCC", "DDDD"]
    assert found["parts"] == [
        {"text": "What is it?"},
        *(
            {"inlineData": {"mimeType": kind, "data": one}}
            for kind, one in zip(kinds, data, strict=True)
        ),
    ]


def test_the_results_of_two_turns_are_not_mixed():
    found = contents(
        turn(call("a", "f")), result("a", "1"), turn(call("b", "g")), result("b", "{no JSON")
    )
    assert [content["role"] for content in found] == ["model", "user", "model", "user"]
    assert found[-1]["parts"][0]["functionResponse"]["response"] == {"result": "{no JSON"}


def test_a_message_of_a_response_goes_to_gemini_without_what_gemini_does_not_have():
    kept = {"reasoning_content": "Hm.", "tool_calls": [call("a", "f")], "content": None}
    (found,) = contents(ChatMessage("assistant", "", extra=kept))
    assert found["parts"] == [{"functionCall": {"id": "a", "name": "f", "args": {}}}]


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([result("a", "1")], "a tool result without its call"),
        ([turn(call("a", "f", "{cut"))], "a tool call in this form"),
        ([turn("f")], "a tool call that is no object"),
        ([ChatMessage("function", "1")], "the role 'function'"),
        ([ChatMessage("user", "Hi", extra={"name": "Ann"})], "'name'"),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": "https://x/y.png"}]}],
            "a part of the type 'image_url' in this form",
        ),
        ([{"role": "user", "content": [{"type": "video"}]}], "a part of the type 'video'"),
    ],
)
def test_what_gemini_cannot_take_is_refused_in_words(messages, words):
    with pytest.raises(UnsupportedField, match=words):
        contents(*messages)
