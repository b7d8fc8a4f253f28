"""A response becomes a part of the chat: in OpenAI's shape, and as the provider itself wrote it."""

import json
from contextlib import suppress
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors import ChatMessage, Choice, Request, Response, ToolCall, Usage
from callsheet.actors.identity import sharing_key
from callsheet.actors.ledger.bound import most_usage
from callsheet.actors.vendors.anthropic import AnthropicMessages
from callsheet.actors.vendors.format import Malformed, UnsupportedField
from callsheet.actors.vendors.gemini import GeminiContent
from callsheet.actors.vendors.openai_chat import OpenAIChat
from callsheet.actors.vendors.openai_responses import OpenAIResponses

CHAT, RESPONSES = OpenAIChat(), OpenAIResponses()
ANTHROPIC, GEMINI = AnthropicMessages(), GeminiContent()
FORMS = [CHAT, RESPONSES, ANTHROPIC, GEMINI]


def ask(*more):
    return Request(model="m", messages=[ChatMessage("user", "Hi"), *more])


def answered(form, body):
    """Return a response with a body, decoded by the wire format that it is from."""
    decoded = form.decode(body, ask())
    choice = decoded.choices[0]
    return Response(
        text=choice.text,
        model="m",
        finish_reason=choice.finish_reason,
        usage=Usage(),
        cost_usd=Decimal(0),
        choices=decoded.choices,
        body=decoded.body,
    )


def continued(form, response):
    """Return the messages of the next request: the turn of the model and the results."""
    turn = ChatMessage.from_response(response)
    results = [ChatMessage.tool_result(call, "4") for call in turn.tool_calls]
    body = form.encode(ask(turn, *results), stream=False)
    name = {RESPONSES: "input", GEMINI: "contents"}.get(form, "messages")
    return body[name][1:]


def openai_call(call_id="call_1", name="f", arguments='{"x":1}', **more):
    function = {"name": name, "arguments": arguments}
    return {"id": call_id, "type": "function", "function": function, **more}


def chat_answer(*calls, **more):
    message = {"role": "assistant", "content": None, "refusal": None, "annotations": []}
    message |= {"tool_calls": list(calls)} | more
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    return answered(CHAT, {"choices": [choice]})


THINKING = {"type": "thinking", "thinking": "Hm.", "signature": "Es=="}
TOOL_USE = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"x": 1}}
BY_ANTHROPIC = {"role": "assistant", "content": [THINKING, TOOL_USE], "stop_reason": "tool_use"}
ITEMS = [
    {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"},
    {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": '{"x":1}'},
]
BY_RESPONSES = {"object": "response", "status": "completed", "output": ITEMS}
PARTS = [{"functionCall": {"name": "f", "args": {"x": 1}}, "thoughtSignature": "Es=="}]
BY_GEMINI = {"candidates": [{"content": {"role": "model", "parts": PARTS}, "finishReason": "STOP"}]}
ALL = {
    CHAT: chat_answer(openai_call()),
    RESPONSES: answered(RESPONSES, BY_RESPONSES),
    ANTHROPIC: answered(ANTHROPIC, BY_ANTHROPIC),
    GEMINI: answered(GEMINI, BY_GEMINI),
}


def test_a_turn_goes_back_to_openai_with_its_reasoning_and_its_own_members():
    signed = openai_call(extra_content={"google": {"thought_signature": "Es=="}})
    response = chat_answer({**signed, "index": 0}, reasoning_content="Hm.")
    assert continued(CHAT, response) == [
        {
            "role": "assistant",
            "content": None,
            "reasoning_content": "Hm.",
            "tool_calls": [signed],
        },
        {"role": "tool", "content": "4", "tool_call_id": "call_1"},
    ]


def test_a_turn_goes_back_to_anthropic_with_its_signed_thoughts():
    assert continued(ANTHROPIC, ALL[ANTHROPIC]) == [
        {"role": "assistant", "content": [THINKING, TOOL_USE]},
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "4"}],
        },
    ]


def test_a_turn_goes_back_to_responses_with_its_encrypted_reasoning():
    result = {"type": "function_call_output", "call_id": "call_1", "output": "4"}
    assert continued(RESPONSES, ALL[RESPONSES]) == [*ITEMS, result]


def test_a_turn_goes_back_to_gemini_with_its_signature_and_without_ids_that_it_had_not():
    assert continued(GEMINI, ALL[GEMINI]) == [
        {"role": "model", "parts": PARTS},
        {
            "role": "user",
            "parts": [{"functionResponse": {"name": "f", "response": {"result": "4"}}}],
        },
    ]
    known = [{"functionCall": {"id": "fc-1", "name": "f", "args": {}}}]
    body = {"candidates": [{"content": {"parts": known}, "finishReason": "STOP"}]}
    (_, found) = continued(GEMINI, answered(GEMINI, body))
    assert found["parts"][0]["functionResponse"]["id"] == "fc-1"


@pytest.mark.parametrize("origin", FORMS, ids=lambda form: form.name)
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_a_turn_of_any_provider_goes_to_any_other(form, origin):
    """L10: a fallback takes over in the middle of a chat."""
    text = json.dumps(continued(form, ALL[origin]))
    assert '"f"' in text
    (call,) = ChatMessage.from_response(ALL[origin]).tool_calls
    assert (call.name, json.loads(call.arguments)) == ("f", {"x": 1})
    if form is not origin:
        assert "Es==" not in text
        assert "gAAA" not in text


