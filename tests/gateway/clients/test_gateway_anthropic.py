"""Anthropic's own client, unchanged, through the gateway: with both ways to send the key."""

import pytest
from late_imports import import_when_used
from served import MESSAGES_MODEL, UNKNOWN_MODEL, served

pytestmark = [pytest.mark.sockets, pytest.mark.slow]

CHAT = [{"role": "user", "content": "Name a colour."}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [{"name": "get_weather", "description": "The weather.", "input_schema": SCHEMA}]
CALL = {"model": MESSAGES_MODEL, "max_tokens": 300, "messages": CHAT}
OLD, NEW = "2023-06-01", "2026-10-21"
SLOW = ("--latency", "20-20", "--first-piece", "0.02")

anthropic = import_when_used("anthropic")
pydantic = pytest.importorskip("pydantic")


class Person(pydantic.BaseModel):
    name: str
    age: int


@pytest.fixture
def client(gateway):
    with anthropic.Anthropic(base_url=gateway.root, api_key=gateway.key, max_retries=0) as client:
        yield client


# ------------------------------------------------------------------ answers


def test_messages(client):
    answer = client.messages.create(**CALL, system="Be brief.")
    assert (answer.type, answer.role, answer.stop_reason) == ("message", "assistant", "end_turn")
    assert answer.model == MESSAGES_MODEL
    assert answer.usage.input_tokens > 0
    assert client.messages.create(**CALL | {"max_tokens": 3}).stop_reason == "max_tokens"


def test_streams_have_every_event(client):
    kinds = [event.type for event in client.messages.create(**CALL, stream=True)]
    assert (kinds[0], kinds[-1]) == ("message_start", "message_stop")
    assert {"content_block_start", "content_block_delta", "content_block_stop"} <= {*kinds}
    with client.messages.stream(**CALL) as stream:
        text = "".join(stream.text_stream)
        answer = stream.get_final_message()
    assert (answer.content[0].text, answer.stop_reason) == (text, "end_turn")
    assert answer.usage.output_tokens == client.messages.create(**CALL).usage.output_tokens


def test_tools_and_their_results(client):
    answer = client.messages.create(**CALL, tools=TOOLS, tool_choice={"type": "any"})
    call = answer.content[-1]
    assert (answer.stop_reason, call.type, list(call.input)) == ("tool_use", "tool_use", ["city"])
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "20 C"}
    turns = [
        {"role": "assistant", "content": answer.content},
        {"role": "user", "content": [result]},
    ]
    messages = CALL | {"messages": [*CHAT, *turns]}
    assert client.messages.create(**messages, tools=TOOLS).stop_reason == "end_turn"
    choice = {"type": "tool", "name": "get_weather"}
    with client.messages.stream(**CALL, tools=TOOLS, tool_choice=choice) as stream:
        assert "input_json" in {event.type for event in stream}
        assert list(stream.get_final_message().content[-1].input) == ["city"]


def test_thinking_and_its_signature(client):
    request = CALL | {"max_tokens": 3000, "thinking": {"type": "enabled", "budget_tokens": 1024}}
    thought, said = client.messages.create(**request).content
    with client.messages.stream(**request) as stream:
        kinds = {event.type for event in stream}
        streamed = stream.get_final_message().content
    assert (streamed[0].thinking, streamed[1].text) == (thought.thinking, said.text)
    assert thought.signature
    assert streamed[0].signature
    assert {"thinking", "signature"} <= kinds


def test_parsed_messages(client):
    answer = client.messages.parse(**CALL, output_format=Person)
    assert isinstance(answer.parsed_output, Person)


def test_a_cached_prompt(client):
    text = {"type": "text", "text": "word " * 6000, "cache_control": {"type": "ephemeral"}}
    written = client.messages.create(**CALL, system=[text]).usage
    read = client.messages.create(**CALL, system=[text]).usage
    assert written.cache_creation_input_tokens == read.cache_read_input_tokens > 0


def test_counted_tokens(client):
    count = client.messages.count_tokens(model=MESSAGES_MODEL, messages=CHAT, tools=TOOLS)
    assert count.input_tokens > 0


