"""Requests that can be encoded, and those that are refused before anything is sent."""

import attrs
import httpx
import pytest
from network import URL, ChunkedBody, call, in_memory, polite

from callsheet.actors.http.head import RequestHead, encode


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({"url": "ftp://me:secret@server/"}, httpx.UnsupportedProtocol),
        ({"url": "http:///path"}, httpx.UnsupportedProtocol),
        ({"headers": [("X", "secret\r\nHost: other")]}, httpx.LocalProtocolError),
        ({"headers": [("X", b"a\x00b")]}, httpx.LocalProtocolError),
        ({"headers": [("X: Y", "1")]}, httpx.LocalProtocolError),
        ({"headers": [("Host", "a"), ("Host", "b")]}, httpx.LocalProtocolError),
        ({"headers": [("Content-Length", "1")]}, httpx.LocalProtocolError),
        ({"headers": [("Content-Length", "+0")]}, httpx.LocalProtocolError),
        ({"headers": [("Transfer-Encoding", "gzip")]}, httpx.LocalProtocolError),
        (
            {"headers": [("Transfer-Encoding", "chunked"), ("Content-Length", "0")]},
            httpx.LocalProtocolError,
        ),
        ({"method": "GET /\r\n"}, httpx.LocalProtocolError),
        ({"method": "CONNECT"}, httpx.LocalProtocolError),
        ({"method": "POST", "stream": ChunkedBody(b"x")}, httpx.LocalProtocolError),
    ],
)
async def test_a_request_that_cannot_be_sent_is_refused_before_anything_is(
    autojump_clock, more, error
):
    async with in_memory(polite) as (transport, network):
        with pytest.raises(error) as info:
            await call(transport, **more)
        assert "secret" not in str(info.value)
        assert network.dialled == []


HEADERS = {"host": "server", "authorization": "Bearer sk-secret", "accept": "*/*"}


def test_a_heading_makes_what_a_request_would_be():
    request_head = RequestHead.of(httpx.Request("POST", "http://server/v1?a=b", headers=HEADERS))
    for body in (b"", b"one", b"two" * 50_000):
        outgoing = request_head.with_body(body, (b"idempotency-key", b"k"))
        headers = HEADERS | {"idempotency-key": "k", "content-length": str(len(body))}
        stream = httpx.ByteStream(body)
        alike = encode(
            httpx.Request("POST", "http://server/v1?a=b", headers=headers, stream=stream)
        )
        assert outgoing == attrs.evolve(alike, length=len(body))
    assert request_head.origin == ("http", "server", 80)


def test_a_heading_has_no_length_of_its_own():
    given = {**HEADERS, "content-length": "7"}
    outgoing = RequestHead.of(httpx.Request("POST", URL, headers=given)).with_body(b"one")
    assert outgoing.data.lower().count(b"content-length") == 1


@pytest.mark.parametrize(
    ("url", "headers", "more", "kind"),
    [
        ("http://server/", {}, b"a\r\nb: c", httpx.LocalProtocolError),
        ("http://server/", {"x": "a\nb"}, b"", httpx.LocalProtocolError),
        ("http://server/", {"a b": "c"}, b"", httpx.LocalProtocolError),
        ("http://server/", {"transfer-encoding": "chunked"}, b"", httpx.LocalProtocolError),
        ("ftp://server/", {}, b"", httpx.UnsupportedProtocol),
        ("http:///", {}, b"", httpx.UnsupportedProtocol),
    ],
)
def test_a_heading_that_is_none(url, headers, more, kind):
    with pytest.raises(kind):
        RequestHead.of(httpx.Request("POST", url, headers=headers)).with_body(b"", (b"key", more))
