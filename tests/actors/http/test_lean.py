"""What the transport does when everybody behaves; in memory, in virtual time."""

import gzip

import attrs
import httpx
import pytest
import trio
from network import (
    OK,
    URL,
    Pieces,
    answer,
    call,
    counts,
    in_memory,
    polite,
    request,
    silent,
)
from trio.testing import wait_all_tasks_blocked

from callsheet.actors.http.head import RequestHead, encode
from callsheet.actors.http.transport import LeanTransport


def server(said, seen=None):
    """A server that answers everything with the same bytes."""

    async def serve(peer):
        while (came := await peer.request()) is not None:
            if seen is not None:
                seen.append(came)
            await peer.send(*([said] if isinstance(said, bytes) else said))

    return serve


async def test_httpx_can_use_it(autojump_clock):
    body = gzip.compress(b'{"answer": 42}')
    said = answer(body, headers=[b"Content-Encoding: gzip", b"X-Two: 1", b"X-Two: 2"])
    seen = []
    async with in_memory(server(said, seen)) as (transport, _):
        client = httpx.AsyncClient(transport=transport)
        response = await client.post(f"{URL}path?q=1", json={"question": 1})
        assert response.json() == {"answer": 42}
        assert response.headers.get_list("x-two") == ["1", "2"]
        assert (response.http_version, response.reason_phrase) == ("HTTP/1.1", "OK")
        head, body = seen[0]
        assert head.startswith(b"POST /path?q=1 HTTP/1.1\r\nHost: server\r\n")
        assert body == b'{"question":1}'
        assert counts(transport) == (1, 1, 0)


async def test_the_connection_that_was_used_last_is_used_first(autojump_clock):
    served = []

    def numbered(number):
        async def serve(peer):
            while await peer.request() is not None:
                served.append(number)
                await trio.sleep(number)
                await peer.send(OK)

        return serve

    async with in_memory(*map(numbered, [1, 2, 3]), max_idle_s=60) as (transport, _):
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(call, transport)
                await wait_all_tasks_blocked()
        assert counts(transport) == (3, 3, 0)
        for _ in range(2):
            await call(transport)
        assert served == [1, 2, 3, 3, 3]
        assert repr(transport) == "<LeanTransport 3 open, 3 idle, 0 waiting>"
        now = transport.statistics()
        assert (now.opened, now.reused, now.in_use) == (3, 2, 0)


async def test_a_connection_that_was_idle_too_long_is_not_used(autojump_clock):
    async with in_memory(polite, max_idle_s=5) as (transport, network):
        await call(transport)
        await trio.sleep(4.9)
        await call(transport)
        assert len(network.dialled) == 1
        await trio.sleep(5.1)
        await call(transport)
        assert len(network.dialled) == 2
        assert network.open == 1


async def test_a_connection_that_the_server_closed_meanwhile_is_not_used(autojump_clock):
    async def once(peer):
        await peer.request()
        await peer.send(OK)

    async with in_memory(once) as (transport, network):
        for n in range(1, 4):
            await call(transport)
            await wait_all_tasks_blocked()
            assert len(network.dialled) == n
            assert counts(transport) == (1, 1, 0)
        assert network.open == 1


async def test_a_connection_on_which_something_came_unasked_is_not_used(autojump_clock):
    async def talks(peer):
        while await peer.request() is not None:
            await peer.send(OK)
            await trio.sleep(1)
            await peer.send(OK)

    async with in_memory(talks, polite) as (transport, network):
        await call(transport)
        await trio.sleep(2)
        await call(transport)
        assert len(network.dialled) == 2


async def test_more_requests_than_connections_wait_in_the_order_they_came(autojump_clock):
    done = []

    async def numbered(transport, number):
        await call(transport)
        done.append(number)

    async with in_memory(lambda peer: polite(peer, after=1), max_connections=1) as (transport, net):
        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(numbered, transport, number)
                await wait_all_tasks_blocked()
            assert counts(transport) == (1, 0, 4)
        assert done == list(range(5))
        assert trio.current_time() == pytest.approx(5, abs=0.1)
        assert len(net.dialled) == 1


async def test_an_idle_connection_makes_place_for_another_origin(autojump_clock):
    async with in_memory(polite, max_connections=2) as (transport, network):
        for host in ["a", "b", "c", "b", "c", "a"]:
            await call(transport, url=f"http://{host}:81/")
            assert network.open <= 2
        assert network.dialled == [(host, 81) for host in "abca"]


