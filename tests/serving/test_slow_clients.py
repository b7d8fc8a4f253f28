"""Slow clients, on the virtual clock: each limit cuts at its second, and not before."""

from contextlib import suppress

import pytest
import trio
from serving_kit import GET, App, talking

from callsheet.serving import ServingLimits

LIMITS = ServingLimits(
    header_timeout_s=10,
    body_timeout_s=100,
    min_body_rate=10,
    write_timeout_s=20,
    keep_alive_s=60,
    max_body_bytes=10_000,
)
HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"


async def test_a_connection_that_sends_nothing_is_closed_after_the_idle_time(autojump_clock):
    async with talking(App(), LIMITS) as talk:
        assert await talk.read_all() == b""
    assert talk.ended_at == pytest.approx(60)


async def test_an_idle_connection_is_kept_from_request_to_request(autojump_clock):
    async with talking(App(), LIMITS) as talk:
        for _ in range(5):
            await trio.sleep(59)
            assert (await talk.answer(GET)).startswith(b"HTTP/1.1 200")
        began = trio.current_time()
        assert await talk.read_all() == b""
    assert talk.ended_at == pytest.approx(began + 60)


@pytest.mark.parametrize("every_s", [0, 1], ids=["at once", "byte by byte"])
async def test_half_a_head_has_its_time_from_its_first_byte(every_s, autojump_clock):
    app = App()
    async with talking(app, LIMITS) as talk:
        await trio.sleep(30)
        began = trio.current_time() + every_s
        with pytest.raises(trio.BrokenResourceError) if every_s else trio.CancelScope():
            await talk.send(GET[:20], every_s=every_s)
        received = await talk.read_all()
    assert received.startswith(b"HTTP/1.1 408 \r\n")
    assert b"connection: close" in received
    assert talk.ended_at == pytest.approx(began + 10, abs=LIMITS.linger_s)
    assert app.begun == 0


async def test_a_slow_head_within_its_time_is_answered(autojump_clock):
    async with talking(App(), LIMITS) as talk:
        await talk.send(GET, every_s=0.3)
        assert (await talk.read()).startswith(b"HTTP/1.1 200")
        await talk.stream.aclose()


async def test_half_a_body_is_refused_after_its_time(autojump_clock):
    app = App()
    async with talking(app, LIMITS) as talk:
        await talk.send(HEAD % 100 + b"x" * 50)
        received = await talk.read_all()
    assert received.startswith(b"HTTP/1.1 408 ")
    assert received.endswith(b"the body came too slowly\n")
    assert app.running == 0
    assert talk.ended_at == pytest.approx(10 + 50 / 10, abs=LIMITS.linger_s)


@pytest.mark.parametrize(("every_s", "status"), [(0.09, b"200"), (0.2, b"408")])
async def test_a_body_has_a_least_speed(every_s, status, autojump_clock):
    async with talking(App(), LIMITS) as talk:
        await talk.send(HEAD % 500)

        async def upload():
            for _ in range(500):
                await trio.sleep(every_s)
                await talk.stream.send_all(b"x")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(swallow_broken, upload)
            received = await talk.read()
            await talk.stream.aclose()
    assert received.startswith(b"HTTP/1.1 " + status)


async def test_a_body_has_a_longest_time(autojump_clock):
    async with talking(App(), LIMITS) as talk:
        await talk.send(HEAD % 5000)

        async def upload():
            for _ in range(500):
                await trio.sleep(0.5)
                await talk.stream.send_all(b"x" * 10)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(swallow_broken, upload)
            received = await talk.read()
            assert trio.current_time() == pytest.approx(100, abs=1)
            nursery.cancel_scope.cancel()
        await talk.stream.aclose()
    assert received.startswith(b"HTTP/1.1 408 ")


async def test_the_time_in_which_the_app_does_not_read_is_none_of_the_client(autojump_clock):
    async def app(scope, receive, send):
        await trio.sleep(500)
        body = (await receive())["body"]
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": body})

    async with talking(app, LIMITS) as talk:
        await talk.send(HEAD % 3 + b"abc")
        received = await talk.read()
        assert trio.current_time() == pytest.approx(500)
        received += await talk.read()
        await talk.stream.aclose()
    assert received.startswith(b"HTTP/1.1 200")


async def test_a_long_silent_response_is_no_idle_connection(autojump_clock):
    async with talking(App(), LIMITS) as talk:
        await talk.send(b"GET /wait?s=3000 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await talk.read()).startswith(b"HTTP/1.1 200")
        assert trio.current_time() == pytest.approx(3000)
        await talk.stream.aclose()


async def test_a_body_that_comes_faster_than_it_is_read_waits(autojump_clock):
    taken = []

    async def app(scope, receive, send):
        while True:
            await trio.sleep(1)
            message = await receive()
            taken.append(len(message["body"]))
            if not message["more_body"]:
                break
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})

    limits = ServingLimits()
    async with talking(app, limits) as talk:
        size = 3_000_000
        async with trio.open_nursery() as nursery:
            nursery.start_soon(talk.send, HEAD % size + b"x" * size)
            assert (await talk.read()).startswith(b"HTTP/1.1 200")
        await talk.stream.aclose()
    assert sum(taken) == size
    assert max(taken) < 400_000


async def swallow_broken(work):
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        await work()
