"""A whole call against servers that misbehave, over real sockets.

In every case the caller gets a response or a typed error, and no connection is lost.
"""

import gzip
import json
import socket
import ssl

import pytest
import trio
import trustme
from fakes import call
from misbehaving import JSON, POLITE, calling, calling_in_memory, chunked, head, says, whole

from callsheet.actors import (
    BadRequest,
    CallFailed,
    ConnectionFailed,
    MalformedResponse,
    ProviderUnavailable,
    Timeouts,
)
from callsheet.actors.request import exchange
from callsheet.runtime import AskTimedOut

EVENTS = "Content-Type: text/event-stream"
CHUNKED = "Transfer-Encoding: chunked"
GZIP = "Content-Encoding: gzip"
MEGABYTE = 1024 * 1024


def event(**choice):
    return f"data: {json.dumps({'choices': [{'index': 0, 'delta': {}} | choice]})}\n\n".encode()


PIECE = event(delta={"content": "Hello"})
LAST = event(finish_reason="stop") + b"data: [DONE]\n\n"
BOMB = gzip.compress(b" " * 20 * MEGABYTE)


# ------------------------------------------------------------------ what fails


BREAKS = {
    "closed at once": (says(unread=True), ConnectionFailed),
    "reset at once": (says(unread=True, then="reset"), ConnectionFailed),
    "closed before the answer": (says(), ConnectionFailed),
    "reset before the answer": (says(then="reset"), ConnectionFailed),
    "closed in the head": (says(b"HTTP/1.1 200 OK\r\nContent-"), ConnectionFailed),
    "reset in the head": (says(b"HTTP/1.1 200 OK\r\nContent-", then="reset"), ConnectionFailed),
    "reset after the head": (says(head(length=100), then="reset"), ConnectionFailed),
    "reset in the body": (says(head(length=1000), JSON[:50], then="reset"), ConnectionFailed),
    "shorter than promised": (says(head(length=len(JSON) + 1), JSON[:-1]), ConnectionFailed),
    "longer than promised": (
        says(head(length=len(JSON) - 1), JSON, then="keep"),
        MalformedResponse,
    ),
    "two lengths": (says(head("Content-Length: 7", length=9), JSON), ConnectionFailed),
    "a length beyond all bounds": (
        says(head(f"Content-Length: {'9' * 500}"), JSON),
        ConnectionFailed,
    ),
    "chunks that end early": (says(head(CHUNKED), chunked(JSON[:-1])), ConnectionFailed),
    "chunks of no size": (says(head(CHUNKED), b"xyz\r\n"), ConnectionFailed),
    "another protocol": (says(b"SSH-2.0-OpenSSH_9.9\r\n"), ConnectionFailed),
    "a switch of protocols": (
        says(head("Upgrade: websocket", "Connection: upgrade", status="101 Switching Protocols")),
        ConnectionFailed,
    ),
    "an endless head": (
        says(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 500, repeats=True),
        ConnectionFailed,
    ),
    "endless beginnings": (says(head(status="103 Early Hints"), repeats=True), ConnectionFailed),
    "a web page": (
        says(whole(b"<html>", "Content-Type: text/html"), then="keep"),
        MalformedResponse,
    ),
    "nothing": (says(whole(b""), then="keep"), MalformedResponse),
    "half of the JSON": (says(whole(JSON[:50]), then="keep"), MalformedResponse),
    "not packed as it says": (says(whole(JSON, GZIP), then="keep"), MalformedResponse),
    "packed, and cut": (
        says(whole(gzip.compress(JSON)[:40], GZIP), then="keep"),
        MalformedResponse,
    ),
    "packed in a way unknown": (
        says(whole(JSON, "Content-Encoding: br"), then="keep"),
        MalformedResponse,
    ),
    "a stream reset": (says(head(EVENTS), PIECE, then="reset"), ConnectionFailed),
    "a stream cut": (says(head(EVENTS), PIECE), ConnectionFailed),
    "a stream cut in its chunks": (
        says(head(EVENTS, CHUNKED), chunked(PIECE)),
        ConnectionFailed,
    ),
    "a stream of nonsense": (says(head(EVENTS), b"data: nonsense\n\n"), MalformedResponse),
    "500, and a reset": (
        says(head(status="500 Oops", length=50), b"{", then="reset"),
        ProviderUnavailable,
    ),
    "503, packed, no JSON": (
        says(whole(b"\x1f\x8b nonsense", GZIP, status="503 Busy"), then="keep"),
        ProviderUnavailable,
    ),
}


