"""A field that a format does not support is refused by name."""

import attrs
import pytest
from bodies import HI, chat

from callsheet.actors import ChatMessage, Request, Tool
from callsheet.actors.vendors.anthropic import AnthropicMessages
from callsheet.actors.vendors.catalog import VENDORS
from callsheet.actors.vendors.decoding import dumps
from callsheet.actors.vendors.format import UnsupportedField
from callsheet.actors.vendors.gemini import GeminiContent
from callsheet.actors.vendors.openai_chat import OpenAIChat
from callsheet.actors.vendors.openai_lists import OpenAICompletions, OpenAIEmbeddings
from callsheet.actors.vendors.openai_responses import OpenAIResponses

CHATS = [OpenAIChat(), AnthropicMessages(), GeminiContent(), OpenAIResponses()]
FORMATS = {
    "chat": CHATS,
    "completion": [OpenAICompletions()],
    "embedding": [OpenAIEmbeddings()],
}
PAIRS = [(task, form) for task, forms in FORMATS.items() for form in forms]


# A value for each field that is not its default, and a text by which one knows it in a body. A new
# field fails the test below until it is here, and until each format expresses or refuses it.
@attrs.frozen
class Marked:
    marked_text: str


MARKS = {
    "max_tokens": (7919, "7919"),
    "n": (2, ":2"),
    "temperature": (0.137, "0.137"),
    "top_p": (0.731, "0.731"),
    "stop": (("HALT",), "HALT"),
    "seed": (104729, "104729"),
    "json_schema": ({"title": "Marked"}, "Marked"),
    "dimensions": (257, "257"),
    "tools": ((Tool(name="marked_tool"),), "marked_tool"),
    "tool_choice": ("marked_choice", "marked_choice"),
    "returns": (Marked, "marked_text"),
}
ELSEWHERE = {"dialect", "model", "messages", "inputs", "task", "extra_body", "extra_headers"}
ELSEWHERE |= {"api", "max_tokens_name", "cacheable", "packable", "deadline", "idempotency_key"}


def plain(task, **more):
    if task == "chat":
        return chat(**more)
    return Request(model="m", task=task, inputs=["Hi"], **more)


def test_every_field_of_a_request_has_been_thought_of():
    assert {field.name for field in attrs.fields(Request)} == MARKS.keys() | ELSEWHERE


@pytest.mark.parametrize("field", MARKS)
@pytest.mark.parametrize(("task", "form"), PAIRS, ids=[form.name for _, form in PAIRS])
def test_a_field_is_in_the_body_or_it_is_refused_by_name(task, form, field):
    value, mark = MARKS[field]
    request = plain(task, **{field: value})
    without = dumps(form.encode(plain(task), stream=False)).decode()
    assert mark not in without
    if field in form.supports:
        assert mark in dumps(form.encode(request, stream=False)).decode()
        return
    with pytest.raises(UnsupportedField, match=f"does not support {field};") as caught:
        form.encode(request, stream=False)
    assert form.name in str(caught.value)
    assert (caught.value.field, caught.value.format) == (field, form.name)


@pytest.mark.parametrize(("task", "form"), PAIRS, ids=[form.name for _, form in PAIRS])
def test_a_format_takes_no_request_of_another_task(task, form):
    for other in FORMATS.keys() - {task}:
        if {task, other} == {"completion", "embedding"}:
            continue  # both are inputs; the vendor chooses the format by the task
        with pytest.raises(UnsupportedField, match=r"messages|inputs"):
            form.encode(plain(other), stream=False)


@pytest.mark.parametrize(("task", "form"), PAIRS, ids=[form.name for _, form in PAIRS])
def test_the_fields_of_a_task_are_in_the_body_and_local_fields_are_not(task, form):
    request = plain(task, extra_body={"marked": 1}, cacheable=True, idempotency_key="key-1")
    text = dumps(form.encode(request, stream=False)).decode()
    assert "Hi" in text
    assert '"marked":1' in text
    assert "cacheable" not in text
    assert "key-1" not in text
    assert '"m"' in text or "/m:" in form.path(request, stream=False)


@pytest.mark.parametrize(("task", "form"), PAIRS, ids=[form.name for _, form in PAIRS])
def test_a_stream_is_requested_where_the_format_has_streams(task, form):
    request = plain(task)
    if not form.streams:
        with pytest.raises(UnsupportedField, match="stream"):
            form.encode(request, stream=True)
        with pytest.raises(UnsupportedField, match="stream"):
            form.stream_decoder(request)
        return
    asked = form.encode(request, stream=True).get("stream") or "stream" in form.path(
        request, stream=True
    )
    assert asked
    assert "stream" not in form.encode(request, stream=False)
    assert "stream" not in form.path(request, stream=False)
    assert form.stream_decoder(request).done is False


SYSTEM = ChatMessage("system", "Be brief.")


@pytest.mark.parametrize("form", CHATS[1:3], ids=lambda form: form.name)
def test_a_chat_of_system_messages_only_is_refused(form):
    with pytest.raises(UnsupportedField, match=r"system message"):
        form.encode(chat(messages=[SYSTEM]), stream=False)


@pytest.mark.parametrize("messages", [[*HI, SYSTEM], [SYSTEM, *HI, SYSTEM]])
def test_later_system_messages_that_cannot_stand_apart_are_refused(messages):
    with pytest.raises(UnsupportedField, match=r"system message"):
        GeminiContent().encode(chat(messages=messages), stream=False)


@pytest.mark.parametrize("name", VENDORS)
def test_a_vendor_lists_its_tasks(name):
    vendor = VENDORS[name]
    for task in FORMATS:
        if task in vendor.formats:
            assert vendor.format_for(task).encode(plain(task), stream=False)
            continue
        with pytest.raises(
            UnsupportedField, match=f"{vendor.title} does not support task='{task}'"
        ):
            vendor.format_for(task)


def test_a_message_of_more_than_a_text_is_sent_as_it_is_or_refused():
    picture = {"content": [{"type": "image", "source": {}}]}
    shown = chat(messages=[ChatMessage("user", "", extra=picture)])
    for form in (OpenAIChat(), AnthropicMessages()):
        assert form.encode(shown, stream=False)["messages"] == [{"role": "user", **picture}]
    with pytest.raises(UnsupportedField, match="a part of the type 'image'"):
        GeminiContent().encode(shown, stream=False)


@pytest.mark.parametrize(
    ("message", "named"),
    [
        (ChatMessage("tool", "4", extra={"tool_call_id": "x"}), "'tool'|a tool result"),
        (ChatMessage("system", "x", extra={"name": "Ann"}), "'name' in a system message"),
        (ChatMessage("system", "x", extra={"content": [{}]}), "'content' .* send its text only"),
    ],
)
def test_a_message_that_gemini_does_not_have_is_refused(message, named):
    form = GeminiContent()
    messages = [message, *HI] if message.role == "system" else [*HI, message]
    with pytest.raises(UnsupportedField, match=named):
        form.encode(chat(messages=messages), stream=False)
