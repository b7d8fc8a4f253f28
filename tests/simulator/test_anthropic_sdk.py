"""Anthropic's own client works with the built-in provider: it plays what that client expects."""

import time

import pytest
from provider_process import provider_process

pytestmark = pytest.mark.sockets

MODEL = "claude-haiku-4-5"
CHAT = [{"role": "user", "content": "Name a colour."}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [{"name": "get_weather", "description": "The weather.", "input_schema": SCHEMA}]
USUAL = {"model": MODEL, "max_tokens": 300, "messages": CHAT}


@pytest.fixture(scope="module")
def anthropic():
    return pytest.importorskip("anthropic")


@pytest.fixture(scope="module")
def client(anthropic):
    with (
        provider_process("--latency", "0-0", "--batch-time", "0.1-0.2") as url,
        anthropic.Anthropic(
            base_url=url.removesuffix("/v1"), api_key="any", max_retries=0
        ) as client,
    ):
        yield client


def test_messages(client):
    answer = client.messages.create(**USUAL, system="Be brief.")
    assert [block.type for block in answer.content] == ["text"]
    assert (answer.role, answer.stop_reason) == ("assistant", "end_turn")
    assert answer.usage.input_tokens > 0
    assert client.messages.create(**USUAL | {"max_tokens": 3}).stop_reason == "max_tokens"
    assert client.messages.count_tokens(model=MODEL, messages=CHAT, tools=TOOLS).input_tokens > 0


def test_streamed_messages(client):
    kinds = [event.type for event in client.messages.create(**USUAL, stream=True)]
    assert (kinds[0], kinds[-1]) == ("message_start", "message_stop")
    with client.messages.stream(**USUAL) as stream:
        text = "".join(stream.text_stream)
        answer = stream.get_final_message()
    assert (answer.content[0].text, answer.stop_reason) == (text, "end_turn")
    assert answer.usage.output_tokens == client.messages.create(**USUAL).usage.output_tokens


def test_tools_and_their_results(client):
    answer = client.messages.create(**USUAL, tools=TOOLS, tool_choice={"type": "any"})
    call = answer.content[-1]
    assert (answer.stop_reason, call.type, list(call.input)) == ("tool_use", "tool_use", ["city"])
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "20 C"}
    turns = [
        {"role": "assistant", "content": answer.content},
        {"role": "user", "content": [result]},
    ]
    messages = USUAL | {"messages": [*CHAT, *turns]}
    assert client.messages.create(**messages, tools=TOOLS).stop_reason == "end_turn"
    choice = {"type": "tool", "name": "get_weather"}
    with client.messages.stream(**USUAL, tools=TOOLS, tool_choice=choice) as stream:
        assert "input_json" in {event.type for event in stream}
        assert list(stream.get_final_message().content[-1].input) == ["city"]


def test_thinking(client):
    request = USUAL | {"max_tokens": 3000, "thinking": {"type": "enabled", "budget_tokens": 1024}}
    answer = client.messages.create(**request)
    thought, said = answer.content
    with client.messages.stream(**request) as stream:
        kinds = {event.type for event in stream}
        streamed = stream.get_final_message().content
    assert (streamed[0].thinking, streamed[1].text) == (thought.thinking, said.text)
    assert {"thinking", "signature"} <= kinds


def test_parsed_messages(client):
    pydantic = pytest.importorskip("pydantic")
    person = pydantic.create_model("Person", name=(str, ...), age=(int, ...))
    assert isinstance(client.messages.parse(**USUAL, output_format=person).parsed_output, person)


def test_a_cached_prompt(client):
    text = {"type": "text", "text": "word " * 6000, "cache_control": {"type": "ephemeral"}}
    written = client.messages.create(**USUAL, system=[text]).usage
    read = client.messages.create(**USUAL, system=[text]).usage
    assert written.cache_creation_input_tokens == read.cache_read_input_tokens > 0


@pytest.mark.parametrize(
    "member", [{"max_tokens": 0}, {"messages": []}, {"extra_body": {"unknown": 1}}]
)
def test_refusals_are_the_clients_errors(client, anthropic, member):
    with pytest.raises(anthropic.BadRequestError) as caught:
        client.messages.create(**USUAL | member)
    assert caught.value.body["error"]["type"] == "invalid_request_error"


def test_batches(client):
    batches = client.messages.batches
    batch = batches.create(requests=[{"custom_id": f"{n}", "params": USUAL} for n in range(3)])
    deadline = time.monotonic() + 30
    while batch.processing_status != "ended" and time.monotonic() < deadline:
        time.sleep(0.05)
        batch = batches.retrieve(batch.id)
    assert batch.request_counts.succeeded == 3
    results = {one.custom_id: one.result for one in batches.results(batch.id)}
    assert {result.type for result in results.values()} == {"succeeded"}
    assert results["0"].message.content[0].text
    assert batch.id in [one.id for one in batches.list()]
    assert batches.delete(batch.id).type == "message_batch_deleted"
    other = batches.create(requests=[{"custom_id": "a", "params": USUAL}])
    assert batches.cancel(other.id).processing_status == "canceling"