@pytest.mark.sockets
@pytest.mark.parametrize(("line", "kind"), BREAKS.values(), ids=BREAKS)
async def test_what_breaks_is_tried_again_and_then_a_typed_error(line, kind):
    async with calling(line, line, POLITE) as at:
        with pytest.raises(CallFailed) as caught:
            await at.ref.ask(call())
        assert type(caught.value) is kind
        assert caught.value.attempts == 2
        assert "127.0.0.1" in str(caught.value)
        await at.at_rest()
        assert (await at.ref.ask(call("next"))).text == "Hello", "the next call succeeds"
        await at.at_rest()


@pytest.mark.sockets
@pytest.mark.parametrize(
    ("line", "kind"),
    [
        pytest.param(*BREAKS[name], id=name, marks=[pytest.mark.slow] if number % 4 else [])
        for number, name in enumerate(BREAKS)  # of each kind, the test above has all
    ],
)
async def test_what_breaks_once_costs_one_more_request(line, kind):
    async with calling(line, POLITE) as at:
        answer = await at.ref.ask(call())
        assert (answer.text, answer.http_requests) == ("Hello", 2)
        assert answer.maybe_billed <= 1
        await at.at_rest()


# ------------------------------------------------------------------ what does not


WORKS = {
    "a reset after the answer": says(whole(), then="reset"),
    "a close after the answer": says(whole()),
    "more than was requested": says(whole() + whole(b"evil"), then="keep"),
    "no length, and a close": says(head("Connection: close"), JSON),
    "an answer before the request": says(whole(), unread=True),
    "beginnings": says(
        head(status="100 Continue") + head(status="102 Processing"),
        head("Link: </x>", status="103 Early Hints"),
        whole(),
        then="keep",
    ),
    "chunks": says(head(CHUNKED), chunked(), b"0\r\n\r\n", then="keep"),
    "chunks and trailers": says(
        head(CHUNKED, "Trailer: X-Sum"),
        chunked() + b"0\r\nX-Sum: 1\r\nX-Other: 2\r\n",
        b"\r\n",
        then="keep",
    ),
    "chunks of one byte": says(head(CHUNKED), chunked(size=1), b"0\r\n\r\n", then="keep"),
    "packed": says(whole(gzip.compress(JSON), GZIP), then="keep"),
    "one byte at a time": says(*(whole()[at : at + 1] for at in range(len(whole()))), then="keep"),
    "a stream": says(head(EVENTS, CHUNKED), chunked(PIECE + LAST), b"0\r\n\r\n", then="keep"),
    "a stream that is never closed": says(
        head(EVENTS, CHUNKED), chunked(PIECE + LAST), then="hang"
    ),
    "a stream that breaks after its last word": says(
        head(EVENTS, CHUNKED), chunked(PIECE + LAST), then="reset"
    ),
    "whole, but shorter than promised": says(head(length=len(JSON) + 1), JSON),
    "whole, but without the last chunk": says(head(CHUNKED), chunked()),
    "old HTTP": says(whole().replace(b"HTTP/1.1", b"HTTP/1.0")),
}


@pytest.mark.sockets
@pytest.mark.parametrize("line", WORKS.values(), ids=WORKS)
async def test_what_is_odd_but_whole_is_an_answer(line):
    async with calling(line, POLITE, attempts=1) as at:
        answer = await at.ref.ask(call())
        assert (answer.text, answer.http_requests) == ("Hello", 1)
        await at.at_rest()
        await trio.sleep(0.03)  # until the extra bytes have arrived
        assert (await at.ref.ask(call("next"))).text == "Hello"
        await at.at_rest()


