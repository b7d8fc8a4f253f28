"""Anthropic's messages format: its names and counts become OpenAI's."""

import pytest
from bodies import HI, chat, named, read_stream, texts_of
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors import ChatMessage, Choice, ToolCall, Usage
from callsheet.actors.vendors.anthropic import AnthropicMessages
from callsheet.actors.vendors.format import (
    ApiError,
    BrokeOff,
    DecodedResponse,
    Malformed,
    StreamFailed,
    UnsupportedField,
)
from callsheet.actors.vendors.sse import SseParser

FORM = AnthropicMessages()


def body(*texts, **more):
    return {
        "id": "msg_01",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-5",
        "content": [{"type": "text", "text": text} for text in texts],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 9,
            "output_tokens": 3,
            "cache_creation_input_tokens": 20,
            "cache_read_input_tokens": 100,
            "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 0},
            "service_tier": "standard",
        },
    } | more


def test_a_chat_with_all_that_anthropic_knows():
    messages = [ChatMessage("system", "Be brief."), ChatMessage("developer", "Be kind."), *HI]
    request = chat(
        messages=[*messages, ChatMessage("assistant", "Well,")],
        max_tokens=9,
        temperature=0.5,
        top_p=0.9,
        stop=["END"],
        json_schema={"type": "object"},
        extra_body={"output_config": {"effort": "low"}, "top_k": 5},
    )
    assert FORM.encode(request, stream=True) == {
        "model": "m",
        "max_tokens": 9,
        "system": "Be brief.\n\nBe kind.",
        "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Well,"},
        ],
        "temperature": 0.5,
        "top_p": 0.9,
        "stop_sequences": ["END"],
        "output_config": {
            "format": {"type": "json_schema", "schema": {"type": "object"}},
            "effort": "low",
        },
        "top_k": 5,
        "stream": True,
    }
    assert FORM.path(request, stream=True) == "/messages"


def test_a_limit_is_sent_even_if_none_is_set_because_anthropic_wants_one():
    assert FORM.encode(chat(), stream=False)["max_tokens"] == 4096
    form = AnthropicMessages(default_max_tokens=64000)
    assert form.encode(chat(), stream=False)["max_tokens"] == 64000


def test_a_temperature_that_anthropic_does_not_know_is_refused():
    assert FORM.encode(chat(temperature=1), stream=False)["temperature"] == 1
    with pytest.raises(UnsupportedField, match="temperature above 1"):
        FORM.encode(chat(temperature=1.5), stream=False)


def test_the_input_counts_what_was_cached_too():
    assert FORM.decode(body("Hel", "lo"), chat()) == DecodedResponse(
        choices=(Choice("Hello", "stop"),),
        model="claude-sonnet-5",
        usage=Usage(129, 3, 100, 20),
        tier="standard",
    )


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("pause_turn", "pause_turn"),
        (None, None),
    ],
)
def test_why_it_ended_in_openais_words(reason, finish):
    assert FORM.decode(body("a", stop_reason=reason), chat()).choices[0].finish_reason == finish


def test_thoughts_are_no_part_of_the_text():
    blocks = [
        {"type": "thinking", "thinking": "Hmm", "signature": "x"},
        {"type": "text", "text": "Hi"},
        {"type": "tool_use", "id": "t", "name": "f", "input": {}},
    ]
    usage = {"input_tokens": 1, "output_tokens": 9, "output_tokens_details": {"thinking_tokens": 7}}
    answer = FORM.decode(body(content=blocks, usage=usage), chat())
    assert answer.choices == (
        Choice("Hi", "stop", tool_calls=(ToolCall("f", "{}", "t"),), reasoning="Hmm"),
    )
    assert answer.usage == Usage(1, 9, reasoning_tokens=7)


@pytest.mark.parametrize("wrong", [None, [], "Hi", {}, {"content": None}])
def test_what_is_no_message_is_malformed(wrong):
    with pytest.raises(Malformed):
        FORM.decode(wrong, chat())


