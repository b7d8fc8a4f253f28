"""OpenAI's own client works with the built-in provider: it plays what that client expects."""

import json
import time

import pytest
from provider_process import provider_process

pytestmark = pytest.mark.sockets

MODEL = "gpt-5.4-nano"
CHAT = [{"role": "user", "content": "Name a colour."}]
PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "unit": {"type": "string", "enum": ["c", "f"]}},
    "required": ["city", "unit"],
    "additionalProperties": False,
}
FUNCTION = {"name": "get_weather", "description": "The weather.", "parameters": PARAMETERS}
TOOLS = [{"type": "function", "function": FUNCTION | {"strict": True}}]
FLAT_TOOLS = [{"type": "function", **FUNCTION, "strict": True}]


@pytest.fixture(scope="module")
def openai():
    return pytest.importorskip("openai")


@pytest.fixture(scope="module")
def client(openai):
    with (
        provider_process("--latency", "0-0", "--batch-time", "0.1-0.2") as url,
        openai.OpenAI(base_url=url, api_key="any", max_retries=0) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def person():
    pydantic = pytest.importorskip("pydantic")
    return pydantic.create_model("Person", name=(str, ...), age=(int, ...), tags=(list[str], []))


def arguments_of(call):
    arguments = json.loads(call.arguments)
    assert set(arguments) == {"city", "unit"}
    assert arguments["unit"] in ("c", "f")
    return call


# ------------------------------------------------------------------ chats


def test_chats(client):
    answer = client.chat.completions.create(model=MODEL, messages=CHAT, n=2)
    assert [choice.message.role for choice in answer.choices] == ["assistant"] * 2
    assert all(choice.message.content for choice in answer.choices)
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_streamed_chats(client):
    options = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = list(client.chat.completions.create(model=MODEL, messages=CHAT, **options))
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    whole = client.chat.completions.create(model=MODEL, messages=CHAT)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage
    with client.chat.completions.stream(model=MODEL, messages=CHAT) as stream:
        assert {event.type for event in stream} == {"chunk", "content.delta", "content.done"}
        assert stream.get_final_completion().choices[0].message.content == text


def test_every_parameter_of_a_chat(client):
    answer = client.chat.completions.create(
        model="gpt-4o-mini",
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": "No jokes.", "name": "us"},
            {"role": "user", "content": [{"type": "text", "text": "Name a colour."}]},
        ],
        temperature=0.5,
        top_p=0.9,
        presence_penalty=0.1,
        frequency_penalty=0.1,
        logit_bias={"5": 1},
        stop=["###"],
        seed=3,
        user="us",
        store=False,
        metadata={"a": "b"},
        parallel_tool_calls=True,
        tools=TOOLS,
        tool_choice="none",
        service_tier="default",
        max_completion_tokens=9,
        logprobs=True,
        top_logprobs=2,
        response_format={"type": "text"},
    )
    (choice,) = answer.choices
    assert (choice.finish_reason, answer.usage.completion_tokens) == ("length", 9)
    assert "".join(token.token for token in choice.logprobs.content) == choice.message.content
    assert {len(token.top_logprobs) for token in choice.logprobs.content} == {2}


def test_tools_and_their_results(client):
    create = client.chat.completions.create
    asked = create(model=MODEL, messages=CHAT, tools=TOOLS, tool_choice="required").choices[0]
    (call,) = asked.message.tool_calls
    arguments_of(call.function)
    assert asked.finish_reason == "tool_calls"
    result = {"role": "tool", "tool_call_id": call.id, "content": "20 C"}
    messages = [*CHAT, asked.message.model_dump(exclude_none=True), result]
    assert create(model=MODEL, messages=messages, tools=TOOLS).choices[0].message.content


def test_streamed_tools(client):
    choice = {"type": "function", "function": {"name": "get_weather"}}
    with client.chat.completions.stream(
        model=MODEL, messages=CHAT, tools=TOOLS, tool_choice=choice
    ) as stream:
        kinds = {event.type for event in stream}
        (call,) = stream.get_final_completion().choices[0].message.tool_calls
    assert "tool_calls.function.arguments.done" in kinds
    arguments_of(call.function)


def test_parsed_chats(client, openai, person):
    completions = client.chat.completions
    answer = completions.parse(model=MODEL, messages=CHAT, response_format=person)
    assert isinstance(answer.choices[0].message.parsed, person)
    tool = openai.pydantic_function_tool(person)
    answer = completions.parse(model=MODEL, messages=CHAT, tools=[tool], tool_choice="required")
    (call,) = answer.choices[0].message.tool_calls
    assert isinstance(call.function.parsed_arguments, person)
    with completions.stream(model=MODEL, messages=CHAT, response_format=person) as stream:
        assert isinstance(stream.get_final_completion().choices[0].message.parsed, person)


@pytest.mark.parametrize(
    ("member", "code"),
    [({"temperature": 9}, "decimal_above_max_value"), ({"messages": []}, "empty_array")],
)
def test_refusals_are_the_clients_errors(client, openai, member, code):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**{"model": MODEL, "messages": CHAT, **member})
    assert (caught.value.code, caught.value.param) == (code, *member)