# ------------------------------------------------------------------ no server


@pytest.mark.sockets
async def test_a_port_without_a_listener():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        async with calling(POLITE, base_url=url) as at:
            with pytest.raises(ConnectionFailed, match="Connection refused") as caught:
                await at.ref.ask(call())
            assert (caught.value.attempts, caught.value.billed) == (2, "no")
            await at.at_rest()


class NoNames(trio.abc.HostnameResolver):
    """A resolver that knows no name."""

    async def getaddrinfo(self, host, port, family=0, type=0, proto=0, flags=0):  # noqa: A002, PLR0917  # Trio's
        await trio.lowlevel.checkpoint()
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def getnameinfo(self, sockaddr, flags):
        raise NotImplementedError


async def test_an_unknown_host_name(autojump_clock):
    trio.socket.set_custom_hostname_resolver(NoNames())
    async with calling(POLITE, base_url="http://unknown.example/v1") as at:
        with pytest.raises(ConnectionFailed, match=r"unknown\.example.*not known") as caught:
            await at.ref.ask(call())
        assert (caught.value.attempts, caught.value.billed) == (2, "no")
        await at.at_rest()


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def tls(authority):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.mark.sockets
async def test_an_untrusted_server_is_tried_once_and_gets_no_data(tls):
    async with calling(POLITE, tls=tls, endpoint={"api_key": "sk-secret-0123"}) as at:
        with pytest.raises(ConnectionFailed, match="certificate") as caught:
            await at.ref.ask(call())
        assert (caught.value.attempts, caught.value.billed) == (1, "no")
        assert at.server.requests == []
        await at.at_rest()


@pytest.mark.sockets
async def test_a_trusted_server(tls, authority):
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with calling(POLITE, tls=tls, endpoint={"ssl_context": trusting}) as at:
        assert [(await at.ref.ask(call())).text for _ in range(2)] == ["Hello"] * 2
        assert at.server.connections == 1
        await at.at_rest()


@pytest.mark.sockets
@pytest.mark.parametrize("line", [says(b"no TLS at all\r\n", unread=True), says(unread=True)])
async def test_a_server_that_does_not_speak_tls(line):
    async with calling(line) as plain:
        url = plain.base_url.replace("http:", "https:")
        async with calling(POLITE, base_url=url) as at:
            with pytest.raises(ConnectionFailed) as caught:
                await at.ref.ask(call())
            assert caught.value.billed == "no"
            await at.at_rest()


# ------------------------------------------------------------------ too slow (L1)


SLOW = {
    "silence": says(then="hang"),
    "a head that drips": says(b"HTTP/1.1 200 OK\r\n", b"X", gap=0.01, repeats=True),
    "a body that drips": says(head(length=MEGABYTE), b" ", gap=0.01, repeats=True),
    "an error that drips": says(
        head(status="500 Oops", length=MEGABYTE), b" ", gap=0.01, repeats=True
    ),
    "a stream of comments": says(head(EVENTS), b": ping\n\n", gap=0.01, repeats=True),
    "a stream of words": says(head(EVENTS), PIECE, gap=0.01, repeats=True),
}


@pytest.mark.sockets
@pytest.mark.parametrize("line", SLOW.values(), ids=SLOW)
async def test_what_drips_for_ever_is_ended_by_the_deadline(line):
    async with calling(line, POLITE) as at:
        with pytest.raises(AskTimedOut):
            await at.ref.ask(call(), timeout=0.2)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert await at.pool() == (0, 0, 0)
        await at.at_rest()
        assert (await at.ref.ask(call("next"))).text == "Hello"


@pytest.mark.sockets
async def test_silence_between_two_pieces_has_a_bound_of_its_own():
    timeouts = Timeouts(first_byte_s=20, between_bytes_s=0.05)
    line = says(head(EVENTS), PIECE, then="hang")
    async with calling(line, POLITE, timeouts=timeouts) as at:
        answer = await at.ref.ask(call())
        assert (answer.http_requests, answer.maybe_billed) == (2, 1)
        await at.at_rest()


