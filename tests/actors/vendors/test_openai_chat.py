"""The wire format: what is sent, and what the many compatible servers answer."""

import json

import attrs
import pytest
from bodies import chat, chat_body, chunk, read_stream, sse, texts_of
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors import Choice, Request, Usage
from callsheet.actors.vendors.decoding import loads
from callsheet.actors.vendors.format import (
    ApiError,
    BrokeOff,
    DecodedResponse,
    Malformed,
    StreamFailed,
    UnsupportedField,
)
from callsheet.actors.vendors.openai_chat import OpenAIChat
from callsheet.actors.vendors.sse import SseParser

CHAT = OpenAIChat()
decode_error = CHAT.decode_error


def encode(request, *, stream=False):
    return CHAT.encode(request, stream=stream)


def decode(body, **asked):
    return CHAT.decode(body, chat(**asked))


def test_a_request_has_what_was_said_and_nothing_else():
    request = Request.of("Hi", model="m", system="Be brief.", cacheable=True)
    assert encode(request) == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hi"},
        ],
    }


def test_zero_is_a_value_not_an_absence():
    request = Request.of("Hi", model="m", temperature=0)
    body = encode(attrs.evolve(request, seed=0, max_tokens=1))
    assert (body["temperature"], body["seed"], body["max_tokens"]) == (0, 0, 1)


def test_extra_members_go_out_as_they_are_and_last():
    request = attrs.evolve(
        Request.of("Hi", model="m", max_tokens=5), extra_body={"top_p": 0.5, "max_tokens": 7}
    )
    assert encode(request)["top_p"] == 0.5
    assert encode(request)["max_tokens"] == 7


def test_an_answer_as_it_should_be():
    body = chat_body("Hi", model="gpt-4o-2024-08-06")
    body["usage"] |= {
        "prompt_tokens": 1500,
        "prompt_tokens_details": {"cached_tokens": 1024, "cache_write_tokens": 128},
        "completion_tokens_details": {"reasoning_tokens": 3},
    }
    assert decode(body) == DecodedResponse(
        choices=(Choice("Hi", "stop"),),
        model="gpt-4o-2024-08-06",
        usage=Usage(1500, 5, 1024, 128, 3),
        tier="default",
    )


def test_everything_but_the_first_choice_may_be_missing():
    assert decode({"choices": [{"message": {}}]}) == DecodedResponse(choices=(Choice(""),))


@pytest.mark.parametrize(
    "changes",
    [
        {"usage": []},
        {"usage": "none"},
        {"usage": {"prompt_tokens": None, "completion_tokens": "5"}},
        {"usage": {"prompt_tokens": -3, "prompt_tokens_details": [1]}},
        {"usage": {"prompt_tokens_details": None}},
    ],
)
def test_usage_that_makes_no_sense_is_no_usage(changes):
    assert decode(chat_body("Hello", **changes)).usage in (None, Usage())


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        "Hello",
        3,
        {},
        {"choices": None},
        {"choices": []},
        {"choices": {}},
        {"choices": [None]},
        {"choices": ["Hello"]},
        {"choices": [{}]},
        {"choices": [{"message": None}]},
        {"choices": [{"text": "a completion of the older kind"}]},
    ],
)
def test_what_is_not_a_completion_is_malformed_and_says_what_is_missing(body):
    with pytest.raises(Malformed, match=r'not an object|no "choices"|no "message"'):
        decode(body)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (
            {"error": {"message": "No.", "type": "t", "param": None, "code": "c"}},
            ApiError("No.", "t", "c"),
        ),
        ({"error": {"message": "No.", "code": 429}}, ApiError("No.", "", "429")),
        ({"error": "No."}, ApiError("No.")),
        ({"error": {}}, ApiError()),
        ({"error": {"message": None, "type": None}}, ApiError()),
        ({"object": "error", "message": "No.", "code": 40001}, ApiError("No.", "", "40001")),
        ({"detail": "Not found"}, ApiError()),
        ("No.", ApiError("No.")),
        ([{"error": "No."}], ApiError("No.")),
        (None, ApiError()),
        ({}, ApiError()),
    ],
)
def test_an_error_in_any_of_its_shapes(body, error):
    assert decode_error(body) == error


