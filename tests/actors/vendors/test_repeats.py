"""Events that repeat the last one with another text read as if each were read whole (L10)."""

import json

import pytest
from bodies import chat
from hypothesis import given, settings
from hypothesis import strategies as st

from callsheet.actors import Delta
from callsheet.actors.vendors import ServerSentEvent, decoding, openai_stream
from callsheet.actors.vendors.anthropic import AnthropicMessages
from callsheet.actors.vendors.format import Malformed, StreamFailed
from callsheet.actors.vendors.openai_chat import OpenAIChat
from callsheet.actors.vendors.repeats import Repeats

FIRST = ServerSentEvent(b'{"id": 1, "content": "a \\"b\\"", "more": null}')


def after_first():
    repeats = Repeats()
    assert repeats.feed(FIRST) is None
    repeats.expect(FIRST, "content", lambda text: Delta(text) if text else None)
    return repeats


@pytest.mark.parametrize("text", ["", "c", 'a "b"', "\\", "\u00e9\n\U0001f600", '", "more": "'])
def test_an_event_with_another_text_is_a_repeat(text):
    repeats = after_first()
    for ascii_only in (True, False):
        written = json.dumps({"id": 1, "content": text, "more": None}, ensure_ascii=ascii_only)
        deltas = repeats.feed(ServerSentEvent(written.encode()))
        assert list(deltas) == ([Delta(text)] if text else [])


OTHERS = {
    "another member": (b'{"id": 2, "content": "c", "more": null}', ""),
    "another end": (b'{"id": 1, "content": "c", "more": 1}', ""),
    "another name": (b'{"id": 1, "content": "c", "more": null}', "error"),
    "no text": (b'{"id": 1, "content": 5, "more": null}', ""),
    "null": (b'{"id": 1, "content": null, "more": null}', ""),
    "one member more": (b'{"id": 1, "content": "c", "x": "d", "more": null}', ""),
    "cut off": (b'{"id": 1, "content": "c\\", "more": null}', ""),
    "shorter than both ends": (b'{"id": 1, "content": , "more": null}', ""),
    "ends overlap": (b'{"id": 1, "content": null}', ""),
    "half a surrogate pair": (b'{"id": 1, "content": "\\ud800", "more": null}', ""),
}


@pytest.mark.parametrize(("data", "name"), OTHERS.values(), ids=OTHERS)
def test_any_other_event_is_none_and_ends_the_repeats(data, name):
    repeats = after_first()
    assert repeats.feed(ServerSentEvent(data, name)) is None
    assert repeats.feed(FIRST) is None


def test_an_event_with_two_such_members_is_not_repeated():
    repeats = Repeats()
    twice = ServerSentEvent(b'{"content": "a", "of": {"content": "a"}}')
    repeats.expect(twice, "content", Delta)
    assert repeats.feed(twice) is None


@pytest.mark.parametrize(
    ("padding", "is_repeat"), [("x7", True), ("", True), ('x","a":"b', False), ("\\u0041", False)]
)
def test_the_padding_of_a_chunk_is_no_difference(padding, is_repeat, monkeypatch):
    read_whole = []

    def read_event(event):
        read_whole.append(event)
        return decoding.read_event(event)

    monkeypatch.setattr(openai_stream, "read_event", read_event)
    decoder = OpenAIChat().stream_decoder(chat())
    for text, random in (("a", "abc"), ("b", padding)):
        choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
        start = json.dumps({"choices": [choice]}, separators=(",", ":"))[:-1]
        data = f'{start},"obfuscation":"{random}"}}'.encode()
        assert list(decoder.feed(ServerSentEvent(data))) == [Delta(text)]
    assert len(read_whole) == (1 if is_repeat else 2)


def openai_chunks():
    choice = st.fixed_dictionaries(
        {
            "index": st.sampled_from([0, 1]),
            "delta": st.sampled_from(
                [{"content": text} for text in ("a", "b", "")]
                + [{"role": "assistant", "content": "c"}, {"content": "d", "refusal": "e"}, {}]
            ),
        },
        optional={
            "finish_reason": st.sampled_from([None, "stop"]),
            "logprobs": st.sampled_from([None, {"content": [{"token": "a", "logprob": -1}]}]),
        },
    )
    usage = st.sampled_from([None, {"prompt_tokens": 1, "completion_tokens": 2}])
    more = {"usage": usage, "system_fingerprint": st.sampled_from(["x", "y"])}
    return st.fixed_dictionaries(
        {"choices": st.lists(choice, max_size=2), "content": st.just("other")} | more
    ) | st.fixed_dictionaries({"choices": st.lists(choice, min_size=1, max_size=1)} | more)


def anthropic_events():
    delta = st.sampled_from(
        [{"type": "text_delta", "text": text} for text in ("a", "b", "")]
        + [{"type": "thinking_delta", "thinking": "c"}, {"type": "text_delta", "text": 5}]
    )
    return st.fixed_dictionaries(
        {"type": st.just("content_block_delta"), "delta": delta},
        optional={"index": st.sampled_from([0, 1, None])},
    ) | st.just({"type": "message_delta", "delta": {"stop_reason": "end_turn"}})


def read(decoder, events):
    """Return all that comes from a decoder: deltas, usage, and response or error."""
    deltas = []
    try:
        for event in events:
            deltas += [list(decoder.feed(event))]
        answer = decoder.end()
    except (Malformed, StreamFailed) as error:
        return deltas, decoder.usage, str(error)
    return deltas, decoder.usage, answer, answer.body


@pytest.mark.slow
@pytest.mark.parametrize(
    ("form", "events"),
    [(OpenAIChat(), openai_chunks()), (AnthropicMessages(), anthropic_events())],
    ids=["OpenAI's chats", "Anthropic's messages"],
)
@settings(max_examples=2 * settings.default.max_examples, deadline=None)
@given(data=st.data())
def test_repeats_change_nothing(form, events, data):
    drawn = data.draw(st.lists(events, min_size=1, max_size=8))
    times = data.draw(st.lists(st.integers(1, 3), min_size=len(drawn), max_size=len(drawn)))
    stream = [
        ServerSentEvent(json.dumps(one).encode())
        for one, count in zip(drawn, times, strict=True)
        for _ in range(count)
    ]
    request = chat(n=data.draw(st.integers(1, 2))) if isinstance(form, OpenAIChat) else chat()
    decoder = form.stream_decoder(request)
    plain = form.stream_decoder(request)
    plain._repeats.expect = lambda *_: None  # each event is read whole
    assert read(decoder, stream) == read(plain, stream)
