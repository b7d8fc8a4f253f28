"""The transport with faulty servers and clients, in memory and in virtual time."""

import socket

import httpx
import pytest
import trio
from network import OK, ChunkedBody, answer, call, counts, deaf, in_memory, polite, request, silent
from trio.testing import wait_all_tasks_blocked

from callsheet.actors.http.connection import StaleConnection, may_have_run

LIMITS = {"connect": 1.0, "read": 2.0, "write": 3.0, "pool": 4.0}


def says(*pieces, gap=0.0, then=None):
    async def serve(peer):
        await peer.request()
        await peer.send(*pieces, gap=gap)
        if then is not None:
            await trio.sleep(then)

    return serve


async def fails(kind, *handlers, method="GET", settings=None, **more):
    """Return the error of a call that must fail with `kind` and leave no connection."""
    async with in_memory(*handlers, **settings or {}) as (transport, network):
        with pytest.raises(httpx.TransportError) as info:
            await call(transport, method, **more)
        assert type(info.value) is kind, repr(info.value)
        assert counts(transport) == (0, 0, 0)
        assert network.open == 0
    return info.value


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        HEAD,
        HEAD + b"12345",
        CHUNKED + b"5\r\nHel",
        CHUNKED + b"5\r\nHello\r\n",
        CHUNKED + b"0\r\nX-Trailer: 1\r\n",
    ],
)
async def test_an_answer_that_breaks_off(autojump_clock, said):
    error = await fails(httpx.RemoteProtocolError, says(said))
    assert may_have_run(error)


@pytest.mark.parametrize(
    "said",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        CHUNKED + b"many\r\n",
        CHUNKED + b"2\r\nokay",
    ],
)
async def test_an_answer_that_is_not_http(autojump_clock, said):
    error = await fails(httpx.RemoteProtocolError, says(said, then=60))
    assert len(str(error)) < 300


@pytest.mark.parametrize("start", [b"HTTP/1.1 200 OK\r\n", CHUNKED + b"0\r\n"])
async def test_headers_without_end_are_bounded(autojump_clock, start):
    async def endless(peer):
        await peer.request()
        await peer.send(start)
        while True:
            await peer.send(b"X-Filler: " + b"x" * 1000 + b"\r\n")

    error = await fails(httpx.RemoteProtocolError, endless, settings={"max_header_bytes": 5000})
    assert "too long" in str(error)


async def test_informational_answers_without_end_are_bounded(autojump_clock):
    async def endless(peer):
        await peer.request()
        while True:
            await peer.send(b"HTTP/1.1 102 Processing\r\n\r\n", b"", gap=1)

    await fails(httpx.RemoteProtocolError, endless, timeout=LIMITS)


@pytest.mark.parametrize("said", [[HEAD + b"1234567890"], [HEAD, b"1234567890"]])
async def test_a_body_beyond_the_bound_is_refused(autojump_clock, said):
    settings = {"max_body_bytes": 9}
    error = await fails(httpx.RemoteProtocolError, says(*said, gap=1), settings=settings)
    assert "9 bytes" in str(error)
    async with in_memory(says(*said, gap=1), max_body_bytes=10) as (transport, _):
        assert (await call(transport))[1] == b"1234567890"


async def test_a_body_without_end_ends_with_the_callers_patience(autojump_clock):
    async def endless(peer):
        await peer.request()
        await peer.send(CHUNKED)
        while True:
            await peer.send(b"1\r\nx\r\n")
            await trio.sleep(1)

    async with in_memory(endless) as (transport, network):
        with trio.move_on_after(60) as scope:
            await call(transport, timeout=LIMITS)  # each gap is shorter than its timeout
        assert scope.cancelled_caught
        assert counts(transport) == (0, 0, 0)
        assert network.open == 0


@pytest.mark.parametrize(
    ("pieces", "seconds"),
    [([], 2), ([HEAD[:20]], 2), ([HEAD], 2), ([HEAD[:20], HEAD[20:], b"123", b"456"], 6.5)],
)
async def test_a_silence_is_a_read_timeout(autojump_clock, pieces, seconds):
    error = await fails(httpx.ReadTimeout, says(*pieces, gap=1.5, then=60), timeout=LIMITS)
    assert trio.current_time() == pytest.approx(seconds)
    assert may_have_run(error)


async def test_the_read_timeout_begins_when_the_request_was_sent(autojump_clock):
    async with in_memory(polite) as (transport, _):
        body = ChunkedBody(b"1", b"2", b"3", gap=10)
        await call(transport, "POST", content=body, timeout=LIMITS)


@pytest.mark.parametrize("size", [10, 300_000])
async def test_a_server_that_takes_nothing_is_a_write_timeout(autojump_clock, size):
    async def blocked(host, port):
        stream = await network.open_stream(host, port)
        stream.send_all = silent
        return stream

    async with in_memory(lambda peer: peer.gone()) as (transport, network):
        transport._connections._connector._open_stream = blocked
        with pytest.raises(httpx.WriteTimeout):
            await call(transport, "POST", content=b"x" * size, timeout=LIMITS)
        assert trio.current_time() == pytest.approx(3)
        assert counts(transport) == (0, 0, 0)
        assert network.open == 0


async def test_a_connection_that_takes_too_long_is_a_connect_timeout(autojump_clock):
    async def open_stream(host, port):
        await trio.sleep_forever()

    async with in_memory(polite) as (transport, _):
        transport._connections._connector._open_stream = open_stream
        with pytest.raises(httpx.ConnectTimeout) as info:
            await call(transport, timeout=LIMITS)
        assert trio.current_time() == pytest.approx(1)
        assert not may_have_run(info.value)
        assert counts(transport) == (0, 0, 0)