def test_an_error_that_comes_with_200_is_an_error():
    body = {"error": {"message": "Upstream failed", "code": 502}}
    assert decode(body) == ApiError("Upstream failed", "", "502")
    assert isinstance(decode(chat_body("Hello") | {"error": None}), DecodedResponse)


MEMBERS = [
    "choices",
    "message",
    "content",
    "finish_reason",
    "model",
    "usage",
    "prompt_tokens",
    "completion_tokens",
    "prompt_tokens_details",
    "cached_tokens",
    "error",
    "code",
    "type",
]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=10,
)
likely_values = st.recursive(
    json_values,
    lambda inner: st.dictionaries(
        st.sampled_from(MEMBERS),
        inner | st.lists(inner, max_size=2),
        max_size=4,
    ),
    max_leaves=20,
)


@given(likely_values)
def test_whatever_json_comes_it_is_an_answer_an_error_or_malformed(body):
    """A provider's nonsense must not crash the actor that reads it."""
    assert isinstance(decode_error(body), ApiError)
    try:
        found = decode(body)
    except Malformed:
        return
    assert isinstance(found, DecodedResponse | ApiError)


@given(st.builds(dict, usage=st.dictionaries(st.just("prompt_tokens"), json_values)))
def test_whatever_number_of_tokens_is_reported_the_answer_is_read(changes):
    assert decode(chat_body("Hello", **changes)).choices[0].text == "Hello"


@pytest.mark.parametrize("number", ["1e999", "-Infinity", "NaN", "1.5", "true"])
def test_a_number_of_tokens_that_json_can_say_does_not_lose_the_answer(number):
    body = json.dumps(chat_body("Hello")).replace(
        '"prompt_tokens": 10', f'"prompt_tokens": {number}'
    )
    assert decode(loads(body.encode())).choices[0].text == "Hello"


# ------------------------------------------------------------------ several answers


def test_several_answers_come_in_the_order_of_their_indices():
    body = chat_body("a", "b", "c")
    body["choices"].reverse()
    assert [choice.text for choice in decode(body, n=3).choices] == ["a", "b", "c"]


def test_answers_without_indices_keep_their_order():
    body = chat_body("a", "b")
    for choice in body["choices"]:
        del choice["index"]
    assert [choice.text for choice in decode(body, n=2).choices] == ["a", "b"]


@pytest.mark.parametrize(
    "indices", [[0], [0, 0], [0, 2], [1, 2], [-1, 0], [0, 1, 2], ["0", "1"], [True, 0], [0.0, 1]]
)
def test_answers_that_are_not_those_asked_for_are_malformed(indices):
    """L5: never somebody else's answer."""
    body = chat_body(*"abc"[: len(indices)])
    for choice, index in zip(body["choices"], indices, strict=True):
        choice["index"] = index
    with pytest.raises(Malformed, match=r"index|1 items instead of 2"):
        decode(body, n=2)


def test_a_refusal_is_its_text_and_no_answer_of_the_schema():
    body = chat_body(None)
    body["choices"][0]["message"]["refusal"] = "I cannot help with that."
    assert decode(body).choices == (Choice("I cannot help with that.", "content_filter"),)


# ------------------------------------------------------------------ what is sent


def test_everything_a_chat_can_ask_for():
    schema = {"type": "object"}
    request = chat(
        max_tokens=9, n=2, temperature=0.5, top_p=0.9, stop=["END"], seed=1, json_schema=schema
    )
    assert encode(request) == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 9,
        "n": 2,
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": ["END"],
        "seed": 1,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "strict": True, "schema": schema},
        },
    }


def test_the_limit_goes_by_the_name_that_the_server_knows():
    form = OpenAIChat(limit_name="max_completion_tokens")
    body = form.encode(chat(max_tokens=9), stream=False)
    assert body["max_completion_tokens"] == 9
    assert "max_tokens" not in body


def test_usage_is_asked_for_only_in_streams_and_only_where_it_is_known():
    form = OpenAIChat(asks_for_usage=True)
    assert form.encode(chat(), stream=True)["stream_options"] == {"include_usage": True}
    assert "stream_options" not in form.encode(chat(), stream=False)
    assert encode(chat(), stream=True)["stream"] is True
    assert "stream_options" not in encode(chat(), stream=True)