def test_models(client):
    assert client.models.retrieve(MESSAGES_MODEL).id == MESSAGES_MODEL
    client.models.list()


# ------------------------------------------------------------------ keys and versions


def bearer(key):
    return {"Authorization": f"Bearer {key}", "X-Api-Key": anthropic.omit}


def api_key(key):
    return {"X-Api-Key": key, "Authorization": anthropic.omit}


@pytest.mark.parametrize("headers_of", [bearer, api_key])
@pytest.mark.parametrize("version", [OLD, NEW])
def test_both_ways_to_send_the_key_and_both_versions(client, gateway, headers_of, version):
    headers = {**headers_of(gateway.key), "anthropic-version": version}
    assert client.messages.create(**CALL, extra_headers=headers).content
    wrong = {**headers_of("cs-wrong"), "anthropic-version": version}
    with pytest.raises(anthropic.AuthenticationError):
        client.messages.create(**CALL, extra_headers=wrong)


def test_the_version_of_the_client_decides_what_the_provider_allows(client):
    hot = CALL | {"extra_body": {"temperature": 0.5}}
    assert client.messages.create(**hot, extra_headers={"anthropic-version": OLD}).content
    with pytest.raises(anthropic.BadRequestError) as caught:
        client.messages.create(**hot, extra_headers={"anthropic-version": NEW})
    assert "temperature" in caught.value.message


# ------------------------------------------------------------------ errors and headers


def test_a_wrong_key_is_refused_at_once(gateway, client):
    before = gateway.stats()["requests"]
    with pytest.raises(anthropic.AuthenticationError) as caught:
        client.with_options(api_key="cs-wrong", max_retries=2).messages.create(**CALL)
    assert caught.value.body["error"]["type"] == "authentication_error"
    assert caught.value.request_id == caught.value.body["request_id"]
    assert "cs-wrong" not in str(caught.value)
    assert gateway.stats()["requests"] == before


def test_an_unknown_model_is_not_found(client):
    with pytest.raises(anthropic.NotFoundError) as caught:
        client.messages.create(**CALL | {"model": UNKNOWN_MODEL})
    assert caught.value.body["error"]["type"] == "not_found_error"
    assert UNKNOWN_MODEL in caught.value.message


@pytest.mark.parametrize(
    ("member", "named"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": "Hi"}, "messages"),
        ({"extra_body": {"unknown": 1}}, "unknown"),
    ],
)
def test_a_body_that_is_refused_names_the_member(client, member, named):
    with pytest.raises(anthropic.BadRequestError) as caught:
        client.messages.create(**CALL | member)
    assert caught.value.body["error"]["type"] == "invalid_request_error"
    assert named in caught.value.message


def test_batches_are_not_served(client):
    with pytest.raises(anthropic.NotFoundError) as caught:
        client.messages.batches.create(requests=[{"custom_id": "a", "params": CALL}])
    assert caught.value.body["error"]["type"] == "not_found_error"


def test_the_headers_of_an_answer(client):
    raw = client.messages.with_raw_response.create(**CALL)
    assert raw.headers["request-id"] == raw.parse()._request_id
    assert float(raw.headers["x-callsheet-cost-usd"]) > 0


def test_an_error_within_a_stream_is_raised(tmp_path):
    with (
        served(tmp_path, "--faults", "error_event=1") as gateway,
        anthropic.Anthropic(base_url=gateway.root, api_key=gateway.key, max_retries=0) as client,
        pytest.raises(anthropic.APIError),
    ):
        list(client.messages.create(**CALL, stream=True))


def test_a_stream_that_is_left_ends_the_work(tmp_path):
    with (
        served(tmp_path, *SLOW) as gateway,
        anthropic.Anthropic(base_url=gateway.root, api_key=gateway.key, max_retries=0) as client,
    ):
        with client.messages.stream(**CALL):
            gateway.wait_for(lambda stats: stats["in_flight"] == 1, within_s=5)
        stats = gateway.wait_for(lambda stats: stats["in_flight"] == 0, within_s=1)
        assert stats["cancelled"] == 1
