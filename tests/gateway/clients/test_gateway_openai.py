"""OpenAI's own client, unchanged, through the gateway."""

import asyncio
import json
import struct
from base64 import b64decode

import pytest
import trio
from late_imports import import_when_used
from served import CHAT_MODEL, TEXT_MODEL, UNKNOWN_MODEL, VECTOR_MODEL, served

pytestmark = [pytest.mark.sockets, pytest.mark.slow]

CHAT = [{"role": "user", "content": "Name a colour."}]
CALL = {"model": CHAT_MODEL, "messages": CHAT}
STORY = {"model": CHAT_MODEL, "messages": [{"role": "user", "content": "Tell a long story."}]}
SLOW = ("--latency", "20-20", "--first-piece", "0.02")
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
FUNCTION = {"name": "get_weather", "description": "The weather.", "parameters": CITY}
TOOLS = [{"type": "function", "function": FUNCTION | {"strict": True}}]
FLAT_TOOLS = [{"type": "function", **FUNCTION, "strict": True}]

openai = import_when_used("openai")
pydantic = pytest.importorskip("pydantic")


class Person(pydantic.BaseModel):
    name: str
    age: int


@pytest.fixture
def client(gateway):
    with openai.OpenAI(base_url=gateway.url, api_key=gateway.key, max_retries=0) as client:
        yield client


# ------------------------------------------------------------------ answers


def test_tools_and_their_results(client):
    create = client.chat.completions.create
    asked = create(**CALL, tools=TOOLS, tool_choice="required").choices[0]
    (call,) = asked.message.tool_calls
    assert (asked.finish_reason, list(json.loads(call.function.arguments))) == (
        "tool_calls",
        ["city"],
    )
    result = {"role": "tool", "tool_call_id": call.id, "content": "20 C"}
    messages = [*CHAT, asked.message.model_dump(exclude_none=True), result]
    assert create(model=CHAT_MODEL, messages=messages, tools=TOOLS).choices[0].message.content


def test_streamed_tools(client):
    choice = {"type": "function", "function": {"name": "get_weather"}}
    with client.chat.completions.stream(**CALL, tools=TOOLS, tool_choice=choice) as stream:
        kinds = {event.type for event in stream}
        (call,) = stream.get_final_completion().choices[0].message.tool_calls
    assert "tool_calls.function.arguments.done" in kinds
    assert list(json.loads(call.function.arguments)) == ["city"]


def test_the_usage_of_a_stream_comes_if_the_caller_asks_for_it(client):
    create = client.chat.completions.create
    whole = create(**CALL)
    *chunks, last = create(**CALL, stream=True, stream_options={"include_usage": True})
    assert (last.choices, last.usage) == ([], whole.usage)
    assert {chunk.usage for chunk in chunks} == {None}
    assert all(chunk.choices and not chunk.usage for chunk in create(**CALL, stream=True))


def test_parsed_chats(client):
    completions = client.chat.completions
    answer = completions.parse(**CALL, response_format=Person)
    assert isinstance(answer.choices[0].message.parsed, Person)
    tool = openai.pydantic_function_tool(Person)
    answer = completions.parse(**CALL, tools=[tool], tool_choice="required")
    (call,) = answer.choices[0].message.tool_calls
    assert isinstance(call.function.parsed_arguments, Person)
    with completions.stream(**CALL, response_format=Person) as stream:
        assert isinstance(stream.get_final_completion().choices[0].message.parsed, Person)


def test_several_choices_and_members_that_the_gateway_does_not_read(client):
    answer = client.chat.completions.create(
        **CALL, n=2, seed=3, logprobs=True, top_logprobs=2, user="us", metadata={"a": "b"}
    )
    assert [choice.index for choice in answer.choices] == [0, 1]
    tokens = answer.choices[0].logprobs.content
    assert {len(token.top_logprobs) for token in tokens} == {2}


def test_completions(client):
    text = client.completions.create(model=TEXT_MODEL, prompt=["a", "b"], n=2, logprobs=1)
    assert [choice.index for choice in text.choices] == [0, 1, 2, 3]
    stream = client.completions.create(model=TEXT_MODEL, prompt="a", stream=True)
    assert "".join(choice.text for chunk in stream for choice in chunk.choices)


