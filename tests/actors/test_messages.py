"""A request with a field out of range is refused by the name of the field."""

import re
from datetime import date
from decimal import Decimal

import pytest

from callsheet.actors import CallContext, ChatMessage, Request, Tool
from callsheet.actors.ledger.bound import most_usage
from callsheet.actors.vendors.gemini_input import gemini_chat


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", ""),
        ("messages", ()),
        ("messages", ["Hi"]),
        ("max_tokens", 0),
        ("temperature", -0.1),
        ("temperature", 2.1),
        ("temperature", float("nan")),
        ("temperature", Decimal("0.5")),
        ("top_p", "0.5"),
        ("seed", "7"),
        ("max_tokens", 1.5),
        ("max_tokens", 10**19),
        ("tool_choice", "get_time"),
        ("tool_choice", 5),
        ("idempotency_key", "a\nb"),
        ("idempotency_key", "caf\u00e9"),
        ("idempotency_key", "x" * 256),
    ],
)
def test_a_request_out_of_range_is_refused_by_the_fields_name(field, value):
    known = {
        "model": "m",
        "messages": (ChatMessage("user", "Hi"),),
        "tools": (Tool(name="get_weather"),),
    }
    with pytest.raises((ValueError, TypeError), match=field):
        Request(**(known | {field: value}))


def test_the_choice_of_a_tool_is_given_with_the_tools():
    def look_up(term: str) -> str:
        """Look up a term."""
        return term

    request = Request.of("Why?", model="m", tools=[look_up], tool_choice="look_up")
    assert request.tool_choice == "look_up"
    with pytest.raises(ValueError, match="tool_choice is 'look', but the tools are look_up"):
        Request.of("Why?", model="m", tools=[look_up], tool_choice="look")


NO_JSON = {
    "a date": (
        {"a": [1, {"b": date(2026, 1, 2)}]},
        r"\.a\[1\]\.b must be a JSON value, not a date",
    ),
    "an exact number": ({"a": Decimal(1)}, r"\.a must be a JSON value, not a Decimal"),
    "NaN": ({"a": [float("nan")]}, r"\.a\[0\] is nan, which JSON does not have"),
    "a key": ({"a": {None: 1}}, r"\.a must have strings as keys, not null"),
    "a text": ("a=1", "must be a JSON object, not 'a=1'"),
}
NO_JSON["itself"] = ({}, "is nested too deeply")
NO_JSON["itself"][0]["a"] = [NO_JSON["itself"][0]]


@pytest.mark.parametrize("kind", NO_JSON)
def test_what_cannot_be_sent_is_refused_before_any_stage_has_it(kind):
    """A stage that cannot write it would crash, for every caller."""
    value, words = NO_JSON[kind]
    hi = [ChatMessage("user", "Hi")]
    for field in ("extra_body", "json_schema"):
        with pytest.raises((TypeError, ValueError), match=f"^{field}.*{words}"):
            Request(model="m", messages=hi, **{field: value})
    with pytest.raises((TypeError, ValueError), match=f"extra.*{words}"):
        ChatMessage("user", "Hi", extra=value)
    if kind != "a text":
        with pytest.raises((TypeError, ValueError), match=f"parameters.*{words}"):
            Tool(name="f", parameters=value)


def test_a_call_and_its_lane_have_names_that_are_texts():
    """A ledger could not write another one."""
    with pytest.raises(TypeError, match="lane must be a string, not 5"):
        CallContext("c", lane=5)
    with pytest.raises(TypeError, match="call must be a string, not null"):
        CallContext(None)


def test_what_can_be_sent_is_accepted():
    extra = {"logit_bias": {50256: -100}, "pair": (1, "a"), "none": None, "long": 2**70}
    assert Request.of("Hi", model="m", extra_body=extra).extra_body == extra


# ------------------------------------------------------------- messages as the SDKs take them


def messages_of(*given):
    return Request(model="m", messages=given).messages


def test_messages_may_be_given_as_the_sdks_take_them():
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    given = [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [{"type": "text", "text": "Hi"}, {"type": "text", "text": "!"}],
        },
        ChatMessage("user", "Ho"),
        {"role": "assistant", "content": None, "tool_calls": [call], "refusal": None},
        {"role": "tool", "tool_call_id": "call_1", "content": "4"},
    ]
    assert messages_of(*given) == (
        ChatMessage("system", "Be brief."),
        ChatMessage("user", "Hi\n!", extra={"content": given[1]["content"]}),
        ChatMessage("user", "Ho"),
        ChatMessage("assistant", "", extra={"content": None, "tool_calls": [call]}),
        ChatMessage("tool", "4", extra={"tool_call_id": "call_1"}),
    )


def test_parts_that_are_texts_are_sent_as_they_are_written():
    """L15: a pack may join them, and the bound of a cost counts them once."""
    system, user = ([{"type": "text", "text": one} for one in ("Be", text)] for text in "ab")
    messages = messages_of({"role": "system", "content": system}, {"role": "user", "content": user})
    assert [message.body["content"] for message in messages] == [system, user]
    assert all(message.is_text for message in messages)
    sent = gemini_chat(messages, "Gemini")
    assert sent["systemInstruction"] == {"parts": [{"text": "Be"}, {"text": "a"}]}
    assert sent["contents"] == [{"role": "user", "parts": [{"text": "Be"}, {"text": "b"}]}]
    long = [{"type": "text", "text": "Tea. " * 1000}]
    (in_parts,) = messages_of({"role": "user", "content": long})
    plain = ChatMessage("user", in_parts.content)
    requests = [Request(model="m", messages=[one]) for one in (in_parts, plain)]
    bounds = [most_usage(one, None, most_output=1).input_tokens for one in requests]
    assert 0 < bounds[0] - bounds[1] < 50


def test_parts_that_are_no_texts_are_kept():
    parts = [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": "data:x"}},
    ]
    (message,) = messages_of({"role": "user", "content": parts, "name": "Ann"})
    assert message.content == "What is it?"
    assert message.body == {"role": "user", "name": "Ann", "content": parts}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("Hi", "\"messages[1]\" must be an object, not 'Hi'"),
        (None, '"messages[1]" must be an object, not null'),
        ({"content": "Hi"}, '"messages[1].role" is null; it must be one of system, developer'),
        ({"role": "model", "content": "Hi"}, "\"messages[1].role\" is 'model'"),
        ({"role": ["user"], "content": "Hi"}, '"messages[1].role" is a list'),
        ({"role": "user"}, '"messages[1].content" must be a string or a list of parts, not null'),
        ({"role": "user", "content": {}}, "a list of parts, not an object"),
        ({"role": "user", "content": []}, '"messages[1].content" must be a string or a list'),
        ({"role": "user", "content": ["Hi"]}, '"messages[1].content[0]" must be an object'),
        ({"role": "user", "content": [{}]}, 'must be an object with a "type"'),
        (
            {"role": "user", "content": [{"type": "text", "text": 5}]},
            '"messages[1].content[0].text" must be a string, not 5',
        ),
    ],
)
def test_a_wrong_message_is_refused_by_its_index_and_the_member(wrong, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        messages_of({"role": "user", "content": "Hi"}, wrong)


@pytest.mark.parametrize("given", ["Hi", {"role": "user", "content": "Hi"}])
def test_messages_are_a_list(given):
    with pytest.raises(TypeError, match="messages must be a list"):
        Request(model="m", messages=given)
