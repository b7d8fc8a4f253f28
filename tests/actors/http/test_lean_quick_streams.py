"""Streams that do not wait if they need not: what is sent at once, what is received together."""

import json
import socket

import httpx
import pytest
import trio
from fakes import call, requester

from callsheet.actors import LeanTransport, RetryPolicy, Timeouts
from callsheet.actors.http.streams import QuickStream

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"
LINGER_S = 0.2


def chunked(text):
    return b"%x\r\n%b\r\n" % (len(text), text)


class Paced(QuickStream):
    """A connection to a server whose pieces arrive at given seconds after the request."""

    def __init__(self, *pieces):
        super().__init__(socket.socket(), bytearray())
        self.pieces = pieces
        self.left = []

    def send_now(self, data):
        now = trio.current_time()
        self.left = [(now + at, piece) for at, piece in reversed(self.pieces)]
        return memoryview(b"")

    async def send_all(self, data):
        self.send_now(data)

    async def receive_some(self, max_bytes=None):
        if not self.left:
            await trio.sleep_forever()
        await trio.sleep_until(self.left[-1][0])
        piece = self.left.pop()[1]
        if isinstance(piece, Exception):
            raise piece
        return piece

    def is_quiet(self):
        return True


def transport_over(*pieces, **settings):
    async def open_stream(host, port):
        await trio.lowlevel.checkpoint()
        return Paced(*pieces)

    return LeanTransport(open_stream=open_stream, **settings)


async def read(*pieces, linger_s=LINGER_S, **settings):
    """Return each piece that a lingering body yields with the time, and the error at its end."""
    request = httpx.Request("POST", "http://api.test/", content=b"{}")
    found, error = [], None
    async with transport_over(*pieces, **settings) as transport:
        body = (await transport.handle_async_request(request)).stream
        body.linger_s = linger_s
        try:
            async for piece in body:
                found.append((trio.current_time(), piece))  # noqa: PERF401  # up to an error
        except httpx.TransportError as failure:
            error = failure
    return found, error


async def test_pieces_that_follow_soon_are_read_together(autojump_clock):
    pieces = [(0.05 * number, chunked(b"%d" % number)) for number in range(1, 6)]
    found, error = await read((0, HEAD), *pieces, (0.25, END))
    assert ([piece for _, piece in found], error) == ([b"1", b"2345"], None)


async def test_without_lingering_each_piece_is_read_as_it_arrives(autojump_clock):
    pieces = [(0.05 * number, chunked(b"%d" % number)) for number in range(1, 4)]
    found, _ = await read((0, HEAD), *pieces, (0.2, END), linger_s=0.0)
    assert [piece for _, piece in found] == [b"1", b"2", b"3"]


async def test_a_steady_stream_is_read_about_once_in_each_linger_time(autojump_clock):
    pieces = [(0.03 * number, chunked(b"x")) for number in range(1, 101)]
    found, _ = await read((0, HEAD), *pieces, (3.1, END))
    assert b"".join(piece for _, piece in found) == b"x" * 100
    assert 3 / LINGER_S * 0.75 <= len(found) <= 3 / LINGER_S * 1.25


async def test_a_silence_ends_the_wait_and_loses_nothing(autojump_clock):
    found, error = await read(
        (0, HEAD), (1, chunked(b"a")), (2, chunked(b"b")), (9, chunked(b"c")), (9.1, END)
    )
    assert ([piece for _, piece in found], error) == ([b"a", b"b", b"c"], None)
    assert [seconds for seconds, _ in found] == pytest.approx([1, 2 + 2 * LINGER_S, 9.1])


@pytest.mark.parametrize("end", [b"", trio.BrokenResourceError(), b"no chunk"])
async def test_what_arrived_before_the_end_of_the_connection_is_read_before_the_error(
    autojump_clock, end
):
    found, error = await read(
        (0, HEAD), (1, chunked(b"a")), (2, chunked(b"b")), (2.05, chunked(b"c")), (2.1, end)
    )
    assert [piece for _, piece in found] == [b"a", b"bc"]
    assert isinstance(error, httpx.ReadError | httpx.RemoteProtocolError)