def test_embeddings_in_the_encoding_that_is_asked_for(client):
    create = client.embeddings.create
    call = {"model": VECTOR_MODEL, "input": ["a", "b"], "dimensions": 8}
    vectors = create(**call)  # the client asks for base64, and decodes it
    assert [len(vector.embedding) for vector in vectors.data] == [8, 8]
    floats = create(**call, encoding_format="float").data[0].embedding
    packed = create(**call, encoding_format="base64").data[0].embedding
    assert struct.unpack("<8f", b64decode(packed)) == pytest.approx(floats)
    assert vectors.data[0].embedding == pytest.approx(floats)


def test_responses(client):
    answer = client.responses.create(model=CHAT_MODEL, input="Hi", instructions="Be brief.")
    assert (answer.status, answer.output[-1].type) == ("completed", "message")
    with client.responses.stream(model=CHAT_MODEL, input="Hi") as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        assert "".join(deltas) == stream.get_final_response().output_text != ""
    assert isinstance(
        client.responses.parse(model=CHAT_MODEL, input="Hi", text_format=Person).output_parsed,
        Person,
    )


def test_tools_of_responses_and_their_results(client):
    create = client.responses.create
    asked = create(model=CHAT_MODEL, input="Hi", tools=FLAT_TOOLS, tool_choice="required")
    call = next(item for item in asked.output if item.type == "function_call")
    assert list(json.loads(call.arguments)) == ["city"]
    earlier = [item.model_dump(exclude_none=True) for item in asked.output]
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "20 C"}
    items = [{"role": "user", "content": "Hi"}, *earlier, result]
    assert create(model=CHAT_MODEL, input=items, tools=FLAT_TOOLS).output_text


def test_models(client):
    assert client.models.retrieve(CHAT_MODEL).id == CHAT_MODEL
    listed = {model.id for model in client.models.list()}
    assert {TEXT_MODEL, CHAT_MODEL, VECTOR_MODEL} <= listed  # of the file, and of the provider
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve(UNKNOWN_MODEL)


def test_a_hundred_streams_at_a_time_under_asyncio(gateway):
    async def ask(client, number):
        chat = [{"role": "user", "content": f"Name colour {number}."}]
        stream = await client.chat.completions.create(model=CHAT_MODEL, messages=chat, stream=True)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    async def ask_all():
        async with openai.AsyncOpenAI(base_url=gateway.url, api_key=gateway.key) as client:
            return await asyncio.gather(*(ask(client, number) for number in range(100)))

    assert len({*asyncio.run(ask_all())}) == 100


# ------------------------------------------------------------------ errors


def test_a_wrong_key_is_refused_at_once(gateway, client):
    before = gateway.stats()["requests"]
    with pytest.raises(openai.AuthenticationError) as caught:
        client.with_options(api_key="cs-wrong", max_retries=2).chat.completions.create(**CALL)
    assert caught.value.request_id
    assert "cs-wrong" not in str(caught.value)
    assert gateway.stats()["requests"] == before


def test_an_unknown_model_is_not_found(client):
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(**CALL | {"model": UNKNOWN_MODEL})
    assert caught.value.code == "model_not_found"
    assert UNKNOWN_MODEL in caught.value.message
    assert caught.value.request_id


@pytest.mark.parametrize(
    ("member", "param"),
    [
        ({"temperature": 9}, "temperature"),  # the provider refuses it
        ({"messages": []}, "messages"),
        ({"messages": "Hi"}, "messages"),
        ({"max_tokens": "many"}, "max_tokens"),
    ],
)
def test_a_body_that_is_refused_names_the_member(client, member, param):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**CALL | member)
    assert caught.value.param.partition("[")[0] == param
    assert caught.value.type == "invalid_request_error"
    assert caught.value.request_id


def test_files_and_batches_are_not_served(client):
    with pytest.raises(openai.NotFoundError) as caught:
        client.files.create(file=("rows.jsonl", b"{}"), purpose="batch")
    assert caught.value.message
    with pytest.raises(openai.NotFoundError):
        client.batches.create(
            input_file_id="file-1", endpoint="/v1/embeddings", completion_window="24h"
        )


def test_a_body_that_is_too_large_is_refused_in_words(tmp_path):
    large = [{"role": "user", "content": "x" * 3_000_000}]
    with (
        served(tmp_path, gateway="clients = { max_body_bytes = 1_000_000 }") as gateway,
        openai.OpenAI(base_url=gateway.url, api_key=gateway.key) as client,
    ):
        with pytest.raises(openai.APIStatusError) as caught:
            client.chat.completions.create(model=CHAT_MODEL, messages=large)
        assert caught.value.status_code == 413
        assert "1,000,000 bytes" in caught.value.message
        assert client.chat.completions.create(**CALL).choices


