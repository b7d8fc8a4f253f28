"""Tools: called when the prompt names them or the request forces them (L10)."""

import json

import pytest
from provider_client import connected, events_in, named_events_in

WEATHER = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer", "minimum": 1, "maximum": 5},
        "unit": {"enum": ["C", "F"]},
    },
    "required": ["city", "days", "unit"],
}
NAMES = ("get_weather", "get_time")
CHAT_TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": WEATHER}} for name in NAMES
]
MESSAGE_TOOLS = [{"name": name, "input_schema": WEATHER} for name in NAMES]
TOLD = 'Call get_weather for "Oslo".'
BOTH = 'Call get_weather for "Oslo" and get_time for "Rome".'


async def chat_choice(client, text, **more):
    response = await client.chat(text, tools=CHAT_TOOLS, **more)
    assert response.status_code == 200, response.text
    [choice] = response.json()["choices"]
    return choice


def assert_fits(arguments):
    assert set(arguments) == {"city", "days", "unit"}
    assert 1 <= arguments["days"] <= 5
    assert arguments["unit"] in ("C", "F")


async def test_a_chat_calls_the_tool_that_its_prompt_names(autojump_clock):
    async with connected() as client:
        choice = await chat_choice(client, TOLD)
        other = await chat_choice(client, "What is Trio?")
    [call] = choice["message"]["tool_calls"]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("tool_calls", None)
    assert (call["type"], call["function"]["name"]) == ("function", "get_weather")
    arguments = json.loads(call["function"]["arguments"])
    assert_fits(arguments)
    assert arguments["city"] == "Oslo"
    assert other["finish_reason"] == "stop"
    assert "tool_calls" not in other["message"]


async def test_several_tools_are_called_at_once_unless_the_request_forbids_it(autojump_clock):
    async with connected() as client:
        both = await chat_choice(client, BOTH)
        first = await chat_choice(client, BOTH, parallel_tool_calls=False)
    calls = both["message"]["tool_calls"]
    assert [call["function"]["name"] for call in calls] == list(NAMES)
    assert len({call["id"] for call in calls}) == 2
    assert len(first["message"]["tool_calls"]) == 1


@pytest.mark.parametrize(
    ("choice", "called"),
    [
        ("none", None),
        ("auto", None),
        ("required", "get_weather"),
        ({"type": "function", "function": {"name": "get_time"}}, "get_time"),
    ],
)
async def test_a_chat_obeys_the_choice_of_tools(autojump_clock, choice, called):
    async with connected() as client:
        found = await chat_choice(client, "What is Trio?", tool_choice=choice)
    calls = found["message"].get("tool_calls") or [{"function": {"name": None}}]
    assert calls[0]["function"]["name"] == called


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": CHAT_TOOLS, "tool_choice": "maybe"}, "tool_choice"),
        (
            {"tools": CHAT_TOOLS, "tool_choice": {"type": "function", "function": {"name": "x"}}},
            "tool_choice",
        ),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
        ({"tools": {}}, "tools"),
    ],
)
async def test_tools_that_are_not_in_order_are_refused(autojump_clock, more, param):
    async with connected() as client:
        response = await client.chat(**more)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


async def test_a_stream_of_calls_joins_to_the_whole_answer(autojump_clock):
    async with connected() as client:
        whole = await chat_choice(client, BOTH)
        async with client.chat_stream(BOTH, tools=CHAT_TOOLS) as response:
            chunks = events_in((await response.aread()).decode())
    calls = {}
    for chunk in chunks:
        for delta in chunk["choices"][0]["delta"].get("tool_calls", ()):
            call = calls.setdefault(delta["index"], delta["function"] | {"arguments": ""})
            call["arguments"] += delta["function"]["arguments"]
    assert [calls[index] for index in sorted(calls)] == [
        call["function"] for call in whole["message"]["tool_calls"]
    ]
    assert chunks[0]["choices"][0]["delta"]["content"] is None
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


async def test_the_result_of_a_tool_is_answered_with_text(autojump_clock):
    async with connected() as client:
        message = (await chat_choice(client, TOLD))["message"]
        result = {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "9 C"}
        body = {"messages": [{"role": "user", "content": TOLD}, message, result]}
        response = await client.chat(**body, tools=CHAT_TOOLS)
    [choice] = response.json()["choices"]
    assert choice["finish_reason"] == "stop"
    assert choice["message"]["content"]