@pytest.mark.parametrize(
    "cause",
    [
        socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
        ConnectionRefusedError(111, "Connection refused"),
        UnicodeError("label too long"),
        trio.BrokenResourceError(),
    ],
)
async def test_no_connection_is_a_connect_error(autojump_clock, cause):
    async def open_stream(host, port):
        await trio.lowlevel.checkpoint()
        raise cause

    async with in_memory(polite, max_connections=1) as (transport, _):
        transport._connections._connector._open_stream = open_stream
        for _ in range(2):
            with pytest.raises(httpx.ConnectError, match="server:80") as info:
                await call(transport, timeout=LIMITS)
            assert info.value.__cause__ is cause
            assert not may_have_run(info.value)
            assert counts(transport) == (0, 0, 0)


async def test_waiting_too_long_for_a_place_is_a_pool_timeout(autojump_clock):
    async def waits(transport):
        with pytest.raises(httpx.PoolTimeout) as info:
            await call(transport, timeout=LIMITS)
        assert not may_have_run(info.value)
        assert trio.current_time() == pytest.approx(4)
        assert counts(transport) == (1, 0, 0)

    async with in_memory(lambda peer: polite(peer, after=10), max_connections=1) as (transport, _):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, transport)
            await wait_all_tasks_blocked()
            nursery.start_soon(waits, transport)
        assert counts(transport) == (1, 1, 0)


@pytest.mark.parametrize("after", [0, 3])
async def test_a_kept_connection_that_ends_without_an_answer_is_stale(autojump_clock, after):
    async def once(peer):
        await peer.request()
        await peer.send(OK)
        await peer.request()
        await trio.sleep(after)

    async with in_memory(once, polite) as (transport, network):
        await call(transport)
        with pytest.raises(StaleConnection) as info:
            await call(transport, "POST", content=b"pay")
        error = info.value
        assert (error.reused, error.whole, error.seconds) == (
            True,
            True,
            pytest.approx(after, abs=0.1),
        )
        assert may_have_run(error)
        assert isinstance(error, httpx.RemoteProtocolError)
        assert counts(transport) == (0, 0, 0)
        assert len(network.dialled) == 1  # nothing is sent twice


async def test_a_kept_connection_that_takes_nothing_any_more_is_stale_and_nothing_has_run(
    autojump_clock,
):
    closed = trio.Event()

    async def once(peer):
        await peer.request()
        await peer.send(OK)
        await closed.wait()

    class Body(httpx.AsyncByteStream):
        async def __aiter__(self):
            yield b"1"
            closed.set()
            await trio.sleep(1)
            yield b"2"

    async with in_memory(once, polite) as (transport, network):
        await call(transport)
        with pytest.raises(StaleConnection) as info:
            await call(transport, "POST", content=Body())
        assert not info.value.whole
        assert not may_have_run(info.value)
        assert network.open == 0


async def test_a_kept_connection_that_breaks_off_in_an_answer_is_not_stale(autojump_clock):
    async def once(peer):
        await peer.request()
        await peer.send(OK)
        await peer.request()
        await peer.send(b"HTTP/1.1 200")

    async with in_memory(once) as (transport, _):
        await call(transport)
        with pytest.raises(httpx.RemoteProtocolError) as info:
            await call(transport)
        assert type(info.value) is httpx.RemoteProtocolError


async def test_a_new_connection_that_takes_nothing_is_a_write_error(autojump_clock):
    async def open_stream(host, port):
        stream = await network.open_stream(host, port)
        await wait_all_tasks_blocked()
        return stream

    async with in_memory(deaf) as (transport, network):
        transport._connections._connector._open_stream = open_stream
        with pytest.raises(httpx.WriteError) as info:
            await call(transport, "POST", content=b"1")
        assert may_have_run(info.value)
        assert isinstance(info.value.__cause__, trio.BrokenResourceError)
        assert counts(transport) == (0, 0, 0)


async def test_nothing_is_received_before_it_is_asked_for(autojump_clock):
    async def endless(peer):
        await peer.request()
        await peer.send(CHUNKED)
        while True:
            await peer.send(b"1\r\nx\r\n")
            await trio.sleep(1)

    async with in_memory(endless) as (transport, network):
        response = await transport.handle_async_request(request())
        await trio.sleep(99.5)
        assert network.streams[0].received < 1000
        assert len(await anext(response.stream) + await anext(response.stream)) >= 100
        await response.aclose()
        assert counts(transport) == (0, 0, 0)


async def test_a_body_read_by_two_is_given_back_once(autojump_clock):
    async with in_memory(says(HEAD, b"12345", b"67890", gap=1)) as (transport, network):
        response = await transport.handle_async_request(request())
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def reader():
                with pytest.raises(httpx.ReadError):
                    await response.stream.read()

            await wait_all_tasks_blocked()
            await response.aclose()
        assert counts(transport) == (0, 0, 0)
        assert network.open == 0


async def test_errors_do_not_have_the_secrets_of_a_request(autojump_clock):
    headers = {"Authorization": "Bearer sk-secret"}
    error = await fails(httpx.RemoteProtocolError, says(b"nonsense\r\n\r\n"), headers=headers)
    assert "secret" not in f"{error} {error.__cause__}"


async def test_an_answer_of_another_status_is_an_answer(autojump_clock):
    async with in_memory(says(answer(b"no", status=b"500 Oops"))) as (transport, _):
        response, body = await call(transport)
        assert (response.status_code, response.reason_phrase, body) == (500, "Oops", b"no")
