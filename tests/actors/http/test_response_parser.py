"""Bytes are parsed to responses: in any chunks, with the same results as h11, within bounds."""

import gc
from itertools import pairwise

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors.http.response_parser import ProtocolError, ResponseParser

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def parsed(pieces, *, method=b"GET", closed=False, most=10_000):
    parser = ResponseParser(most)
    parser.begin(method)
    body = b""
    for piece in pieces:
        parser.feed(piece)
        body += parser.take()
    if closed:
        parser.end()
    return parser, body


def cut(data, places):
    places = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in pairwise(places)]


def as_h11_reads(data, method):
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method=method, target="/", headers=[("Host", "-")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(data)
    connection.receive_data(b"")
    head, body = None, b""
    while type(event := connection.next_event()) is not h11.EndOfMessage:
        if isinstance(event, h11.Response):
            head = event
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
    headers = [(name.lower(), value) for name, value in head.headers.raw_items()]
    return head.status_code, bytes(head.reason), headers, body


names = st.from_regex(rb"X-[A-Za-z0-9]{1,8}", fullmatch=True)
values = st.from_regex(rb"[!-~]([ -~]{0,20}[!-~])?", fullmatch=True)


@st.composite
def answers(draw):
    headers = draw(st.lists(st.tuples(names, values), max_size=4))
    pieces = draw(st.lists(st.binary(min_size=1, max_size=30), max_size=4))
    framing = draw(st.sampled_from(["length", "chunks", "close"]))
    status = draw(st.sampled_from([b"200 OK", b"404 Not Found", b"503 ", b"204 No Content"]))
    if framing == "length":
        body = b"".join(pieces)
        headers = [*headers, (b"Content-Length", b"%d" % len(body))]
    elif framing == "chunks":
        headers = [(b"Transfer-Encoding", b"chunked"), *headers]
        trailer = draw(st.sampled_from([b"", b"X-Trailer: 1\r\n"]))
        body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
        body += b"0\r\n" + trailer + b"\r\n"
    else:
        body = b"".join(pieces)
    if status.startswith(b"204"):
        body = b""
        headers = [one for one in headers if one[0].startswith(b"X-")]
    first = draw(st.sampled_from([b"", b"HTTP/1.1 100 Continue\r\n\r\n"]))
    lines = b"".join(b"%b: %b\r\n" % header for header in headers)
    return first + b"HTTP/1.1 " + status + b"\r\n" + lines + b"\r\n" + body


@given(answers(), st.lists(st.integers(0, 500), max_size=6))
def test_an_answer_is_what_h11_makes_of_it_however_it_is_cut(data, places):
    parser, body = parsed(cut(data, places), closed=True)
    headers = [(name.lower(), value) for name, value in parser.head.headers]
    said = (parser.head.status, parser.head.reason.strip(), headers, body)
    assert parser.is_complete
    assert said == as_h11_reads(data, "GET")


@given(st.binary(max_size=200), st.lists(st.integers(0, 500), max_size=6))
def test_any_bytes_are_an_answer_or_an_error(data, places):
    for start in (b"", b"HTTP/1.1 200 OK\r\n", CHUNKED):
        try:
            parser, _ = parsed(cut(start + data, places), closed=True)
        except ProtocolError:
            continue
        assert parser.is_complete


@given(answers(), st.integers(0, 500))
def test_an_answer_that_is_cut_short_is_an_error_unless_the_end_is_its_end(data, size):
    part = data[: size % len(data)]
    try:
        parser, body = parsed([part], closed=True)
    except ProtocolError:
        return
    assert parser.head is not None
    assert not parser.head.is_framed or parser.keeps_alive
    assert body in data


@pytest.mark.parametrize(
    ("said", "keeps_alive"),
    [
        (OK, True),
        (CHUNKED + b"0\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n", True),
        (OK + b"HTTP/1.1 200 OK", False),
        (OK + OK, False),
        (OK + b"nonsense", False),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\nmore", False),
    ],
)
def test_whether_another_answer_may_follow(said, keeps_alive):
    parser, _ = parsed([said])
    assert parser.is_complete
    assert parser.keeps_alive == keeps_alive


def test_an_unrequested_response_may_arrive_later():
    parser, body = parsed([OK, b"HTTP/1.1 200 OK\r\n"])
    assert (body, parser.is_complete, parser.keeps_alive) == (b"ok", True, False)


def test_the_answer_to_a_head_has_no_body_and_another_may_follow():
    parser, body = parsed([b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"], method=b"HEAD")
    assert (body, parser.is_complete, parser.keeps_alive) == (b"", True, True)
    parser.begin(b"GET")
    parser.feed(OK)
    assert (parser.take(), parser.is_complete, parser.keeps_alive) == (b"ok", True, True)


def test_a_body_behind_the_answer_to_a_head_closes_the_connection():
    parser, body = parsed([OK], method=b"HEAD")
    assert (body, parser.is_complete, parser.keeps_alive) == (b"", True, False)


def test_trailers_are_not_the_headers_of_the_next_answer():
    parser, _ = parsed([CHUNKED + b"0\r\nX-Secret: 1\r\n\r\n"])
    parser.begin(b"GET")
    parser.feed(OK)
    assert parser.head.headers == [(b"Content-Length", b"2")]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", "Expected HTTP/"),
        (b"HTTP/2.0 200 OK\r\n\r\n", "version is HTTP/2.0"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "switch"),
        (b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", "switch"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "transfer encoding is not chunked"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "encoding is not chunked"),
        (b"HTTP/1.1 102 Processing\r\n\r\n" * 101, "101 informational"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20_000, "too long"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: xxxxxxxx\r\n" * 2_000 + b"\r\n", "too long"),
        (CHUNKED + b"1;" + b"x" * 20_000, "too long"),
    ],
)
def test_what_is_refused(said, words):
    with pytest.raises(ProtocolError, match=words):
        parsed([said[:50], said[50:]])


def test_trailers_without_end_are_refused():
    with pytest.raises(ProtocolError, match="too long"):
        parsed([CHUNKED + b"0\r\n", *[b"X-Filler: x\r\n"] * 1_000])


def test_a_parser_that_is_closed_is_freed_without_the_collector():
    gc.collect()
    gc.disable()
    try:
        for _ in range(20):
            parser = ResponseParser(1000)
            parser.begin(b"POST")
            parser.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            assert parser.is_complete
            parser.close()
            parser.close()
            with pytest.raises(ProtocolError, match="is closed"):
                parser.feed(b"HTTP/1.1 200 OK\r\n")
        assert gc.collect() < 20
    finally:
        gc.enable()