async def test_a_limit_of_tokens_cuts_the_arguments(autojump_clock):
    async with connected() as client:
        choice = await chat_choice(client, TOLD, max_tokens=6)
    assert choice["finish_reason"] == "length"
    with pytest.raises(ValueError, match="char"):
        json.loads(choice["message"]["tool_calls"][0]["function"]["arguments"])


async def test_definitions_of_tools_are_prompt_tokens(autojump_clock):
    async with connected() as client:
        without = (await client.chat()).json()["usage"]["prompt_tokens"]
        tools = (await client.chat(tools=CHAT_TOOLS)).json()["usage"]["prompt_tokens"]
    assert tools > without + 50


async def test_a_message_calls_tools_as_blocks(autojump_clock):
    async with connected() as client:
        body = (await client.message(BOTH, tools=MESSAGE_TOOLS)).json()
        async with client.message_stream(BOTH, tools=MESSAGE_TOOLS) as response:
            events = named_events_in((await response.aread()).decode())
    assert body["stop_reason"] == "tool_use"
    assert [(block["type"], block["name"]) for block in body["content"]] == [
        ("tool_use", name) for name in NAMES
    ]
    for block in body["content"]:
        assert_fits(block["input"])
    inputs = ["", ""]
    for name, data in events:
        if name == "content_block_delta":
            inputs[data["index"]] += data["delta"]["partial_json"]
    assert [json.loads(text) for text in inputs] == [block["input"] for block in body["content"]]
    assert [name for name, _ in events].count("content_block_stop") == 2


@pytest.mark.parametrize(
    ("choice", "called"),
    [
        ({"type": "any"}, ["get_weather"]),
        ({"type": "tool", "name": "get_time"}, ["get_time"]),
        ({"type": "none"}, []),
        ({"type": "auto", "disable_parallel_tool_use": True}, []),
    ],
)
async def test_a_message_obeys_the_choice_of_tools(autojump_clock, choice, called):
    async with connected() as client:
        body = (await client.message(tools=MESSAGE_TOOLS, tool_choice=choice)).json()
    assert [block["name"] for block in body["content"] if block["type"] == "tool_use"] == called


async def test_a_message_answers_the_result_of_a_tool_with_text(autojump_clock):
    async with connected() as client:
        content = (await client.message(TOLD, tools=MESSAGE_TOOLS)).json()["content"]
        result = {"type": "tool_result", "tool_use_id": content[0]["id"], "content": "9 C"}
        messages = [
            {"role": "user", "content": TOLD},
            {"role": "assistant", "content": content},
            {"role": "user", "content": [result]},
        ]
        body = (await client.message(messages=messages, tools=MESSAGE_TOOLS)).json()
    assert [block["type"] for block in body["content"]] == ["text"]
    assert body["stop_reason"] == "end_turn"


CALL = {"id": "call_1", "type": "function", "function": {"name": "get_time", "arguments": "{}"}}
USE = {"type": "tool_use", "id": "toolu_1", "name": "get_time", "input": {}}
USER = {"role": "user", "content": "?"}


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([{"role": "assistant", "tool_calls": [CALL]}], "call_1"),
        ([{"role": "assistant", "tool_calls": [CALL]}, USER], "did not have response"),
        ([{"role": "tool", "tool_call_id": "call_1", "content": "9"}], "preceding message"),
    ],
)
async def test_a_chat_with_calls_and_results_that_do_not_match_is_refused(
    autojump_clock, messages, said
):
    async with connected() as client:
        response = await client.chat(messages=[USER, *messages])
    assert response.status_code == 400
    assert said in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([{"role": "assistant", "content": [USE]}, USER], "without `tool_result`"),
        ([{"role": "assistant", "content": [USE]}], "toolu_1"),
        (
            [
                {"role": "assistant", "content": "Yes."},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1"}]},
            ],
            "unexpected `tool_use_id`",
        ),
    ],
)
async def test_a_message_with_calls_and_results_that_do_not_match_is_refused(
    autojump_clock, messages, said
):
    async with connected() as client:
        response = await client.message(messages=[USER, *messages])
    assert response.status_code == 400
    assert said in response.json()["error"]["message"]


@pytest.mark.parametrize("kind", ["function_call", "function_call_output"])
async def test_a_response_with_calls_and_outputs_that_do_not_match_is_refused(autojump_clock, kind):
    item = {"type": kind, "call_id": "call_1", "name": "f", "arguments": "{}", "output": "9"}
    async with connected() as client:
        response = await client.post("/v1/responses", json={"model": "m", "input": [USER, item]})
    assert response.status_code == 400
    assert "call_1" in response.json()["error"]["message"]
