"""instructor, with the earlier clients of OpenAI and Anthropic that it allows.

The client of Anthropic below 2.0 sends its key as `x-api-key`, and the API version of 2023.
"""

import anthropic
import instructor
import openai
import pytest
from pydantic import BaseModel

OPENAI, ANTHROPIC = "gpt-5.4-nano", "claude-haiku-4-5"
CHAT = [{"role": "user", "content": "Extract: Ada is 36."}]


class Person(BaseModel):
    name: str
    age: int


@pytest.mark.parametrize("mode", [instructor.Mode.TOOLS, instructor.Mode.JSON_SCHEMA])
def test_a_typed_result_of_openai(mode):
    client = instructor.from_openai(openai.OpenAI(), mode=mode)
    answer = client.chat.completions.create(
        model=OPENAI, messages=CHAT, response_model=Person, max_retries=0
    )
    assert isinstance(answer, Person)


def test_a_typed_result_that_grows():
    client = instructor.from_openai(openai.OpenAI())
    *_, last = client.chat.completions.create_partial(
        model=OPENAI, messages=CHAT, response_model=Person
    )
    assert (type(last.name), type(last.age)) == (str, int)


def test_a_typed_result_of_anthropic():
    assert int(anthropic.__version__.partition(".")[0]) < 2
    client = instructor.from_anthropic(anthropic.Anthropic())
    answer = client.chat.completions.create(
        model=ANTHROPIC, max_tokens=300, messages=CHAT, response_model=Person, max_retries=0
    )
    assert isinstance(answer, Person)


def test_the_completion_behind_a_result():
    client = instructor.from_openai(openai.OpenAI())
    answer, completion = client.chat.completions.create_with_completion(
        model=OPENAI, messages=CHAT, response_model=Person
    )
    assert isinstance(answer, Person)
    assert completion.usage.total_tokens > 0


def test_the_earlier_client_of_anthropic_by_itself():
    client = anthropic.Anthropic()
    call = {"model": ANTHROPIC, "max_tokens": 300, "messages": CHAT}
    call["extra_body"] = {"temperature": 0.5}  # which later versions of the API refuse
    whole = client.messages.create(**call)
    with client.messages.stream(**call) as stream:
        assert "".join(stream.text_stream) == whole.content[0].text
    with pytest.raises(anthropic.AuthenticationError):
        anthropic.Anthropic(api_key="cs-wrong").messages.create(**call)
