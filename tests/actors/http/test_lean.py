"""The transport: which connection a request uses, and the effect of closing; in memory."""

import gzip

import httpx
import pytest
import trio
from network import OK, URL, answer, answering, call, counts, in_memory, polite, request, silent
from trio.testing import wait_all_tasks_blocked

from callsheet.actors.http.transport import LeanTransport


async def test_httpx_can_use_it(autojump_clock):
    body = gzip.compress(b'{"answer": 42}')
    said = answer(body, headers=[b"Content-Encoding: gzip", b"X-Two: 1", b"X-Two: 2"])
    seen = []
    async with in_memory(answering(said, seen)) as (transport, _):
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


async def test_a_waiter_for_another_origin_gets_the_place(autojump_clock):
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
    async with in_memory(answering(OK, seen)) as (transport, network):
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
