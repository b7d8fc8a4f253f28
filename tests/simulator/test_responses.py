"""OpenAI's Responses API: whole, streamed, with tools, and what is refused (L10)."""

import json

import pytest
from batch_client import after, content, create
from provider_client import connected, named_events_in

URL = "/v1/responses"
TOOL = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": None,
}
TOLD = 'Call get_weather for "Oslo".'
ALTERNATIVES = [
    {},
    {"input": TOLD, "tools": [TOOL]},
    {"reasoning": {"effort": "low", "summary": "auto"}},
    {"reasoning": {"effort": "low"}, "input": TOLD, "tools": [TOOL]},
    {"max_output_tokens": 16},
    {"include": ["message.output_text.logprobs"], "top_logprobs": 2},
]


async def respond(client, **more):
    response = await client.post(URL, json={"model": "m", "input": "What is Trio?"} | more)
    assert response.status_code == 200, response.text
    return response.json()


async def stream(client, **more):
    body = {"model": "m", "input": "What is Trio?", "stream": True} | more
    async with client.stream("POST", URL, json=body) as response:
        return named_events_in((await response.aread()).decode())


async def test_a_response_has_the_text_of_a_chat(autojump_clock):
    async with connected() as client:
        chat = (await client.chat()).json()
        body = await respond(client)
    [message] = body["output"]
    [part] = message["content"]
    assert (body["object"], body["status"], message["type"]) == ("response", "completed", "message")
    assert part["text"] == chat["choices"][0]["message"]["content"]
    assert body["usage"]["input_tokens"] == chat["usage"]["prompt_tokens"]
    assert body["usage"]["total_tokens"] == chat["usage"]["total_tokens"]
    assert body["id"].startswith("resp_")


def without_identity(body):
    """Return a response without what differs between two calls: ids and times."""
    text = json.dumps(body)
    for item in body["output"]:
        text = text.replace(item["id"], "id").replace(str(item.get("call_id")), "call")
    return json.loads(text) | {"id": None, "created_at": None, "completed_at": None}


@pytest.mark.parametrize("more", ALTERNATIVES)
async def test_a_stream_ends_with_the_whole_response(autojump_clock, more):
    async with connected() as client:
        whole = await respond(client, **more)
        events = await stream(client, **more)
    assert [data["sequence_number"] for _, data in events] == list(range(len(events)))
    names = [name for name, _ in events]
    assert names[:3] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
    ]
    assert names[-1] == f"response.{whole['status']}"
    last = events[-1][1]["response"]
    assert without_identity(last) == without_identity(whole)
    done = [data["item"] for name, data in events if name == "response.output_item.done"]
    assert done == last["output"]


async def test_the_deltas_of_a_stream_join_to_the_text(autojump_clock):
    async with connected() as client:
        events = await stream(client, reasoning={"effort": "low", "summary": "auto"})
    for kind in ("output_text", "reasoning_summary_text"):
        deltas = [data["delta"] for name, data in events if name == f"response.{kind}.delta"]
        [whole] = [data["text"] for name, data in events if name == f"response.{kind}.done"]
        assert len(deltas) > 1
        assert "".join(deltas) == whole


async def test_a_function_is_called_and_its_output_answered(autojump_clock):
    async with connected() as client:
        body = await respond(client, input=TOLD, tools=[TOOL])
        [call] = body["output"]
        output = {"type": "function_call_output", "call_id": call["call_id"], "output": "9 C"}
        items = [{"role": "user", "content": TOLD}, call, output]
        answer = await respond(client, input=items, tools=[TOOL])
    assert (call["type"], call["name"]) == ("function_call", "get_weather")
    assert json.loads(call["arguments"]) == {"city": "Oslo"}
    assert [item["type"] for item in answer["output"]] == ["message"]


@pytest.mark.parametrize(
    ("choice", "kinds"),
    [
        ("none", ["message"]),
        ("required", ["function_call"]),
        ({"type": "function", "name": "get_weather"}, ["function_call"]),
        (
            {
                "type": "allowed_tools",
                "mode": "required",
                "tools": [{"type": "function", "name": "get_weather"}],
            },
            ["function_call"],
        ),
    ],
)
async def test_the_choice_of_tools_is_obeyed(autojump_clock, choice, kinds):
    async with connected() as client:
        body = await respond(client, tools=[TOOL], tool_choice=choice)
    assert [item["type"] for item in body["output"]] == kinds


async def test_a_schema_gets_json_that_fits(autojump_clock):
    schema = {"type": "object", "properties": {"score": {"type": "integer", "maximum": 5}}}
    form = {"type": "json_schema", "name": "x", "schema": schema}
    async with connected() as client:
        body = await respond(client, text={"format": form})
    assert json.loads(body["output"][0]["content"][0]["text"])["score"] <= 5
    assert body["text"] == {"format": form}


async def test_a_response_that_reaches_its_limit_is_incomplete(autojump_clock):
    async with connected() as client:
        body = await respond(client, max_output_tokens=16)
    assert (body["status"], body["completed_at"]) == ("incomplete", None)
    assert body["incomplete_details"] == {"reason": "max_output_tokens"}
    assert body["output"][0]["status"] == "incomplete"
    assert body["usage"]["output_tokens"] == 16


@pytest.mark.parametrize(
    ("more", "code", "param"),
    [
        ({"max_output_tokens": 15}, "integer_below_min_value", "max_output_tokens"),
        ({"max_tokens": 100}, "unknown_parameter", "max_tokens"),
        ({"n": 2}, "unknown_parameter", "n"),
        ({"previous_response_id": "resp_1"}, "previous_response_not_found", "previous_response_id"),
        ({"input": 5}, "invalid_type", "input"),
        ({"input": None}, "missing_required_parameter", "input"),
        ({"input": [{"type": "picture"}]}, "invalid_value", "input[0].type"),
    ],
)
async def test_what_is_not_in_order_is_refused(autojump_clock, more, code, param):
    async with connected() as client:
        response = await client.post(URL, json={"model": "m", "input": "?"} | more)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (400, code, param)


async def test_a_failure_in_the_middle_is_an_event_of_the_api(autojump_clock):
    async with connected() as client:
        body = {"model": "m", "input": "What is Trio?", "stream": True}
        headers = {"x-callsheet-fault": "error_event"}
        async with client.stream("POST", URL, json=body, headers=headers) as response:
            events = named_events_in((await response.aread()).decode())
    assert events[-1][0] == "error"
    assert events[-1][1]["error"]["code"] == "server_error"


async def test_a_batch_may_have_responses(autojump_clock):
    async with connected() as client:
        live = await respond(client)
        body = {"model": "m", "input": "What is Trio?"}
        lines = [{"custom_id": "r-1", "method": "POST", "url": URL, "body": body}]
        batch = (await create(client, lines, endpoint=URL)).json()
        batch = await after(client, 1000, batch)
        [line] = await content(client, batch["output_file_id"])
    assert line["response"]["body"]["output"][0]["content"] == live["output"][0]["content"]
