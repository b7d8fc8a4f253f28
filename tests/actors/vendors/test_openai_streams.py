"""OpenAI's streams: any division into chunks and events decodes to the same response."""

import pytest
from bodies import chat, chunk, read_stream, sse, texts_of
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors import Choice, Usage
from callsheet.actors.vendors.format import (
    ApiError,
    BrokeOff,
    DecodedResponse,
    Malformed,
    StreamFailed,
)
from callsheet.actors.vendors.openai_chat import OpenAIChat
from callsheet.actors.vendors.sse import SseParser

CHAT = OpenAIChat()
decode_error = CHAT.decode_error


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
def test_all_kinds_of_streams_decode_to_the_same_response(data):
    deltas, answer = read(data)
    assert texts_of(deltas) == ["Hello"]
    assert answer.choices == (Choice("Hello", "stop"),)
    assert answer.model == "gpt-5.6"
    assert answer.usage == Usage(12, 1)


def test_usage_that_never_comes_is_not_known():
    assert read(sse(chunk("Hello"), chunk(reason="stop")))[1].usage is None


def test_done_is_what_the_server_reports():
    decoder = CHAT.stream_decoder(chat())
    for event, is_done in ((chunk("a", reason="stop"), False), (LAST, False), ("[DONE]", True)):
        read_events(decoder, sse(event, done=None))
        assert decoder.done is is_done
    read_events(decoder, b"data: nonsense\n\n")  # what comes after it does not matter
    assert decoder.end().choices[0].text == "a"


def read_events(decoder, data):
    return [delta for event in SseParser().feed(data) for delta in decoder.feed(event)]


def test_interleaved_choices_are_separated():
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


@pytest.mark.parametrize("index", [-1, 3, "x", True, 0.5, 10**30])
def test_a_piece_of_an_unrequested_choice_is_malformed(index):
    with pytest.raises(Malformed, match="index"):
        read(sse(chunk("a", index=index)), n=2)


HALF = [chunk("a", reason="stop"), chunk("b", index=1)]


@pytest.mark.parametrize(
    ("events", "done"),
    [
        ([], None),
        ([chunk("Hel")], None),
        ([chunk("Hel"), chunk("x", index=1), LAST], None),
        (HALF, None),
        (HALF, "[DONE]"),
        (HALF[:1], "[DONE]"),
    ],
)
def test_a_stream_that_ends_too_soon_is_no_short_answer(events, done):
    with pytest.raises(BrokeOff, match="finish reason"):
        read(sse(*events, done=done), n=2)


def test_a_marked_end_without_a_finish_reason_is_an_end():
    """L11: some servers mark the end, but never send a finish reason."""
    assert read(sse(chunk("Hel"), chunk("lo"), LAST))[1].choices == (Choice("Hello"),)
    for events in ([], [LAST]):
        with pytest.raises(Malformed, match="choices"):
            read(sse(*events))


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
    assert read(data)[1].choices == (Choice("", "content_filter", refusal="I cannot."),)


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
