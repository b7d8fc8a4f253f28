"""Google's own client works with the built-in provider: it plays what that client expects."""

import pytest
from provider_process import provider_process

pytestmark = pytest.mark.sockets

MODEL = "gemini-3.1-flash-lite"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


@pytest.fixture(scope="module")
def genai():
    return pytest.importorskip("google.genai")


@pytest.fixture(scope="module")
def types(genai):
    return pytest.importorskip("google.genai.types")


@pytest.fixture(scope="module")
def client(genai, types):
    with provider_process("--latency", "0-0") as url:
        options = types.HttpOptions(base_url=url.removesuffix("/v1"))
        with genai.Client(api_key="any", http_options=options) as client:
            yield client


def generate(client, contents="Hi", **config):
    return client.models.generate_content(model=MODEL, contents=contents, config=config)


def test_content(client):
    answer = generate(client)
    assert answer.text
    assert answer.usage_metadata.total_token_count > answer.usage_metadata.prompt_token_count
    assert client.models.count_tokens(model=MODEL, contents="Hi").total_tokens > 0
    chat = client.chats.create(model=MODEL)
    chat.send_message("Hi")
    assert chat.send_message("And then?").text


def test_streamed_content(client):
    chunks = list(client.models.generate_content_stream(model=MODEL, contents="Hi"))
    whole = generate(client)
    assert "".join(chunk.text or "" for chunk in chunks) == whole.text
    assert chunks[-1].usage_metadata == whole.usage_metadata


def test_every_setting_of_a_request(client):
    answer = generate(
        client,
        system_instruction="Be brief.",
        temperature=0.2,
        top_p=0.9,
        top_k=4,
        candidate_count=2,
        max_output_tokens=90,
        stop_sequences=["###"],
        seed=1,
        presence_penalty=0.1,
        response_logprobs=True,
        logprobs=2,
        thinking_config={"thinking_budget": 64, "include_thoughts": True},
    )
    assert len(answer.candidates) == 2
    assert answer.usage_metadata.thoughts_token_count == 128
    assert answer.candidates[0].content.parts[0].thought
    assert answer.candidates[0].logprobs_result.chosen_candidates


@pytest.mark.parametrize("named", ["parameters", "parameters_json_schema"])
def test_tools(client, types, named):
    schema = SCHEMA
    if named == "parameters":
        city = types.Schema(type="STRING")
        schema = types.Schema(type="OBJECT", properties={"city": city}, required=["city"])
    declaration = types.FunctionDeclaration(name="get_weather", **{named: schema})
    answer = generate(
        client,
        tools=[types.Tool(function_declarations=[declaration])],
        tool_config={"function_calling_config": {"mode": "ANY"}},
    )
    (call,) = answer.function_calls
    assert (call.name, list(call.args)) == ("get_weather", ["city"])


def test_parsed_content(client):
    pydantic = pytest.importorskip("pydantic")
    person = pydantic.create_model("Person", name=(str, ...), age=(int, ...))
    answer = generate(client, response_mime_type="application/json", response_schema=person)
    assert isinstance(answer.parsed, person)


def test_refusals_are_the_clients_errors(client, genai):
    with pytest.raises(genai.errors.ClientError) as caught:
        generate(client, temperature=9)
    assert (caught.value.code, caught.value.status) == (400, "INVALID_ARGUMENT")
