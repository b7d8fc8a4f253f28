"""LangChain as its users have it: the variables of the environment name the gateway and its key."""

import asyncio

import anthropic
import openai
import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel

OPENAI, ANTHROPIC = "gpt-5.4-nano", "claude-haiku-4-5"
PROMPT = "Name a colour."


class Person(BaseModel):
    """A person."""

    name: str
    age: int


@tool
def get_weather(city: str) -> str:
    """Return the weather."""
    return f"20 C in {city}"


@pytest.fixture(params=["openai", "anthropic"])
def model(request):
    if request.param == "openai":
        return ChatOpenAI(model=OPENAI, max_retries=0, stream_usage=True)
    return ChatAnthropic(model=ANTHROPIC, max_tokens=300, max_retries=0)


def test_a_chat_whole_streamed_in_a_batch_and_from_asyncio(model):
    answer = model.invoke(PROMPT)
    assert answer.text
    assert answer.usage_metadata["total_tokens"] > 0
    pieces = list(model.stream(PROMPT))
    assert len(pieces) > 1
    assert "".join(piece.text for piece in pieces) == answer.text
    assert [each.text for each in model.batch([PROMPT, PROMPT])] == [answer.text] * 2
    assert asyncio.run(model.ainvoke(PROMPT)).text == answer.text


def test_streams_have_their_usage(model):
    total = None
    for piece in model.stream(PROMPT):
        total = piece if total is None else total + piece
    assert total.usage_metadata["output_tokens"] > 0


def test_tools_and_their_results(model):
    with_tools = model.bind_tools([get_weather], tool_choice="any")
    asked = with_tools.invoke(PROMPT)
    (call,) = asked.tool_calls
    assert (call["name"], list(call["args"])) == ("get_weather", ["city"])
    result = ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"])
    answer = model.bind_tools([get_weather]).invoke([HumanMessage(PROMPT), asked, result])
    assert isinstance(answer, AIMessage)
    assert answer.text


def test_streamed_tools(model):
    total = None
    for piece in model.bind_tools([get_weather], tool_choice="any").stream(PROMPT):
        total = piece if total is None else total + piece
    assert [call["name"] for call in total.tool_calls] == ["get_weather"]


def test_structured_output(model):
    assert isinstance(model.with_structured_output(Person).invoke(PROMPT), Person)


def test_structured_output_by_a_tool(model):
    method = {} if isinstance(model, ChatAnthropic) else {"method": "function_calling"}
    assert isinstance(model.with_structured_output(Person, **method).invoke(PROMPT), Person)


def test_the_responses_api():
    model = ChatOpenAI(model=OPENAI, use_responses_api=True, max_retries=0)
    answer = model.invoke(PROMPT)
    assert answer.text
    assert "".join(piece.text for piece in model.stream(PROMPT)) == answer.text


def test_headers_of_an_answer():
    model = ChatOpenAI(model=OPENAI, include_response_headers=True)
    headers = model.invoke(PROMPT).response_metadata["headers"]
    assert headers["x-request-id"]


def test_embeddings_of_texts():
    vectors = OpenAIEmbeddings(
        model="text-embedding-3-small",
        dimensions=8,
        check_embedding_ctx_length=False,  # or else it downloads the table of a tokenizer
    )
    assert [len(vector) for vector in vectors.embed_documents(["a", "b"])] == [8, 8]


def test_errors_of_a_wrong_key_and_of_an_unknown_model():
    with pytest.raises(openai.AuthenticationError):
        ChatOpenAI(model=OPENAI, api_key="cs-wrong").invoke(PROMPT)
    with pytest.raises(openai.NotFoundError):
        ChatOpenAI(model="no-such-model").invoke(PROMPT)
    with pytest.raises(anthropic.AuthenticationError):
        ChatAnthropic(model=ANTHROPIC, api_key="cs-wrong").invoke(PROMPT)
    with pytest.raises(anthropic.NotFoundError):
        ChatAnthropic(model="no-such-model").invoke(PROMPT)