def test_an_error_within_a_stream_is_raised(tmp_path):
    with (
        served(tmp_path, "--faults", "error_event=1") as gateway,
        openai.OpenAI(base_url=gateway.url, api_key=gateway.key, max_retries=0) as client,
        pytest.raises(openai.APIError),
    ):
        list(client.chat.completions.create(**STORY, stream=True))


# ------------------------------------------------------------------ headers


def test_the_headers_of_an_answer(client):
    raw = client.chat.completions.with_raw_response.create(**CALL)
    answer = raw.parse()
    assert raw.headers["x-request-id"] == answer._request_id
    for name in ("x-callsheet-cost-usd", "x-callsheet-route", "x-callsheet-queue-seconds"):
        assert name in raw.headers, dict(raw.headers)
    assert float(raw.headers["x-callsheet-cost-usd"]) > 0
    assert raw.retries_taken == 0


def test_each_answer_has_an_id_of_its_own(client):
    ids = {client.chat.completions.create(**CALL)._request_id for _ in range(3)}
    assert len(ids) == 3
    assert all(ids)


# ------------------------------------------------------------------ going away and coming back


def test_a_stream_that_is_left_ends_the_work(tmp_path):
    with (
        served(tmp_path, *SLOW) as gateway,
        openai.OpenAI(base_url=gateway.url, api_key=gateway.key, max_retries=0) as client,
    ):
        with client.chat.completions.create(**STORY, stream=True) as stream:
            gateway.wait_for(lambda stats: stats["in_flight"] == 1, within_s=5)
            stream.close()
        stats = gateway.wait_for(lambda stats: stats["in_flight"] == 0, within_s=1)
        assert stats["cancelled"] == 1


def test_a_whole_call_that_is_cancelled_or_times_out_ends_the_work(tmp_path):
    async def go_away(gateway):
        async with openai.AsyncOpenAI(
            base_url=gateway.url, api_key=gateway.key, max_retries=0
        ) as client:
            with trio.move_on_after(0.5):
                await client.chat.completions.create(**STORY)

    with served(tmp_path, *SLOW) as gateway:
        trio.run(go_away, gateway)
        gateway.wait_for(lambda stats: stats["cancelled"] == 1, within_s=1)
        with (
            openai.OpenAI(base_url=gateway.url, api_key=gateway.key, max_retries=0) as client,
            pytest.raises(openai.APITimeoutError),
        ):
            client.chat.completions.create(**STORY, timeout=0.5)
        stats = gateway.wait_for(lambda stats: stats["cancelled"] == 2, within_s=1)
        assert stats["in_flight"] == 0


def test_a_call_waits_or_is_refused_with_the_true_time_and_comes_back(tmp_path):
    """At one request in two seconds; the second one of each pair has to wait."""
    with (
        served(tmp_path, gateway="patience_s = 1", endpoint="limits = { rpm = 30 }") as gateway,
        openai.OpenAI(base_url=gateway.url, api_key=gateway.key) as client,
    ):
        completions = client.chat.completions
        assert completions.with_raw_response.create(**CALL).retries_taken == 0
        with pytest.raises(openai.RateLimitError) as caught:
            client.with_options(max_retries=0).chat.completions.create(**CALL)
        assert 0 < float(caught.value.response.headers["retry-after"]) <= 3
        again = completions.with_raw_response.create(**CALL)  # sleeps as the answer says
        assert again.retries_taken == 1
        assert again.parse().choices[0].message.content
        assert list(completions.create(**CALL, stream=True))  # waits
        assert gateway.stats()["rejected"] == 0


def test_failures_of_the_provider_are_retried_behind_the_gateway(tmp_path):
    with (
        served(tmp_path, "--faults", "500=0.3") as gateway,
        openai.OpenAI(base_url=gateway.url, api_key=gateway.key, max_retries=0) as client,
    ):
        for number in range(10):
            chat = [{"role": "user", "content": f"Name colour {number}."}]
            client.chat.completions.create(model=CHAT_MODEL, messages=chat)
        assert gateway.stats()["by_status"]["500"] > 0
