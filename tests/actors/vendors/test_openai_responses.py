"""OpenAI's Responses format: what is sent, and what is read."""

import json
from decimal import Decimal

import pytest
from bodies import HI, chat, named, read_stream, sse, texts_of

from callsheet.actors import VENDORS, ChatMessage, TokenLogprob, ToolCall, Usage
from callsheet.actors.vendors import ApiError, BrokeOff, Malformed, StreamFailed, UnsupportedField
from callsheet.actors.vendors.openai_responses import OpenAIResponses

RESPONSES = OpenAIResponses()
TOKEN = {"token": "Hi", "logprob": -0.5, "top_logprobs": [{"token": "Ho", "logprob": -1}]}
NOTE = {"type": "url_citation", "url": "u"}
TEXT = {"type": "output_text", "text": "Hi", "annotations": [NOTE], "logprobs": [TOKEN]}
MESSAGE = {"type": "message", "id": "msg_1", "role": "assistant", "content": [TEXT]}
REASONING = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [{"type": "summary_text", "text": "One."}, {"type": "summary_text", "text": "Two."}],
    "encrypted_content": "gAAA",
}
CALL = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": "{}"}
USAGE = {
    "input_tokens": 12,
    "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
    "output_tokens": 7,
    "output_tokens_details": {"reasoning_tokens": 3},
    "total_tokens": 19,
}


def body(*output, **more):
    return {
        "id": "resp_1",
        "object": "response",
        "status": "completed",
        "model": "gpt-5.6-luna",
        "error": None,
        "incomplete_details": None,
        "output": list(output),
        "service_tier": "default",
        "usage": USAGE,
    } | more


def decode(*output, **more):
    return RESPONSES.decode(body(*output, **more), chat())


def sent(*messages, **fields):
    if messages:
        fields["messages"] = messages
    return RESPONSES.encode(chat(**fields), stream=False)


def event(kind, **members):
    return {"type": f"response.{kind}", **members}


# ------------------------------------------------------------------ what is sent


def test_a_request_is_sent_with_the_names_of_responses():
    system = ChatMessage("system", "Be short.")
    body = sent(
        system, *HI, max_tokens=20, temperature=0.5, top_p=0.9, json_schema={"type": "object"}
    )
    assert body == {
        "model": "m",
        "input": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hi"}],
        "store": False,
        "max_output_tokens": 20,
        "temperature": 0.5,
        "top_p": 0.9,
        "text": {
            "format": {
                "type": "json_schema",
                "name": "answer",
                "strict": True,
                "schema": {"type": "object"},
            }
        },
    }
    assert RESPONSES.encode(chat(), stream=True)["stream"] is True
    assert RESPONSES.path(chat(), stream=False) == "/responses"


def test_a_user_decides_whether_the_provider_stores_the_response():
    assert sent(extra_body={"store": True})["store"] is True
    verbose = sent(json_schema={}, extra_body={"text": {"verbosity": "low"}})
    assert verbose["text"].keys() == {"format", "verbosity"}


@pytest.mark.parametrize("fields", [{"n": 2}, {"stop": ["x"]}, {"seed": 1}], ids=str)
def test_what_responses_do_not_have_is_refused(fields):
    with pytest.raises(UnsupportedField, match=next(iter(fields))):
        sent(**fields)


@pytest.mark.parametrize("name", ["stream", "input", "background"])
def test_what_decides_how_the_response_is_read_is_refused(name):
    with pytest.raises(UnsupportedField, match=name):
        sent(extra_body={name: True})
    assert sent(extra_body={"background": False})["background"] is False


def test_parts_of_a_chat_are_sent_as_parts_of_responses():
    parts = [
        {"type": "text", "text": "What is it?", "prompt_cache_breakpoint": {"mode": "explicit"}},
        {"type": "image_url", "image_url": {"url": "data:x", "detail": "low"}},
        {"type": "image_url", "image_url": "https://x/y.png"},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "input_text", "text": "as it is"},
    ]
    (message,) = sent(ChatMessage("user", "", extra={"content": parts}))["input"]
    assert message["content"] == [
        {
            "type": "input_text",
            "text": "What is it?",
            "prompt_cache_breakpoint": {"mode": "explicit"},
        },
        {"type": "input_image", "image_url": "data:x", "detail": "low"},
        {"type": "input_image", "image_url": "https://x/y.png"},
        {"type": "input_file", "file_id": "file-1"},
        {"type": "input_text", "text": "as it is"},
    ]


@pytest.mark.parametrize("kind", ["input_audio", "video_url"])
def test_a_part_that_responses_do_not_have_is_refused(kind):
    message = ChatMessage("user", "", extra={"content": [{"type": kind, kind: {}}]})
    with pytest.raises(UnsupportedField, match=kind):
        sent(message)


