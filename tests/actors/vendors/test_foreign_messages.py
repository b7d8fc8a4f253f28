"""Messages in any shape: each format sends them, or refuses them in words."""

import json
from contextlib import suppress

import pytest
from bodies import HI, chat
from hypothesis import given, settings
from hypothesis import strategies as st

from callsheet.actors import ChatMessage
from callsheet.actors.vendors.anthropic import AnthropicMessages
from callsheet.actors.vendors.format import UnsupportedField
from callsheet.actors.vendors.openai_responses import OpenAIResponses

FORMATS = [AnthropicMessages(), OpenAIResponses()]
NAMES = [
    *("content", "tool_calls", "tool_call_id", "refusal", "function_call", "cache_control"),
    *("type", "text", "image_url", "url", "detail", "file", "file_data", "filename"),
    *("id", "function", "custom", "name", "arguments", "input", "role", "reasoning_content"),
]
TEXTS = [
    *("text", "image_url", "file", "refusal", "function", "input_text", "tool_use", "thinking"),
    *("", "Hi", "{", "{}", "data:image/png;base64,AA==", "https://x/y.png", "low", "\ud800"),
]
values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(TEXTS),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4)
    ),
    max_leaves=12,
)
extras = st.none() | st.dictionaries(st.sampled_from(NAMES), values, max_size=4)
roles = st.sampled_from(["system", "developer", "user", "assistant", "tool", "function"])
messages = st.builds(ChatMessage, roles, st.sampled_from(["", "Hi"]), extra=extras)


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
@settings(max_examples=2 * settings.default.max_examples, deadline=None)
@given(said=st.lists(messages, max_size=4))
def test_messages_in_any_shape_are_sent_or_refused_in_words(form, said):
    with suppress(UnsupportedField):
        assert json.dumps(form.encode(chat(messages=[*HI, *said]), stream=False))


CALLS = [3, "f", {"id": "c"}, [3], ["f"]]


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
@pytest.mark.parametrize("extra", [{"tool_calls": calls} for calls in CALLS], ids=str)
def test_tool_calls_in_another_shape_are_never_dropped(form, extra):
    message = ChatMessage("assistant", "", extra={"content": None, **extra})
    with pytest.raises(UnsupportedField, match="tool call"):
        form.encode(chat(messages=[*HI, message]), stream=False)


@pytest.mark.parametrize("content", [3, {"type": "text", "text": "Hi"}, True], ids=str)
def test_content_that_is_neither_text_nor_parts_is_never_dropped(content):
    message = ChatMessage("user", "", extra={"content": content})
    with pytest.raises(UnsupportedField, match="content"):
        AnthropicMessages().encode(chat(messages=[message]), stream=False)
    (sent,) = OpenAIResponses().encode(chat(messages=[message]), stream=False)["input"]
    assert sent["content"] == content, "the provider refuses it in its own words"