async def test_an_error_whose_body_never_ends_is_reported(autojump_clock):
    line = says(head(status="503 Busy", length=MEGABYTE), b" ", gap=0.5, repeats=True)
    async with calling_in_memory(line, POLITE) as (at, _):
        answer = await at.ref.ask(call())
        assert (answer.text, answer.http_requests) == ("Hello", 2)
        assert trio.current_time() < 10


# ------------------------------------------------------------------ too much


@pytest.fixture
def bound(monkeypatch):
    monkeypatch.setattr(exchange, "_MAX_RESPONSE_BYTES", MEGABYTE)


@pytest.mark.sockets
@pytest.mark.parametrize(
    "line",
    [
        says(head(), b" " * 65536, repeats=True),
        says(head(CHUNKED), chunked(b" " * 65536, 65536), repeats=True),
        says(head(EVENTS), PIECE * 500, repeats=True),
        says(head(EVENTS), b": ping\n" * 5000, repeats=True),
        says(head(EVENTS), b"data: " + b"x" * 65536, b"x" * 65536, repeats=True),
        says(whole(BOMB, GZIP), then="keep"),
        says(whole(BOMB, GZIP, EVENTS), then="keep"),
    ],
    ids=["body", "chunks", "stream", "comments", "line", "bomb", "bomb in a stream"],
)
async def test_what_never_ends_is_given_up_at_its_bound(bound, line):
    async with calling(line, line, POLITE) as at:
        with pytest.raises(MalformedResponse, match="longer") as caught:
            await at.ref.ask(call())
        assert caught.value.billed == "maybe"
        await at.at_rest()
        assert (await at.ref.ask(call("next"))).text == "Hello"
        await at.at_rest()


@pytest.mark.parametrize(
    "line",
    [
        says(whole(b'{"error": {"message": "' + b"x" * 10 * MEGABYTE, status="500 Oops")),
        says(head(status="500 Oops"), b"x" * 65536, repeats=True, gap=0.001),
        says(whole(BOMB * 5, GZIP, status="500 Oops")),
    ],
    ids=["10 MB", "endless", "bomb"],
)
async def test_of_an_error_no_more_is_read_than_an_error_needs(autojump_clock, line):
    async with calling_in_memory(line, line, POLITE) as (at, streams):
        with pytest.raises(ProviderUnavailable, match="returned 500"):
            await at.ref.ask(call())
        assert [stream.received <= 3 * 65536 for stream in streams] == [True, True]
        assert (await at.ref.ask(call("next"))).text == "Hello"
        await at.at_rest()


@pytest.mark.sockets
async def test_a_redirect_is_an_error_and_the_key_stays_here():
    key = {"api_key": "sk-secret-0123"}
    async with calling(POLITE, endpoint=key) as elsewhere:
        for status in ("301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"):
            location = f"Location: {elsewhere.base_url}/chat/completions"
            async with calling(says(whole(b"", location, status=status)), endpoint=key) as at:
                with pytest.raises(BadRequest, match="redirects"):
                    await at.ref.ask(call())
                await at.at_rest()
        assert elsewhere.server.connections == 0


@pytest.mark.sockets
async def test_many_calls_at_once_with_every_kind_of_fault():
    # Two responses that begin and cannot be read would end the call that meets both (L11).
    begun = {
        "reset in the body",
        "shorter than promised",
        "chunks that end early",
        "a stream reset",
    }
    begun |= {"a stream cut", "a stream cut in its chunks"}
    lines = [
        line
        for name, (line, kind) in BREAKS.items()
        if kind is not MalformedResponse and name not in begun
    ] * 2
    async with calling(*lines, POLITE, attempts=20, concurrency=12) as at:
        found = []

        async def one(number):
            found.append(await at.ref.ask(call(str(number))))

        async with trio.open_nursery() as nursery:
            for number in range(60):
                nursery.start_soon(one, number)
        assert [answer.text for answer in found] == ["Hello"] * 60
        await at.at_rest()