SPEND = {
    "type": "error",
    "error": {
        "type": "rate_limit_error",
        "message": "No more.",
        "details": {"error_code": "enforced_spend_limit_reached"},
    },
    "request_id": "req_1",
}


def test_an_error_with_its_details():
    error = FORM.decode_error(SPEND)
    assert (error.message, error.type) == ("No more.", "rate_limit_error")
    assert '"enforced_spend_limit_reached"' in error.details
    assert "enforced" not in repr(error)
    assert FORM.decode(SPEND, chat()) == error


START = {
    "type": "message_start",
    "message": body(stop_reason=None, usage={"input_tokens": 9, "output_tokens": 1}),
}
STREAM = [
    START,
    {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking"}},
    {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "thinking_delta", "thinking": "?"},
    },
    {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "signature_delta", "signature": "x"},
    },
    {"type": "content_block_stop", "index": 0},
    {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
    {"type": "ping"},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "Zoë "}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "日😀"}},
    {"type": "something_new", "data": 1},
    {"type": "content_block_stop", "index": 1},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "max_tokens", "stop_sequence": None},
        "usage": {"output_tokens": 15, "cache_read_input_tokens": 100, "input_tokens": None},
    },
    {"type": "message_stop"},
]
WHOLE = DecodedResponse(
    choices=(Choice("Zoë 日😀", "length", reasoning="?"),),
    model="claude-sonnet-5",
    usage=Usage(109, 15, 100),
)


def test_a_stream_as_anthropic_sends_it():
    deltas, answer = read_stream(FORM, chat(), [named(*STREAM)])
    assert texts_of(deltas) == ["Zoë 日😀"]
    assert answer == WHOLE


def test_the_body_of_a_stream_is_that_of_a_message():
    _, answer = read_stream(FORM, chat(), [named(*STREAM)])
    assert (answer.body["type"], answer.body["stop_reason"]) == ("message", "max_tokens")
    assert not {"delta", "index", "message"} & {*answer.body}


def test_a_stream_means_the_same_without_the_names_of_its_events():
    data = b"".join(line + b"\n\n" for line in named(*STREAM).split(b"\n") if line[:4] == b"data")
    assert read_stream(FORM, chat(), [data])[1] == WHOLE


def test_a_stream_means_the_same_byte_by_byte():
    assert read_stream(FORM, chat(), [bytes([b]) for b in named(*STREAM)])[1] == WHOLE


@given(st.data())
def test_a_stream_means_the_same_however_it_is_cut(data):
    whole = named(*STREAM)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=12)))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert read_stream(FORM, chat(), pieces)[1] == WHOLE


def test_done_and_usage_are_known_during_the_stream():
    decoder = FORM.stream_decoder(chat())
    seen = []
    for event in SseParser().feed(named(*STREAM)):
        decoder.feed(event)
        seen.append((decoder.done, decoder.usage))
    assert seen[0] == (False, Usage(9, 1))
    assert seen[-2:] == [(False, Usage(109, 15, 100)), (True, Usage(109, 15, 100))]


@pytest.mark.parametrize("count", range(len(STREAM) - 1))
def test_a_stream_that_ends_too_soon_is_no_short_answer(count):
    events = STREAM[:count]
    if any(event["type"] == "message_delta" for event in events):
        assert read_stream(FORM, chat(), [named(*events)])[1] == WHOLE
        return
    with pytest.raises(BrokeOff, match="finish reason"):
        read_stream(FORM, chat(), [named(*events)])


def test_an_error_in_the_middle_of_a_stream_is_an_error():
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    with pytest.raises(StreamFailed, match="Overloaded") as caught:
        read_stream(FORM, chat(), [named(*STREAM[:8], error)])
    assert caught.value.error == ApiError("Overloaded", "overloaded_error")


@pytest.mark.parametrize("data", [b"data: nonsense\n\n", b"data: [1]\n\n", b'data: {"type"\n\n'])
def test_an_event_that_is_no_event_is_malformed(data):
    with pytest.raises(Malformed):
        read_stream(FORM, chat(), [data])