def test_a_text_of_parts_goes_back_to_the_server_that_sent_it():
    parts = [{"type": "thinking", "thinking": []}, {"type": "text", "text": "4"}]
    response = chat_answer(tool_calls=None, content=parts)
    turn = ChatMessage.from_response(response)
    assert (turn.content, turn.body["content"], turn.tool_calls) == ("4", parts, ())


def test_a_response_without_a_body_is_a_turn_too():
    calls = (ToolCall("f", "", "call_1"),)
    response = Response(
        text="Let me see.",
        model="m",
        finish_reason="tool_calls",
        usage=Usage(),
        cost_usd=None,
        choices=(Choice("Let me see.", tool_calls=calls),),
    )
    assert ChatMessage.from_response(response).body == {
        "role": "assistant",
        "content": "Let me see.",
        "tool_calls": [openai_call(arguments="{}")],
    }


@pytest.mark.parametrize(
    "written",
    [
        {"id": "c", "type": "function", "function": {"name": "f", "arguments": {"x": 1}}},
        {"id": "c", "function": {"name": "f", "parameters": {"x": 1}}},
        {"id": "c", "function": {"name": "f", "input": '{"x":1}'}},
        {"id": "c", "name": "f", "arguments": '{"x":1}', "index": 0},
    ],
)
def test_a_call_that_was_read_is_the_call_that_runs_and_goes_back(written):
    """L10, L11: what else the provider wrote beside it goes back as well."""
    response = chat_answer({**written, "extra_content": {"signature": "Es=="}})
    turn = ChatMessage.from_response(response)
    assert turn.tool_calls == response.tool_calls == (ToolCall("f", '{"x":1}', "c"),)
    assert turn.body["tool_calls"] == [
        {
            "extra_content": {"signature": "Es=="},
            "id": "c",
            "type": "function",
            "function": {"name": "f", "arguments": '{"x":1}'},
        }
    ]


def test_a_call_without_an_id_keeps_what_the_provider_wrote_beside_it():
    turn = ChatMessage.from_response(chat_answer({**openai_call(None), "signature": "Es=="}))
    (sent,) = turn.body["tool_calls"]
    assert (sent["id"], sent["signature"]) == (turn.tool_calls[0].id, "Es==")


# ------------------------------------------------------------------------------ ids of calls


def ids_of(*calls):
    turn = ChatMessage.from_response(chat_answer(*calls))
    return [call.id for call in turn.tool_calls]


def test_calls_without_ids_get_some_of_the_length_that_mistral_requires():
    ids = ids_of(openai_call(None), openai_call(""), openai_call("", name="g"))
    assert len(set(ids)) == 3
    assert all(len(one) == 9 and one.isalnum() for one in ids)
    assert ids == ids_of(openai_call(None), openai_call(""), openai_call("", name="g"))


def test_the_same_call_with_the_same_id_is_one_call():
    assert ids_of(openai_call(), openai_call()) == ["call_1"]


def test_two_calls_with_the_same_id_are_told_apart():
    ids = ids_of(openai_call(), openai_call(arguments="{}"), openai_call(name="g"))
    assert ids[0] == "call_1"
    assert len(set(ids)) == 3


def test_results_name_their_calls_also_where_a_provider_repeats_an_id():
    """The blocks as they came have one id twice, so they are written anew."""
    twice = [TOOL_USE, {**TOOL_USE, "input": {"x": 2}}]
    response = answered(ANTHROPIC, {**BY_ANTHROPIC, "content": twice})
    turn, results = continued(ANTHROPIC, response)
    assert [block["id"] for block in turn["content"]] == [
        block["tool_use_id"] for block in results["content"]
    ]


def test_what_goes_back_counts_in_the_key_and_in_the_bound():
    """L6, L12: the key and the bound follow from what is sent."""
    turn = ChatMessage.from_response(ALL[GEMINI])
    plain = ChatMessage("assistant", turn.content, extra=turn.extra)
    keys = {
        sharing_key(Request(model="m", messages=[one], cacheable=True)) for one in (turn, plain)
    }
    assert len(keys) == 2
    bounds = [most_usage(ask(one), None, most_output=1).input_tokens for one in (turn, plain)]
    assert bounds[0] > bounds[1]


# -------------------------------------------------------------------------- whatever it was

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["", "f", "call_1", "{}"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["id", "type", "function", "custom", "name", "arguments", "text", "functionCall"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
MEMBERS = ["role", "content", "tool_calls", "function_call", "refusal", "reasoning"]
MESSAGES = st.dictionaries(st.sampled_from(MEMBERS), VALUES, max_size=4)
BODIES = st.one_of(
    MESSAGES.map(lambda one: (CHAT, {"choices": [{"message": one, "finish_reason": "stop"}]})),
    VALUES.map(lambda one: (ANTHROPIC, {"content": [one], "stop_reason": "end_turn"})),
    VALUES.map(lambda one: (RESPONSES, {"status": "completed", "output": [one]})),
    VALUES.map(
        lambda one: (
            GEMINI,
            {"candidates": [{"content": {"parts": [one]}, "finishReason": "STOP"}]},
        )
    ),
)


@given(BODIES, st.sampled_from(FORMS))
def test_whatever_a_provider_sends_can_go_back_or_is_refused_by_name(drawn, form):
    """L11: what could be read is no bug of the next round."""
    origin, body = drawn
    try:
        response = answered(origin, body)
    except Malformed:
        return
    turn = ChatMessage.from_response(response)
    ids = [call.id for call in turn.tool_calls]
    assert len(set(ids)) == len(ids)
    assert all(ids)
    with suppress(UnsupportedField):
        continued(form, response)