# ------------------------------------------------------------------ responses


def test_responses(client):
    answer = client.responses.create(model=MODEL, input="Name a colour.", instructions="Be brief.")
    assert (answer.status, answer.error, answer.output[-1].type) == ("completed", None, "message")
    assert answer.output_text
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens
    short = client.responses.create(
        model="gpt-4o-mini", input="Tell a story.", max_output_tokens=16
    )
    assert (short.status, short.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    counted = client.responses.input_tokens.count(model=MODEL, input="Name a colour.")
    assert counted.input_tokens > 0


def test_background_responses(client):
    answer = client.responses.create(model=MODEL, input="Name a colour.", background=True)
    assert (answer.status, answer.usage, answer.output) == ("queued", None, [])
    done = client.responses.retrieve(answer.id)
    assert (done.id, done.status, done.background) == (answer.id, "completed", True)
    assert done.output_text
    assert client.responses.cancel(answer.id).status == "completed"  # too late


def test_streamed_responses(client):
    kinds = [event.type for event in client.responses.create(model=MODEL, input="Hi", stream=True)]
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")
    with client.responses.stream(model=MODEL, input="Hi") as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        assert "".join(deltas) == stream.get_final_response().output_text


def test_tools_of_responses_and_their_results(client):
    create = client.responses.create
    asked = create(model=MODEL, input="Hi", tools=FLAT_TOOLS, tool_choice="required")
    call = arguments_of(next(item for item in asked.output if item.type == "function_call"))
    earlier = [item.model_dump(exclude_none=True) for item in asked.output]
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "20 C"}
    items = [{"role": "user", "content": "Hi"}, *earlier, result]
    assert create(model=MODEL, input=items, tools=FLAT_TOOLS).output_text
    choice = {"type": "function", "name": "get_weather"}
    with client.responses.stream(
        model=MODEL, input="Hi", tools=FLAT_TOOLS, tool_choice=choice
    ) as stream:
        kinds = {event.type for event in stream}
        arguments_of(stream.get_final_response().output[-1])
    assert "response.function_call_arguments.done" in kinds


def test_parsed_responses(client, openai, person):
    assert isinstance(
        client.responses.parse(model=MODEL, input="Hi", text_format=person).output_parsed, person
    )
    tool = openai.pydantic_function_tool(person)
    answer = client.responses.parse(model=MODEL, input="Hi", tools=[tool], tool_choice="required")
    assert isinstance(answer.output[-1].parsed_arguments, person)
    with client.responses.stream(model=MODEL, input="Hi", text_format=person) as stream:
        assert isinstance(stream.get_final_response().output_parsed, person)


# ------------------------------------------------------------------ the other endpoints


def test_completions_and_embeddings(client):
    text = client.completions.create(model="davinci-002", prompt=["a", "b"], n=2, logprobs=1)
    assert [choice.index for choice in text.choices] == [0, 1, 2, 3]
    stream = client.completions.create(model="davinci-002", prompt="a", stream=True)
    assert "".join(choice.text for chunk in stream for choice in chunk.choices)
    vectors = client.embeddings.create(model="text-embedding-3-small", input=["a"], dimensions=8)
    assert [len(vector.embedding) for vector in vectors.data] == [8]
    assert MODEL in [model.id for model in client.models.list()]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"model": MODEL, "messages": CHAT}),
        ("/v1/responses", {"model": MODEL, "input": "Hi"}),
        ("/v1/embeddings", {"model": "text-embedding-3-small", "input": "Hi"}),
    ],
)
def test_files_and_batches(client, path, body):
    lines = [{"custom_id": f"{n}", "method": "POST", "url": path, "body": body} for n in range(3)]
    text = "\n".join(map(json.dumps, lines))
    file = client.files.create(file=("rows.jsonl", text.encode()), purpose="batch")
    assert client.files.content(file.id).text == text
    batch = client.batches.create(
        input_file_id=file.id, endpoint=path, completion_window="24h", metadata={"run": "1"}
    )
    deadline = time.monotonic() + 30
    while batch.status != "completed" and time.monotonic() < deadline:
        time.sleep(0.05)
        batch = client.batches.retrieve(batch.id)
    assert batch.request_counts.completed == 3
    results = map(json.loads, client.files.content(batch.output_file_id).text.splitlines())
    assert {(result["custom_id"], result["response"]["status_code"]) for result in results} == {
        (f"{number}", 200) for number in range(3)
    }
    assert batch.id in [one.id for one in client.batches.list()]
    assert client.files.delete(file.id).deleted


def test_a_batch_that_is_cancelled(client):
    line = {"custom_id": "a", "method": "POST", "url": "/v1/embeddings", "body": {"model": "m"}}
    file = client.files.create(file=("rows.jsonl", json.dumps(line).encode()), purpose="batch")
    batch = client.batches.create(
        input_file_id=file.id, endpoint="/v1/embeddings", completion_window="24h"
    )
    assert client.batches.cancel(batch.id).status == "cancelling"
