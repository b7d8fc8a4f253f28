"""Requests that are too large, malformed, early or cut off: an answer, and nothing that is left."""

import logging
import random

import pytest
import trio
from hypothesis import example, given
from hypothesis import strategies as st
from serving_kit import GET, App, talking
from trio.testing import MockClock

from callsheet.serving import ServingLimits, TrustedProxies
from callsheet.serving.connection import Service
from callsheet.serving.protocols import ServerConfig

LIMITS = ServingLimits(max_body_bytes=1000, max_header_bytes=2000, linger_s=1)
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"


async def answer(data, app=None, limits=LIMITS):
    """Return what comes for the bytes of a client that then waits for the end."""
    async with talking(app or App(), limits) as talk:
        await talk.send(data)
        return await talk.read_all()


def status(received):
    return int(received.split(b" ")[1]) if received else None


@pytest.mark.parametrize("size", [1000, 1001])
@pytest.mark.parametrize("form", ["length", "chunked", "chunks of one byte", "no end"])
async def test_a_body_is_bounded(form, size, autojump_clock):
    body = b"x" * size
    data = {
        "length": b"Content-Length: %d\r\n\r\n%b" % (size, body),
        "chunked": b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (size, body),
        "chunks of one byte": b"Transfer-Encoding: chunked\r\n\r\n"
        + b"1\r\nx\r\n" * size
        + b"0\r\n\r\n",
        "no end": b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (size, body),
    }[form]
    received = await answer(POST + data)
    if size > 1000:
        assert status(received) == 413
        assert received.endswith(b"the body is larger than 1000 bytes\n")
        assert b"connection: close" in received
    else:
        assert status(received) == (408 if form == "no end" else 200)


@pytest.mark.parametrize("length", [b"1001", b"9" * 300])
async def test_a_body_that_says_it_is_too_large_is_not_waited_for(length, autojump_clock):
    app = App()
    received = await answer(POST + b"Content-Length: %b\r\n\r\n" % length, app)
    assert status(received) in (400, 413)
    assert (app.begun, trio.current_time() <= LIMITS.linger_s) == (0, True)


async def test_an_answer_before_the_end_of_a_body_does_not_hang(autojump_clock):
    """Hypercorn's own worker waits for ever: the app sends, and its body waits for the app."""
    body = b"".join(b"1000\r\n%b\r\n" % (b"x" * 4096) for _ in range(100))
    data = b"POST /unread HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + body
    received = await answer(data, limits=ServingLimits(linger_s=1))
    assert status(received) == 200
    assert received.endswith(b"not read")