async def test_a_socket_that_accepts_only_a_part_of_the_request_is_a_write_timeout(autojump_clock):
    class Full(Paced):
        def send_now(self, data):
            return memoryview(data)[10:]

        async def send_all(self, data):
            assert data
            await trio.sleep_forever()

    async def open_stream(host, port):
        await trio.lowlevel.checkpoint()
        return Full()

    async with LeanTransport(open_stream=open_stream) as transport:
        request = httpx.Request(
            "POST", "http://api.test/", extensions={"timeout": {"write": 3, "read": 1}}
        )
        with pytest.raises(httpx.WriteTimeout):
            await transport.handle_async_request(request)
        assert trio.current_time() == pytest.approx(3)
        assert transport.statistics().open == 0


async def test_the_bound_on_a_body_is_kept(autojump_clock):
    pieces = [(1 + 0.01 * number, chunked(b"x" * 40)) for number in range(10)]
    _, error = await read((0, HEAD), *pieces, max_body_bytes=100)
    assert "longer than the 100 bytes" in str(error)


async def test_so_much_is_received_at_once_and_no_more(autojump_clock):
    """A body that arrives faster than it is read does not fill memory."""
    size = 512 * 1024
    pieces = [(1, chunked(b"x" * size)) for _ in range(8)]
    found, _ = await read((0, HEAD), *pieces, (1, END))
    assert sum(len(piece) for _, piece in found) == 8 * size
    assert max(len(piece) for _, piece in found) <= 4 * size


def event(data):
    return chunked(b"data: %b\n\n" % json.dumps(data).encode())


def chunk(text, reason=None):
    return event({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": reason}]})


PING = chunked(b'event: ping\ndata: {"type": "ping"}\n\n')
LIMITS = Timeouts(first_byte_s=30, between_bytes_s=10, send_s=60)


async def ask(*pieces):
    """Return the response to a call, and the statistics of its connections."""
    transport = transport_over(*pieces)
    async with requester(transport, timeouts=LIMITS, retry=RetryPolicy(max_attempts=1)) as (ref, _):
        return await ref.ask(call()), transport.statistics()


async def test_a_stream_whose_reader_wants_the_whole_is_whole_and_keeps_its_connection(
    autojump_clock,
):
    words = [(1 + 0.03 * number, chunk(f"{number} ")) for number in range(50)]
    response, statistics = await ask((0, HEAD), *words, (3, chunk("!", "stop")), (3, END))
    assert response.text == "".join(f"{number} " for number in range(50)) + "!"
    assert response.first_byte_s == pytest.approx(1)
    assert (statistics.open, statistics.idle) == (1, 1)


async def test_keep_alives_that_arrive_together_are_no_progress(autojump_clock):
    """L1: the time without progress ends the send, at the instant that it would have anyway."""
    pings = [(1 + 0.01 * number, PING) for number in range(1, 6_000)]
    with pytest.raises(Exception, match="sent no further piece of the response within 10 s"):
        await ask((0, HEAD), (1, chunk("Hel")), *pings)
    assert trio.current_time() == pytest.approx(11, abs=0.1)


async def test_text_within_the_time_without_progress_prolongs_the_send(autojump_clock):
    words = [(9.9 * number, chunk("x")) for number in range(1, 6)]
    response, _ = await ask((0, HEAD), *words, (58, chunk("!", "stop")), (58, END))
    assert response.text == "xxxxx!"


async def test_an_error_in_a_stream_is_noticed_though_the_connection_stays_open(autojump_clock):
    failure = event({"error": {"message": "The model crashed.", "code": 400}})
    with pytest.raises(Exception, match=r"The model crashed\."):
        await ask((0, HEAD), (1, chunk("Hel")), (2, failure))
    assert trio.current_time() < 2 + 3 * LINGER_S


async def test_an_end_mark_is_noticed_though_the_body_stays_open(autojump_clock):
    done = chunked(b"data: [DONE]\n\n")
    response, _ = await ask((0, HEAD), (1, chunk("Hello", "stop")), (2, done))
    assert response.text == "Hello"
    assert trio.current_time() < 2 + 1.5