def test_tool_calls_and_their_results_are_items_of_their_own():
    calls = [
        {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
        {"id": "call_2", "type": "custom", "custom": {"name": "g", "input": "text"}},
    ]
    found = sent(
        *HI,
        ChatMessage("assistant", "", extra={"content": None, "tool_calls": calls}),
        ChatMessage("tool", "1", extra={"tool_call_id": "call_1"}),
        ChatMessage("tool", "2", extra={"tool_call_id": "call_2"}),
        ChatMessage("assistant", "Done.", extra={"phase": "commentary"}),
    )["input"]
    assert found[1:] == [
        {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": '{"x":1}'},
        {"type": "custom_tool_call", "call_id": "call_2", "name": "g", "input": "text"},
        {"type": "function_call_output", "call_id": "call_1", "output": "1"},
        {"type": "custom_tool_call_output", "call_id": "call_2", "output": "2"},
        {"role": "assistant", "content": "Done.", "phase": "commentary"},
    ]


def test_the_output_of_a_response_is_sent_back_unchanged():
    """Reasoning that the provider has not stored must come back with its encrypted content."""
    output = [REASONING, CALL]
    turn = ChatMessage("assistant", "ignored", extra={"output": output})
    result = ChatMessage("tool", "4", extra={"tool_call_id": "call_1"})
    assert sent(*HI, turn, result)["input"][1:] == [
        *output,
        {"type": "function_call_output", "call_id": "call_1", "output": "4"},
    ]


def test_a_turn_of_the_sdks_is_sent_without_what_items_do_not_have():
    empty = {"refusal": None, "annotations": [], "audio": None, "function_call": None}
    (turn,) = sent(ChatMessage("assistant", "Yes.", extra=empty))["input"]
    assert turn == {"role": "assistant", "content": "Yes."}
    with pytest.raises(UnsupportedField, match="function_call"):
        sent(ChatMessage("assistant", "", extra={"function_call": {"name": "f"}}))
    with pytest.raises(UnsupportedField, match="function_call"):
        sent(ChatMessage("function", "4", extra={"name": "f"}))


def test_an_assistants_parts_and_refusals_are_sent_as_output():
    parts = [{"type": "text", "text": "a"}, {"type": "refusal", "refusal": "no"}]
    said, refused = sent(
        ChatMessage("assistant", "", extra={"content": parts}),
        ChatMessage("assistant", "", extra={"content": None, "refusal": "no"}),
    )["input"]
    assert said["content"] == [{"type": "output_text", "text": "a"}, parts[1]]
    assert refused["content"] == [{"type": "refusal", "refusal": "no"}]


# ------------------------------------------------------------------ what is read


def test_everything_in_a_response_has_a_field():
    found = decode(REASONING, MESSAGE, CALL)
    (choice,) = found.choices
    assert choice.text == "Hi"
    assert choice.reasoning == "One.\n\nTwo."
    assert choice.tool_calls == (ToolCall("f", "{}", "call_1"),)
    assert choice.finish_reason == "tool_calls"
    assert choice.logprobs == (TokenLogprob("Hi", -0.5, (("Ho", -1.0),)),)
    assert choice.annotations == (NOTE,)
    assert found.usage == Usage(12, 7, 4, 2, 3)
    assert (found.model, found.tier) == ("gpt-5.6-luna", "default")


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({}, "stop"),
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, "length"),
        (
            {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}},
            "content_filter",
        ),
        ({"status": "incomplete"}, "length"),
        ({"status": None}, "stop"),
    ],
    ids=str,
)
def test_the_finish_reason_follows_from_the_status(members, reason):
    assert decode(MESSAGE, **members).choices[0].finish_reason == reason


def test_a_refusal_is_no_text():
    part = {"type": "refusal", "refusal": "I will not."}
    (choice,) = decode({**MESSAGE, "content": [part]}).choices
    assert (choice.text, choice.refusal) == ("", "I will not.")
    assert choice.finish_reason == "content_filter"


def test_a_failed_generation_is_an_error():
    error = {"code": "server_error", "message": "Sorry."}
    found = decode(status="failed", error=error)
    assert isinstance(found, ApiError)
    assert (found.code, found.message) == ("server_error", "Sorry.")
    assert isinstance(decode(status="failed"), ApiError)
    assert isinstance(decode(MESSAGE, status="cancelled"), ApiError)


@pytest.mark.parametrize("members", [{"output": None}, {"status": "queued"}], ids=str)
def test_a_response_that_is_missing_or_not_finished_is_malformed(members):
    with pytest.raises(Malformed):
        decode(**members)


def test_other_servers_may_leave_out_and_rename_members():
    """Content as a text, reasoning as content, usage with a chat's names, no type of a message."""
    reasoning = {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "hm"}]}
    usage = {"prompt_tokens": 3, "completion_tokens": 2}
    found = decode(reasoning, {"role": "assistant", "content": "Hi"}, usage=usage)
    assert (found.choices[0].text, found.choices[0].reasoning) == ("Hi", "hm")
    assert found.usage == Usage(3, 2)


# ------------------------------------------------------------------ streams


def stream_of(*events):
    return read_stream(RESPONSES, chat(), [named(*events)])


