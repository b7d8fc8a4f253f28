"""Bodies of requests and responses, and whether the connection can be reused; in memory."""

import httpx
import pytest
import trio
from network import OK, ChunkedBody, answer, answering, call, counts, in_memory, polite


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
    async with in_memory(answering(said)) as (transport, network):
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
    async with in_memory(answering(said)) as (transport, network):
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


async def test_a_response_to_head_has_no_body_whatever_its_headers(autojump_clock):
    async with in_memory(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n")) as (
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
    async with in_memory(answering(OK, seen)) as (transport, _):
        await call(transport, "POST", content=body)
        length = {"Content-Length": str(size)}
        await call(
            transport, "POST", stream=ChunkedBody(*pieces), headers={"Host": "server"} | length
        )
        assert [came for _, came in seen] == [body, body]
        await call(transport, "POST", content=ChunkedBody(*pieces))
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

    body = ChunkedBody(*[b"x" * 10] * 100, gap=1)
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
        response, said = await call(transport, "POST", content=ChunkedBody(*[b"x"] * 9, gap=1))
        assert (response.status_code, said) == (503, b"busy")


@pytest.mark.parametrize("pieces", [[b"123"], [b"123", b"456", b"7"]])
async def test_a_body_of_another_length_than_declared_breaks_the_connection(autojump_clock, pieces):
    headers = {"Host": "server", "Content-Length": "5"}
    body = ChunkedBody(*pieces)
    async with in_memory(polite) as (transport, network):
        with pytest.raises(httpx.LocalProtocolError, match="Content-Length"):
            await call(transport, "POST", stream=body, headers=headers)
        assert body.is_ended
        assert counts(transport) == (0, 0, 0)
        assert network.open == 0


async def test_an_error_in_the_callers_body_comes_out_as_it_is(autojump_clock):
    async with in_memory(polite) as (transport, _):
        with pytest.raises(ZeroDivisionError):
            await call(transport, "POST", content=ChunkedBody(b"1", ZeroDivisionError()))
        assert counts(transport) == (0, 0, 0)
