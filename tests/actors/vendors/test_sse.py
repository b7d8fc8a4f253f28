"""Server-sent events do not depend on how their bytes are divided."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors.vendors.sse import EventTooLarge, ServerSentEvent, SseParser


def parse(*pieces, **settings):
    parser = SseParser(**settings)
    return [event for piece in pieces for event in parser.feed(piece)] + parser.end()


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: a\n\ndata: b\n\n", [ServerSentEvent(b"a"), ServerSentEvent(b"b")]),
        (b"data:a\n\ndata:  b\n\n", [ServerSentEvent(b"a"), ServerSentEvent(b" b")]),
        (
            b"event: ping\ndata: {}\n\ndata: x\n\n",
            [ServerSentEvent(b"{}", "ping"), ServerSentEvent(b"x")],
        ),
        (b"data: {}\nevent: ping\n\n", [ServerSentEvent(b"{}", "ping")]),
        (b"data: a\ndata: b\n\n", [ServerSentEvent(b"a\nb")]),
        (b"data\n\ndata:\ndata:\n\n", [ServerSentEvent(b""), ServerSentEvent(b"\n")]),
        (b"data: a\r\n\r\ndata: b\r\r", [ServerSentEvent(b"a"), ServerSentEvent(b"b")]),
        (b"data: a\r\ndata: b\r\n\r\n", [ServerSentEvent(b"a\nb")]),
        (b"event: x\r\ndata: b\r\n\r\n", [ServerSentEvent(b"b", "x")]),
        (b"data: a\r\n\rdata: b\n\r\n", [ServerSentEvent(b"a"), ServerSentEvent(b"b")]),
        (b": a comment\n\n:\n\ndata: a\n\n", [ServerSentEvent(b"a")]),
        (b"id: 1\nretry: 5\nnonsense\nother: x\ndata: a\n\n", [ServerSentEvent(b"a")]),
        (b"event: ping\n\ndata: a\n\n", [ServerSentEvent(b"a")]),
        (b"\xef\xbb\xbfdata: a\n\n", [ServerSentEvent(b"a")]),
        (b"data: \xef\xbb\xbf\n\n", [ServerSentEvent(b"\xef\xbb\xbf")]),
        (b"\n\n\ndata: a\n\n\n\n", [ServerSentEvent(b"a")]),
        (b"data: a\n", [ServerSentEvent(b"a")]),  # ended without an empty line
        (b"data: a", [ServerSentEvent(b"a")]),
        ("event: é\ndata: 日😀\n\n".encode(), [ServerSentEvent("日😀".encode(), "é")]),
        (b"event: \xff\ndata: \xff\n\n", [ServerSentEvent(b"\xff", "\ufffd")]),
        (b"DATA: a\n\n", []),
        (b"event: ping", []),
        (b"", []),
        (b"\xef\xbb", []),
    ],
)
def test_what_a_stream_says(stream, events):
    assert parse(stream) == events
    assert parse(*(bytes([byte]) for byte in stream)) == events


fields = st.sampled_from(
    [b"data: ", b"data:", b"data", b"event: ", b"event:", b":", b"id: 1", b"", b"\xef\xbb\xbf"]
)
values = st.sampled_from([b"", b"x", b" y", b'{"a": 1}', "日😀".encode(), b"\xff", b"a:b"])
ends = st.sampled_from([b"\n", b"\r", b"\r\n", b"\n\n", b"\r\n\r\n", b"\n\r", b""])
streams = st.lists(
    st.builds(lambda *parts: b"".join(parts), fields, values, ends), max_size=12
).map(b"".join)


@given(streams, st.data())
def test_however_the_bytes_are_cut_the_events_are_the_same(stream, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert parse(*pieces) == parse(stream)


@given(streams)
def test_the_parser_follows_the_standard(stream):
    assert parse(stream) == by_the_standard(stream)


def by_the_standard(stream):
    """The standard's algorithm, line by line, applied to the whole text."""
    text = stream.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    events, data, name = [], None, b""
    for line in [*text.split(b"\n"), b""]:
        field, _, value = line.partition(b":")
        value = value[1:] if value.startswith(b" ") else value
        if not line:
            if data is not None:
                events.append(ServerSentEvent(data, name.decode(errors="replace")))
            data, name = None, b""
        elif field == b"data":
            data = value if data is None else data + b"\n" + value
        elif field == b"event":
            name = value
    return events


def test_events_come_as_soon_as_they_are_whole():
    parser = SseParser()
    assert parser.feed(b"data: a\n") == []
    assert parser.feed(b"\ndata: b") == [ServerSentEvent(b"a")]
    assert parser.feed(b"\r\r") == [ServerSentEvent(b"b")]
    assert parser.feed(b"\ndata: c\n\n") == [ServerSentEvent(b"c")]


@pytest.mark.parametrize(
    "stream",
    [
        b"data: " + b"x" * 200 + b"\n\n",
        b"data: " + b"x" * 200,
        b"x" * 200,
        b":" * 200 + b"\n",
        b"data: 0123456789\n" * 20,
        b"event: " + b"x" * 200 + b"\n",
    ],
)
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_an_event_without_end_does_not_fill_memory(stream, size):
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    parser = SseParser(max_event_bytes=100)
    with pytest.raises(EventTooLarge, match="more than 100 bytes"):
        for piece in pieces:
            parser.feed(piece)


def test_many_events_may_be_larger_than_one_may():
    stream = b"data: 0123456789\n\n" * 20
    assert len(parse(stream, max_event_bytes=100)) == 20