def test_extra_members_of_an_object_join_those_that_are_there():
    form = OpenAIChat(asks_for_usage=True)
    request = chat(extra_body={"stream_options": {"continuous_usage_stats": True}})
    assert form.encode(request, stream=True)["stream_options"] == {
        "include_usage": True,
        "continuous_usage_stats": True,
    }


@pytest.mark.parametrize("name", ["n", "stream"])
def test_extra_members_that_decide_how_the_answer_is_read_are_refused(name):
    with pytest.raises(UnsupportedField, match=name):
        encode(chat(extra_body={name: 2}))


def test_what_a_server_does_not_know_is_refused_by_name():
    form = OpenAIChat(unknown=frozenset({"n"}))
    with pytest.raises(UnsupportedField, match="on this server does not support n;"):
        form.encode(chat(n=2), stream=False)
    assert form.encode(chat(), stream=False)


# ------------------------------------------------------------------ streams


def read(data, **asked):
    return read_stream(CHAT, chat(**asked), [data])


USAGE = {"prompt_tokens": 12, "completion_tokens": 1, "total_tokens": 13}
LAST = chunk(choices=[], usage=USAGE)


def test_a_stream_as_openai_sends_it():
    data = sse(
        chunk("", usage=None, obfuscation="x7"),
        chunk("Hel", usage=None),
        chunk("lo", usage=None),
        chunk(reason="stop", usage=None),
        LAST,
    )
    deltas, answer = read(data)
    assert [delta.text for delta in deltas] == ["Hel", "lo"]
    assert answer == DecodedResponse(
        choices=(Choice("Hello", "stop"),), model="gpt-5.6", usage=Usage(12, 1)
    )


STREAMS = {
    "without [DONE]": sse(chunk("Hello"), chunk(reason="stop"), LAST, done=None),
    "without the last empty line": sse(chunk("Hello"), chunk(reason="stop"), LAST).rstrip(),
    "OpenRouter: comments": b": OPENROUTER PROCESSING\n\n"
    + sse(chunk("Hello"), chunk(reason="stop", native_finish_reason="end_turn"), LAST),
    "vLLM: usage in every chunk": sse(
        chunk("Hel", usage={"prompt_tokens": 12, "completion_tokens": 0}),
        chunk("lo", usage=USAGE),
        chunk(reason="stop", usage=USAGE),
    ),
    "Groq: usage in a member of its own": sse(
        chunk("Hello"), chunk(reason="stop", x_groq={"id": "req_1", "usage": USAGE})
    ),
    "llama.cpp: text in the last chunk, timings": sse(
        chunk("Hel"), chunk("lo", reason="stop"), chunk(choices=[], usage=USAGE, timings={})
    ),
    "Azure: a chunk of filter results without text first": sse(
        {"choices": [], "prompt_filter_results": [{"prompt_index": 0}], "model": ""},
        chunk("Hello"),
        chunk(reason="stop"),
        LAST,
    ),
    "a chunk without choices": sse({"ping": 1}, chunk("Hello"), chunk(reason="stop"), LAST),
    "an empty event, CRLF": sse("", chunk("Hello"), chunk(reason="stop"), LAST).replace(
        b"\n", b"\r\n"
    ),
    "null for what is not there": sse(
        chunk("Hello", usage=None, error=None), chunk(reason="stop"), LAST
    ),
    "a finish reason twice": sse(
        chunk("Hello"), chunk(reason="stop"), chunk(reason="length"), LAST
    ),
}


@pytest.mark.parametrize("data", STREAMS.values(), ids=STREAMS)
def test_streams_of_all_sorts_say_the_same(data):
    deltas, answer = read(data)
    assert texts_of(deltas) == ["Hello"]
    assert answer.choices == (Choice("Hello", "stop"),)
    assert answer.model == "gpt-5.6"
    assert answer.usage == Usage(12, 1)


def test_usage_that_never_comes_is_not_known():
    assert read(sse(chunk("Hello"), chunk(reason="stop")))[1].usage is None


