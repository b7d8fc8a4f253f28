"""The clients of OpenAI and Anthropic with models of other vendors: their calls are translated."""

import json

import pytest
from late_imports import import_when_used
from served import CHAT_MODEL, GEMINI_MODEL, MESSAGES_MODEL

pytestmark = [pytest.mark.sockets, pytest.mark.slow]

CHAT = [{"role": "user", "content": "Name a colour."}]
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
FUNCTION = {"name": "get_weather", "description": "The weather.", "parameters": CITY}
TOOLS = [{"type": "function", "function": FUNCTION}]
FLAT_TOOLS = [{"type": "function", **FUNCTION}]
ANTHROPIC_TOOLS = [{"name": "get_weather", "description": "Weather.", "input_schema": CITY}]

openai = import_when_used("openai")
anthropic = import_when_used("anthropic")
pydantic = pytest.importorskip("pydantic")


class Person(pydantic.BaseModel):
    name: str
    age: int


@pytest.fixture
def client(gateway):
    with openai.OpenAI(base_url=gateway.url, api_key=gateway.key, max_retries=0) as client:
        yield client


@pytest.fixture
def claude(gateway):
    with anthropic.Anthropic(base_url=gateway.root, api_key=gateway.key, max_retries=0) as client:
        yield client


# ------------------------------------------------------------------ chats of OpenAI

OTHERS = pytest.mark.parametrize("model", [MESSAGES_MODEL, GEMINI_MODEL])


@OTHERS
def test_chats(client, model):
    messages = [{"role": "system", "content": "Be brief."}, *CHAT]
    call = {"model": model, "messages": messages, "max_tokens": 300}
    whole = client.chat.completions.create(**call)
    said = whole.choices[0].message.content
    assert (whole.object, whole.choices[0].finish_reason) == ("chat.completion", "stop")
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens > 0
    options = {"stream": True, "stream_options": {"include_usage": True}}
    *chunks, last = client.chat.completions.create(**call, **options)
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert text == said
    assert (last.choices, last.usage.total_tokens) == ([], whole.usage.total_tokens)
    cut = client.chat.completions.create(**call | {"max_tokens": 3})
    assert cut.choices[0].finish_reason == "length"


@OTHERS
def test_tools_of_chats(client, model):
    call = {"model": model, "messages": CHAT, "tools": TOOLS, "max_tokens": 300}
    asked = client.chat.completions.create(**call, tool_choice="required").choices[0]
    (tool,) = asked.message.tool_calls
    assert asked.finish_reason == "tool_calls"
    assert list(json.loads(tool.function.arguments)) == ["city"]
    result = {"role": "tool", "tool_call_id": tool.id, "content": "20 C"}
    messages = [*CHAT, asked.message.model_dump(exclude_none=True), result]
    assert (
        client.chat.completions.create(**call | {"messages": messages}).choices[0].message.content
    )
    with client.chat.completions.stream(**call, tool_choice="required") as stream:
        kinds = {event.type for event in stream}
        (streamed,) = stream.get_final_completion().choices[0].message.tool_calls
    assert "tool_calls.function.arguments.done" in kinds
    assert list(json.loads(streamed.function.arguments)) == ["city"]


@OTHERS
def test_typed_results_of_chats(client, model):
    call = {"model": model, "messages": CHAT, "response_format": Person, "max_tokens": 300}
    answer = client.chat.completions.parse(**call)
    assert isinstance(answer.choices[0].message.parsed, Person)
    with client.chat.completions.stream(**call) as stream:
        assert isinstance(stream.get_final_completion().choices[0].message.parsed, Person)


@OTHERS
def test_responses(client, model):
    answer = client.responses.create(model=model, input="Hi", instructions="Be brief.")
    assert (answer.status, answer.output[-1].type) == ("completed", "message")
    with client.responses.stream(model=model, input="Hi", instructions="Be brief.") as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        assert "".join(deltas) == stream.get_final_response().output_text == answer.output_text
    call = {"model": model, "input": "Hi", "tools": FLAT_TOOLS}
    asked = client.responses.create(**call, tool_choice="required")
    tool = next(item for item in asked.output if item.type == "function_call")
    assert list(json.loads(tool.arguments)) == ["city"]


@OTHERS
@pytest.mark.parametrize(
    ("member", "param"),
    [({"logit_bias": {"5": 1}}, "logit_bias"), ({"messages": []}, "messages")],
)
def test_what_cannot_be_translated_is_refused_by_its_name(client, model, member, param):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**{"model": model, "messages": CHAT, **member})
    assert param in caught.value.message


def test_embeddings_of_a_vendor_that_has_none(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model=MESSAGES_MODEL, input="a")
    assert "embed" in caught.value.message


# ------------------------------------------------------------------ messages of Anthropic


@pytest.mark.parametrize("model", [CHAT_MODEL, GEMINI_MODEL])
class TestMessages:
    def test_messages(self, claude, model):
        call = {"model": model, "max_tokens": 300, "messages": CHAT, "system": "Be brief."}
        whole = claude.messages.create(**call)
        assert (whole.type, whole.role, whole.stop_reason) == ("message", "assistant", "end_turn")
        assert whole.usage.input_tokens > 0
        kinds = [event.type for event in claude.messages.create(**call, stream=True)]
        assert (kinds[0], kinds[-1]) == ("message_start", "message_stop")
        with claude.messages.stream(**call) as stream:
            assert "".join(stream.text_stream) == whole.content[0].text
            final = stream.get_final_message()
        assert final.usage.output_tokens == whole.usage.output_tokens
        assert claude.messages.create(**call | {"max_tokens": 16}).stop_reason == "max_tokens"

    def test_tools(self, claude, model):
        call = {"model": model, "max_tokens": 300, "messages": CHAT, "tools": ANTHROPIC_TOOLS}
        asked = claude.messages.create(**call, tool_choice={"type": "any"})
        tool = asked.content[-1]
        assert (asked.stop_reason, tool.type, list(tool.input)) == (
            "tool_use",
            "tool_use",
            ["city"],
        )
        result = {"type": "tool_result", "tool_use_id": tool.id, "content": "20 C"}
        turns = [
            {"role": "assistant", "content": asked.content},
            {"role": "user", "content": [result]},
        ]
        answer = claude.messages.create(**call | {"messages": [*CHAT, *turns]})
        assert answer.stop_reason == "end_turn"
        with claude.messages.stream(**call, tool_choice={"type": "any"}) as stream:
            assert "input_json" in {event.type for event in stream}
            assert list(stream.get_final_message().content[-1].input) == ["city"]

    def test_typed_results(self, claude, model):
        call = {"model": model, "max_tokens": 300, "messages": CHAT}
        answer = claude.messages.parse(**call, output_format=Person)
        assert isinstance(answer.parsed_output, Person)

    def test_counted_tokens_are_an_estimate(self, claude, model):
        raw = claude.messages.with_raw_response.count_tokens(model=model, messages=CHAT)
        assert raw.parse().input_tokens > 0
        assert raw.headers["x-callsheet-estimated"] == "true"
