"""What each provider is sent for a declared class (issue 18, point 7)."""

from typing import Literal

import attrs
import pytest

from callsheet.actors import Request
from callsheet.actors.typed import OutputSchema
from callsheet.actors.vendors.anthropic import AnthropicMessages
from callsheet.actors.vendors.format import UnsupportedField
from callsheet.actors.vendors.gemini import GeminiContent
from callsheet.actors.vendors.openai_chat import OpenAIChat
from callsheet.actors.vendors.openai_responses import OpenAIResponses


@attrs.frozen
class Label:
    sentiment: Literal["positive", "negative"]


@attrs.frozen
class Counts:
    by_word: dict[str, int]


@attrs.frozen
class Tree:
    left: "Tree | None"


SCHEMA = {
    "type": "object",
    "properties": {"sentiment": {"type": "string", "enum": ["negative", "positive"]}},
    "required": ["sentiment"],
    "additionalProperties": False,
}


def asking_for(kind, **more):
    return Request.of("Good.", model="m", returns=kind, **more)


def encode(form, request):
    return form.encode(request, stream=False)


def test_openai_chat_is_sent_a_named_strict_schema():
    wanted = {"name": "Label", "strict": True, "schema": SCHEMA}
    body = encode(OpenAIChat(), asking_for(Label))
    assert body["response_format"] == {"type": "json_schema", "json_schema": wanted}


def test_openai_responses_are_sent_a_named_strict_schema():
    body = encode(OpenAIResponses(), asking_for(Label))
    wanted = {"type": "json_schema", "name": "Label", "strict": True, "schema": SCHEMA}
    assert body["text"] == {"format": wanted}


def test_anthropic_is_sent_the_schema_as_the_format_of_its_output():
    body = encode(AnthropicMessages(), asking_for(Label))
    assert body["output_config"] == {"format": {"type": "json_schema", "schema": SCHEMA}}


def test_gemini_is_sent_the_schema_of_a_json_response():
    config = encode(GeminiContent(), asking_for(Label))["generationConfig"]
    assert config == {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA}


def test_a_class_that_no_strict_mode_can_enforce_is_described_to_openai_without_it():
    sent = encode(OpenAIChat(), asking_for(Counts))["response_format"]["json_schema"]
    assert sent["strict"] is False
    assert sent["schema"]["properties"]["by_word"]["additionalProperties"] == {"type": "integer"}
    assert sent["schema"]["type"] == "object", "OpenAI accepts no reference at the root"
    assert encode(OpenAIResponses(), asking_for(Counts))["text"]["format"]["strict"] is False


@pytest.mark.parametrize(
    ("kind", "why"),
    [(Counts, "result.by_word is an object with arbitrary keys"), (Tree, "contains itself")],
)
def test_what_anthropic_cannot_enforce_is_refused_before_it_is_sent(kind, why):
    with pytest.raises(UnsupportedField, match=f"does not support returns; .*{why}"):
        encode(AnthropicMessages(), asking_for(kind))


def test_a_schema_of_the_users_is_sent_as_written():
    schema = {"title": "Mine", "type": "array"}
    request = Request.of("Good.", model="m", json_schema=schema)
    assert request.output_schema == OutputSchema("answer", schema)
    sent = encode(OpenAIChat(), request)["response_format"]["json_schema"]
    assert sent == {"name": "answer", "strict": True, "schema": schema}


def test_a_class_and_a_schema_exclude_each_other():
    with pytest.raises(ValueError, match="returns and json_schema exclude each other"):
        Request(model="m", messages=asking_for(Label).messages, returns=Label, json_schema=SCHEMA)


def test_a_class_without_a_schema_is_refused_by_class_and_field():
    @attrs.frozen
    class Wave:
        phase: complex

    with pytest.raises(TypeError, match=r"returns: .*Wave\.phase has no JSON schema"):
        asking_for(Wave)


def test_a_schema_is_no_class_of_results():
    with pytest.raises(TypeError, match=r"returns must be a class; .* is json_schema=\{"):
        asking_for(SCHEMA)


def test_a_request_without_results_has_no_schema():
    assert Request.of("Good.", model="m").output_schema is None