async def test_whoever_waits_for_another_origin_gets_the_place(autojump_clock):
    async with in_memory(lambda peer: polite(peer, after=1), max_connections=1) as (transport, net):
        async with trio.open_nursery() as nursery:
            for host in "aba":
                nursery.start_soon(call, transport, "GET", f"http://{host}/")
                await wait_all_tasks_blocked()
        assert [host for host, _ in net.dialled] == ["a", "b", "a"]


async def test_a_response_that_is_not_read_keeps_its_connection_until_it_is_closed(autojump_clock):
    async def slow(peer):
        while await peer.request() is not None:
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no", b"k", gap=5)

    async with in_memory(slow) as (transport, network):
        response = await transport.handle_async_request(request())
        assert counts(transport) == (1, 0, 0)
        await response.aclose()
        await response.aclose()
        assert counts(transport) == (0, 0, 0)
        assert network.open == 0
        with pytest.raises(httpx.StreamClosed):
            await response.stream.read()
        assert (await call(transport))[1] == b"ok"


@pytest.mark.parametrize(
    ("said", "body"),
    [
        ([b"HTTP/1.1 204 No Content\r\n\r\n"], b""),
        ([b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"], b""),
        (
            [b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", OK],
            b"ok",
        ),
        ([b"HTTP/1.1 102 Processing\r\n\r\n" + OK], b"ok"),
        (
            [
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nHel",
                b"lo\r\n1\r\n!\r\n",
                b"0\r\nX-Trailer: 1\r\n\r\n",
            ],
            b"Hello!",
        ),
        ([b"HTTP/1.1 200 \r\ncontent-length:2\r\n\r\nok"], b"ok"),
        ([b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok"], b"ok"),
        (
            [b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>"],
            b"<html>",
        ),
        ([bytes([byte]) for byte in OK], b"ok"),
    ],
)
async def test_answers_after_which_the_connection_is_kept(autojump_clock, said, body):
    async with in_memory(server(said)) as (transport, network):
        for _ in range(3):
            assert (await call(transport))[1] == body
            assert counts(transport) == (1, 1, 0)
        assert len(network.dialled) == 1


@pytest.mark.parametrize(
    ("said", "body"),
    [
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", b"ok"),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", b"ok"),
        (OK + b"and more", b"ok"),
    ],
)
async def test_answers_after_which_the_connection_is_closed(autojump_clock, said, body):
    async with in_memory(server(said)) as (transport, network):
        for _ in range(2):
            assert (await call(transport))[1] == body
            assert counts(transport) == (0, 0, 0)
        assert len(network.dialled) == 2
        assert network.open == 0


async def test_a_body_without_a_length_ends_with_the_connection(autojump_clock):
    async def serve(peer):
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\nHel", b"lo", gap=1)

    async with in_memory(serve) as (transport, _):
        assert (await call(transport))[1] == b"Hello"
        assert counts(transport) == (0, 0, 0)


async def test_head_has_no_body_whatever_it_says(autojump_clock):
    async with in_memory(server(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n")) as (
        transport,
        _,
    ):
        for _ in range(2):
            response, body = await call(transport, "HEAD")
            assert (response.headers["content-length"], body) == ("50", b"")
            assert counts(transport) == (1, 1, 0)


async def test_a_request_may_ask_for_the_connection_to_be_closed(autojump_clock):
    async with in_memory(polite) as (transport, network):
        await call(transport, headers={"Connection": "close"})
        assert counts(transport) == (0, 0, 0)
        assert network.open == 0


@pytest.mark.parametrize("size", [0, 10, 65_536, 300_000])
async def test_bodies_in_memory_and_in_pieces_arrive_whole(autojump_clock, size):
    body = bytes(n % 251 for n in range(size))
    third = size // 3
    pieces = [body[:third], b"", body[third : 2 * third], body[2 * third :]]
    seen = []
    async with in_memory(server(OK, seen)) as (transport, _):
        await call(transport, "POST", content=body)
        length = {"Content-Length": str(size)}
        await call(transport, "POST", stream=Pieces(*pieces), headers={"Host": "server"} | length)
        assert [came for _, came in seen] == [body, body]
        await call(transport, "POST", content=Pieces(*pieces))
        assert dechunk(seen[2][1]) == body
        assert counts(transport) == (1, 1, 0)


def dechunk(data):
    body = b""
    while True:
        size, _, data = data.partition(b"\r\n")
        size = int(size, 16)
        if not size:
            return body
        body, data = body + data[:size], data[size + 2 :]


async def test_an_answer_may_come_before_the_whole_request_was_sent(autojump_clock):
    async def refuses(peer):
        await peer._until(b"\r\n\r\n")
        await peer.send(answer(b"too large", status=b"413 Content Too Large"))
        await peer.gone()

    body = Pieces(*[b"x" * 10] * 100, gap=1)
    async with in_memory(refuses) as (transport, network):
        response, said = await call(transport, "POST", content=body)
        assert (response.status_code, said) == (413, b"too large")
        assert trio.current_time() < 3
        assert counts(transport) == (0, 0, 0)
        assert network.open == 0
        assert body.is_ended


async def test_an_answer_may_come_from_a_server_that_closes_before_it_has_read_the_request(
    autojump_clock,
):
    async def refuses(peer):
        await peer.send(answer(b"busy", status=b"503 Service Unavailable"))

    async with in_memory(refuses) as (transport, _):
        response, said = await call(transport, "POST", content=Pieces(*[b"x"] * 9, gap=1))
        assert (response.status_code, said) == (503, b"busy")


async def test_closing_the_transport_fails_what_is_under_way_and_what_waits(autojump_clock):
    failed = []

    async def fails(transport):
        with pytest.raises(httpx.TransportError) as info:
            await call(transport)
        failed.append(type(info.value))

    async with in_memory(silent, max_connections=1) as (transport, network):
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(fails, transport)
                await wait_all_tasks_blocked()
            await transport.aclose()
        assert sorted(kind.__name__ for kind in failed) == ["ConnectError", "ReadError"]
        with pytest.raises(httpx.ConnectError, match="closed"):
            await call(transport)
        assert len(network.dialled) == 1


async def test_closing_the_transport_while_a_connection_changes_hands(autojump_clock):
    seen = []

    async def fails(transport):
        with pytest.raises(httpx.ConnectError, match="closed"):
            await call(transport, "POST")

    async def two_parts(peer):
        while (came := await peer.request()) is not None:
            seen.append(came)
            await peer.send(OK[:-1], OK[-1:], gap=1)

    async with in_memory(two_parts, max_connections=1) as (transport, _):
        response = await transport.handle_async_request(request())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fails, transport)
            await wait_all_tasks_blocked()
            await response.stream.read()
            await transport.aclose()
        assert b"POST" not in b"".join(head for head, _ in seen)


async def test_closing_the_transport_while_a_connection_is_opened(autojump_clock):
    async def fails(transport):
        with pytest.raises(httpx.ConnectError, match="closed"):
            await call(transport)

    async def slowly(host, port):
        stream = await network.open_stream(host, port)
        await trio.sleep(1)
        return stream

    seen = []
    async with in_memory(server(OK, seen)) as (transport, network):
        transport._connections._connector._open_stream = slowly
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fails, transport)
            await wait_all_tasks_blocked()
            await transport.aclose()
        assert counts(transport) == (0, 0, 0)
        assert seen == []


@pytest.mark.parametrize(
    "bad",
    [
        {"max_connections": 0},
        {"max_idle_s": -1},
        {"max_header_bytes": 0},
        {"max_body_bytes": -1},
        {"verify": "cert.pem"},
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        LeanTransport(**bad)


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
        ({"method": "POST", "stream": Pieces(b"x")}, httpx.LocalProtocolError),
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


@pytest.mark.parametrize("pieces", [[b"123"], [b"123", b"456", b"7"]])
async def test_a_body_that_is_not_as_long_as_it_says_breaks_the_connection(autojump_clock, pieces):
    headers = {"Host": "server", "Content-Length": "5"}
    body = Pieces(*pieces)
    async with in_memory(polite) as (transport, network):
        with pytest.raises(httpx.LocalProtocolError, match="Content-Length"):
            await call(transport, "POST", stream=body, headers=headers)
        assert body.is_ended
        assert counts(transport) == (0, 0, 0)
        assert network.open == 0


async def test_an_error_in_the_callers_body_comes_out_as_it_is(autojump_clock):
    async with in_memory(polite) as (transport, _):
        with pytest.raises(ZeroDivisionError):
            await call(transport, "POST", content=Pieces(b"1", ZeroDivisionError()))
        assert counts(transport) == (0, 0, 0)


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