@pytest.mark.parametrize("size", [1900, 2100, 70_000, 300_000])
@pytest.mark.parametrize("where", ["value", "path", "names"])
async def test_a_head_is_bounded_however_it_comes(where, size, autojump_clock):
    data = {
        "value": b"GET / HTTP/1.1\r\nHost: x\r\nA: %b\r\n\r\n" % (b"a" * (size - 30)),
        "path": b"GET /?%b HTTP/1.1\r\nHost: x\r\n\r\n" % (b"a" * (size - 30)),
        "names": b"GET / HTTP/1.1\r\nHost: x\r\n%b\r\n" % (b"abcd: e\r\n" * (size // 9)),
    }[where]
    assert status(await answer(data)) in ((200, None) if size < 2000 else (431,))


@pytest.mark.parametrize(
    "data",
    [
        bytes(100),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        POST + b"Content-Length: -1\r\n\r\n",
        POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\na",
        POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: gzip\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\nZ\r\n",
    ],
)
async def test_what_is_no_request_is_refused(data, autojump_clock):
    assert status(await answer(data)) in (400, 501, 505)


async def test_a_web_socket_is_refused(autojump_clock):
    upgrade = (
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: %b\r\n\r\n"
    )
    assert status(await answer(upgrade % b"13")) == 403
    assert status(await answer(upgrade % b"1")) == 400


async def test_an_upgrade_to_http2_is_ignored(autojump_clock):
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: %b\r\n\r\n"
    for value in (b"AAMAAABkAAQAAP__", b"garbage!"):
        received = await answer(GET[:-2] + upgrade % value)
        assert status(received) == 200


async def test_a_continue_comes_before_a_body(autojump_clock):
    async with talking(App()) as talk:
        await talk.send(POST + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        assert (await talk.read()).startswith(b"HTTP/1.1 100 ")
        assert status(await talk.answer(b"abc")) == 200
        await talk.stream.aclose()
    large = POST + b"Content-Length: 1001\r\nExpect: 100-continue\r\n\r\n"
    assert status(await answer(large)) == 413  # and no more is asked for


# ------------------------------------------------------------------------------------- pipelining


async def test_requests_that_come_early_are_answered_in_their_order(autojump_clock):
    app = App()
    async with talking(app) as talk:
        await talk.send(b"GET /large?n=3 HTTP/1.1\r\nHost: x\r\n\r\n" * 50 + GET)
        received = b""
        while not received.endswith(b"}"):
            received += await talk.read()
        await talk.stream.aclose()
    assert received.count(b"HTTP/1.1 200") == app.begun == 51


async def test_a_client_that_has_sent_its_next_request_is_missed_at_once(autojump_clock):
    """R4; Hypercorn's own worker reads nothing while a request waits for its turn."""
    app = App()
    wait = b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n"
    for more in (b"", wait, GET * 100, b"garbage"):
        async with talking(app) as talk:
            await talk.send(wait + more)
            await trio.sleep(3)
            assert app.running == 1
            now = trio.current_time()
            await talk.stream.aclose()
        assert app.gone.pop() == now
        assert (app.running, talk.ended_at) == (0, now)


async def test_clients_that_leave_at_any_moment_leave_nothing(autojump_clock):
    app = App()
    chance = random.Random(4711)
    wait = b"POST /wait?s=5 HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n123456789"
    kinds = [[wait], [wait[:20], wait[20:]], [wait + GET], [wait[:-3]]]
    chosen = [chance.choice(kinds) for _ in range(100)]

    async def leave(parts):
        async with talking(app) as talk:
            for part in parts:
                await talk.send(part)
                await trio.sleep(chance.uniform(0, 4))
            now = trio.current_time()
            await talk.stream.aclose()
        assert talk.ended_at == now

    async with trio.open_nursery() as nursery:
        for parts in chosen:
            nursery.start_soon(leave, parts)
    assert app.running == 0
    assert len(app.gone) == sum(parts != kinds[-1] for parts in chosen)


# ------------------------------------------------------------------------------- header injection


@pytest.mark.parametrize("value", ["a%0d%0aSet-Cookie:%20b=c", "a%0ab", "a%0db", "a%00b", "a%7fb"])
async def test_a_header_with_a_line_break_is_never_sent(value, autojump_clock, caplog):
    request = b"GET /headers?value=%b HTTP/1.1\r\nHost: x\r\n\r\n" % value.encode()
    received = await answer(request, limits=ServingLimits(keep_alive_s=1))
    assert status(received) == 500
    assert b"cookie" not in received.lower()
    assert "has a control character" in caplog.text


async def test_a_line_break_in_a_path_reaches_no_log_and_no_header(autojump_clock, caplog):
    async def app(scope, receive, send):
        assert scope["path"] == "/a\r\nb: c"
        raise ValueError("broken")

    data = b"GET /a%0d%0ab:%20c HTTP/1.1\r\nHost: x\r\n\r\n"
    assert status(await answer(data, app, ServingLimits(keep_alive_s=1))) == 500
    assert "at GET '/a\\r\\nb: c'" in caplog.text
    assert "\r" not in caplog.records[0].getMessage()


async def test_the_usual_headers_are_there_once(autojump_clock):
    received = await answer(GET, limits=ServingLimits(keep_alive_s=1))
    for name in (b"date", b"server", b"content-length"):
        assert received.lower().count(b"\r\n" + name + b": ") == 1


# ------------------------------------------------------------------------------- errors of the app


async def test_an_error_of_the_app_is_a_500(autojump_clock, caplog):
    crash = b"GET /crash HTTP/1.1\r\nHost: x\r\n\r\n"
    assert status(await answer(crash, limits=ServingLimits(keep_alive_s=1))) == 500
    assert "the app failed at GET '/crash'" in caplog.text


async def test_a_response_that_fails_half_way_has_no_end(autojump_clock, caplog):
    received = await answer(b"GET /crash?stream HTTP/1.1\r\nHost: x\r\n\r\n")
    assert received.endswith(b"\r\n5\r\nbegun\r\n")
    assert len(caplog.records) == 1


@pytest.mark.parametrize("length", [3, 50])
async def test_a_response_of_another_length_than_it_says_is_cut_off(length, autojump_clock, caplog):
    async def app(scope, receive, send):
        headers = [(b"content-length", b"%d" % length)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"x" * 10})

    received = await answer(GET, app)
    assert received.split(b"\r\n\r\n")[1] in (b"", b"x" * 10)
    assert len(caplog.records) == 1
    assert "declared Content-Length" in caplog.text


async def test_a_client_that_repeats_what_breaks_its_connection_fills_no_log(caplog):
    service = Service(App(), LIMITS, TrustedProxies(), ServerConfig(max_header_bytes=1000))
    for error in (KeyError(1), KeyError(2), ValueError(3)):
        service.report(ExceptionGroup("", [ExceptionGroup("", [error])]), ("10.0.0.9", 1))
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert "a connection of ('10.0.0.9', 1) has failed: KeyError(1)" in caplog.text


# --------------------------------------------------------------------------------------- any bytes

TOKENS = (
    *(b"GET ", b"POST ", b"/", b"/wait?s=1", b"/unread", b" HTTP/1.1\r\n", b"Host: x\r\n", b"\r\n"),
    *(b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"5\r\nabcde\r\n", b"0\r\n\r\n"),
    *(b"Connection: close\r\n", b"Expect: 100-continue\r\n", b"Upgrade: h2c\r\n", b"\x00", b"\xff"),
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]),  # settings
    bytes([0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 8]),  # a reset
)
PARTS = st.lists(st.sampled_from(TOKENS) | st.binary(max_size=30), max_size=12)


@given(parts=PARTS, ends=st.sampled_from(["closes", "waits", "leaves"]))
@example(parts=[b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 3], ends="leaves")
def test_any_bytes_end_in_an_answer_or_a_close(parts, ends):
    """The connection ends by its limits, no handler stays, and nothing is raised."""

    async def main():
        app = App()
        async with talking(app, LIMITS) as talk:
            try:
                for part in parts:
                    await talk.send(part)
                if ends == "closes":
                    await talk.stream.send_eof()
                elif ends == "leaves":
                    await talk.stream.aclose()
            except trio.BrokenResourceError:
                pass  # it was refused
            if ends != "leaves":
                await read_in_parts(talk)
        assert app.running == 0

    async def read_in_parts(talk):
        try:
            while await talk.read():
                pass
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    logging.disable(logging.CRITICAL)
    try:
        trio.run(main, clock=MockClock(autojump_threshold=0))
    finally:
        logging.disable(logging.NOTSET)