def test_done_is_what_the_server_says_not_what_it_seems():
    decoder = CHAT.stream_decoder(chat())
    for event, is_done in ((chunk("a", reason="stop"), False), (LAST, False), ("[DONE]", True)):
        read_events(decoder, sse(event, done=None))
        assert decoder.done is is_done
    read_events(decoder, b"data: nonsense\n\n")  # what comes after it does not matter
    assert decoder.end().choices[0].text == "a"


def read_events(decoder, data):
    return [delta for event in SseParser().feed(data) for delta in decoder.feed(event)]


def test_answers_that_interleave_are_told_apart():
    data = sse(
        chunk("a", index=1),
        chunk("x", index=0),
        chunk("b", index=1, reason="length"),
        chunk("y", index=0),
        chunk(index=0, reason="stop"),
    )
    deltas, answer = read(data, n=2)
    assert texts_of(deltas, 2) == ["xy", "ab"]
    assert answer.choices == (Choice("xy", "stop"), Choice("ab", "length"))


@pytest.mark.parametrize("index", [-1, 2, "0", True, 0.5, 10**30])
def test_a_piece_of_an_answer_nobody_asked_for_is_malformed(index):
    with pytest.raises(Malformed, match="index"):
        read(sse(chunk("a", index=index)), n=2)


@pytest.mark.parametrize("done", ["[DONE]", None])
@pytest.mark.parametrize(
    "events",
    [[], [chunk("Hel")], [chunk("Hel"), LAST], [chunk("a", reason="stop"), chunk("b", index=1)]],
)
def test_a_stream_that_ends_too_soon_is_no_short_answer(events, done):
    with pytest.raises(BrokeOff, match="finish reason"):
        read(sse(*events, done=done), n=2)


@pytest.mark.parametrize(
    ("event", "error"),
    [
        ({"error": {"message": "No.", "type": "server_error"}}, ApiError("No.", "server_error")),
        (
            chunk(error={"code": 502, "message": "Upstream"}, choices=[]),
            ApiError("Upstream", "", "502"),
        ),
        (
            chunk(reason="error", error={"code": 502, "message": "Upstream"}),
            ApiError("Upstream", "", "502"),
        ),
        ({"error": "No."}, ApiError("No.")),
        ({"object": "error", "message": "No.", "code": 400}, ApiError("No.", "", "400")),
    ],
)
def test_an_error_in_the_middle_of_a_stream_is_an_error(event, error):
    with pytest.raises(StreamFailed) as caught:
        read(sse(chunk("Hel"), event))
    assert caught.value.error == error


def test_an_event_that_is_named_error_is_an_error():
    with pytest.raises(StreamFailed, match="overloaded"):
        read(b'event: error\ndata: {"message": "overloaded"}\n\n')


@pytest.mark.parametrize("event", ["nonsense", "[1]", "3", '{"choices": [', '{"choices": [3]}'])
def test_an_event_that_is_no_chunk_is_malformed(event):
    with pytest.raises(Malformed):
        read(sse(event))


def test_a_refusal_in_pieces():
    data = sse(
        chunk(choices=[{"index": 0, "delta": {"content": None, "refusal": "I can"}}]),
        chunk(choices=[{"index": 0, "delta": {"refusal": "not."}}]),
        chunk(reason="stop"),
    )
    assert read(data)[1].choices == (Choice("I cannot.", "content_filter"),)


def test_usage_is_known_before_the_end():
    decoder = CHAT.stream_decoder(chat())
    read_events(decoder, sse(chunk("a", usage=USAGE), done=None))
    assert decoder.usage == Usage(12, 1)


@given(st.data())
def test_a_stream_means_the_same_however_it_is_cut(data):
    whole = sse(
        chunk("Zoë ", index=1),
        chunk("日本😀", index=0, reason="stop"),
        chunk(index=1, reason="length"),
        LAST,
    )
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=12)))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert read_stream(CHAT, chat(n=2), pieces) == read(whole, n=2)


def test_a_stream_means_the_same_byte_by_byte():
    for whole in STREAMS.values():
        assert read_stream(CHAT, chat(), [bytes([b]) for b in whole]) == read(whole)