def test_a_stream_without_a_last_event_broke_off():
    delta = event("output_text.delta", output_index=0, content_index=0, delta="Hi")
    with pytest.raises(BrokeOff, match="last event"):
        stream_of(event("created", response={"status": "in_progress"}), delta)


def test_a_stream_that_only_marks_its_end_is_read():
    deltas, found = read_stream(
        RESPONSES,
        chat(),
        [
            sse(
                event("created", response={"status": "in_progress", "model": "m-1", "output": []}),
                event("reasoning_text.delta", output_index=0, delta="hm"),
                event("output_text.delta", output_index=1, delta="Hi"),
                event("function_call_arguments.delta", output_index=2, delta="{}"),
            )
        ],
    )
    (choice,) = found.choices
    assert (choice.text, choice.reasoning, found.model) == ("Hi", "hm", "m-1")
    assert choice.tool_calls == (ToolCall("", "{}"),)
    assert texts_of(deltas) == ["Hi"]


def test_texts_that_come_whole_and_not_in_pieces_are_read():
    """Each of them is followed by a last event without output."""
    item = {"type": "function_call", "call_id": "c", "name": "f", "arguments": ""}
    deltas, found = stream_of(
        event("reasoning_summary_text.done", output_index=0, summary_index=0, text="hm"),
        event("output_text.delta", output_index=1, content_index=0, delta="He"),
        event("output_text.done", output_index=1, content_index=0, text="Hello"),
        event("output_item.added", output_index=2, item=item),
        event("function_call_arguments.done", output_index=2, arguments="{}"),
        event("completed", response=body()),
    )
    (choice,) = found.choices
    assert (choice.text, choice.reasoning) == ("Hello", "hm")
    assert choice.tool_calls == (ToolCall("f", "{}", "c"),)
    assert texts_of(deltas) == ["Hello"]


def test_a_text_beside_an_empty_output_is_read():
    assert decode(output_text="Hi").choices[0].text == "Hi"
    assert decode(MESSAGE, output_text="Hi").choices[0].text == "Hi"


def test_a_whole_response_in_one_event_is_read():
    deltas, found = read_stream(RESPONSES, chat(), [sse(body(MESSAGE), done=None)])
    assert found.choices[0].text == "Hi"
    assert texts_of(deltas) == ["Hi"]


def test_the_usage_is_known_at_the_last_event():
    decoder = RESPONSES.stream_decoder(chat())
    assert decoder.usage is None
    _, found = stream_of(event("completed", response=body(MESSAGE)))
    assert found.usage == Usage(12, 7, 4, 2, 3)


FLAT = {"type": "error", "code": "rate_limit_exceeded", "message": "Slow down.", "param": None}
NESTED = {"type": "error", "error": {"code": "rate_limit_exceeded", "message": "Slow down."}}


@pytest.mark.parametrize("error", [FLAT, NESTED, {"error": NESTED["error"]}], ids=json.dumps)
def test_an_error_event_is_read_flat_and_nested(error):
    with pytest.raises(StreamFailed, match=r"Slow down\.") as failed:
        read_stream(RESPONSES, chat(), [sse(error)])
    assert failed.value.error.code == "rate_limit_exceeded"


def test_a_response_that_fails_at_its_end_is_an_error():
    error = {"code": "server_error", "message": "Sorry."}
    _, found = stream_of(event("failed", response=body(status="failed", error=error)))
    assert isinstance(found, ApiError)
    assert found.message == "Sorry."


# ------------------------------------------------------------------ Perplexity


def test_perplexity_is_sent_what_it_knows():
    form = VENDORS["perplexity"].format_for("chat")
    request = chat(max_tokens=20, json_schema={"type": "object"})
    schema = {"name": "answer", "strict": True, "schema": {"type": "object"}}
    assert form.encode(request, stream=False) == {
        "model": "m",
        "input": [{"type": "message", "role": "user", "content": "Hi"}],
        "max_output_tokens": 20,
        "response_format": {"type": "json_schema", "json_schema": schema},
    }
    with pytest.raises(UnsupportedField, match="does not support temperature"):
        form.encode(chat(temperature=0), stream=False)


def test_the_cost_and_the_cache_that_perplexity_reports_are_read():
    usage = {
        "input_tokens": 10,
        "output_tokens": 5,
        "input_tokens_details": {
            "cache_read_input_tokens": 4,
            "cache_creation_input_tokens": 3,
        },
        "cost": {"currency": "USD", "input_cost": 0.01, "output_cost": 0.02, "total_cost": 0.035},
    }
    found = decode(CALL, usage=usage, status="requires_action")
    assert found.usage == Usage(10, 5, 4, 3)
    assert found.reported_cost_usd == Decimal("0.035")
    assert found.choices[0].finish_reason == "tool_calls"
    assert VENDORS["perplexity"].reports_cost


def test_the_error_of_a_failed_response_may_stand_beside_it():
    failed = event("failed", error={"code": "internal", "message": "Sorry."})
    with pytest.raises(StreamFailed, match=r"Sorry\."):
        stream_of(failed)
