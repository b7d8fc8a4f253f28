"""HTTP/2: streams of one connection leave each other alone, whatever happens to one of them."""

from contextlib import asynccontextmanager, suppress

import h2.exceptions
import pytest
import trio
from h2.errors import ErrorCodes
from http2_client import HEADERS, Http2Client
from hyperframe.frame import HeadersFrame, PriorityFrame
from serving_kit import App, talking

from callsheet.serving import ServingLimits, protocols

LIMITS = ServingLimits(
    max_body_bytes=1_000_000, write_timeout_s=20, keep_alive_s=60, header_timeout_s=10
)


@asynccontextmanager
async def client_of(app, limits=LIMITS, *, takes=True):
    async with talking(app, limits) as talk, trio.open_nursery() as nursery:
        client = Http2Client(talk, takes=takes)
        nursery.start_soon(client.listen)
        await client.flush()
        yield client
        await talk.stream.aclose()


async def test_requests_run_at_the_same_time(autojump_clock):
    app = App()
    async with client_of(app) as client:
        slow = await client.get("/wait?s=5")
        quick = await client.get("/")
        await client.until(lambda: quick in client.ended)
        assert trio.current_time() == 0
        await client.until(lambda: slow in client.ended)
        assert trio.current_time() == 5
        assert set(client.statuses.values()) == {200}


async def test_a_large_response_comes_whole(autojump_clock):
    async with client_of(App()) as client:
        streams = [await client.get("/large?n=1000000") for _ in range(3)]
        await client.until(lambda: client.ended == set(streams))
        assert {len(body) for body in client.bodies.values()} == {1_000_000}


async def test_a_reset_ends_its_request_only(autojump_clock):
    app = App()
    async with client_of(app) as client:
        kept = await client.get("/wait?s=5")
        left = await client.get("/wait")
        await trio.sleep(1)
        client.h2.reset_stream(left, ErrorCodes.CANCEL)
        await client.flush()
        await client.until(lambda: kept in client.ended)
        assert app.gone == [1]
        assert client.bodies[kept] == b"done"


async def test_a_connection_that_is_closed_ends_all_its_requests(autojump_clock):
    app = App()
    async with client_of(app) as client:
        for path in ("/wait", "/endless", "/wait"):
            await client.get(path)
        await trio.sleep(0.2)
        assert app.running == 3
    assert app.gone == [0.2, 0.2, 0.2]
    assert app.running == 0


async def test_a_reader_that_opens_no_window_is_cut(autojump_clock):
    app = App()
    async with client_of(app, takes=False) as client:
        await client.get("/endless")
        await client.until(lambda: client.resets or client.goaway is not None)
        assert trio.current_time() == pytest.approx(20)
    assert app.running == 0


async def test_a_reader_that_opens_no_window_leaves_the_others_alone(autojump_clock):
    app = App()
    async with client_of(app, takes=False) as client:
        client.h2.increment_flow_control_window(1_000_000)  # that of the connection
        await client.get("/endless")
        waits = await client.get("/wait?s=30")
        await client.until(lambda: waits in client.ended)
        assert client.bodies[waits] == b"done"
        assert app.gone == [pytest.approx(20)]


@pytest.mark.parametrize("path", ["/", "/unread"])
async def test_a_body_is_bounded_and_the_connection_goes_on(path, autojump_clock):
    limits = ServingLimits(max_body_bytes=1000)
    async with client_of(App(), limits) as client:
        stream = await client.post(path)
        with suppress(h2.exceptions.StreamClosedError):
            for _ in range(5):
                client.h2.send_data(stream, b"x" * 500)
                await client.flush()
        await client.until(lambda: stream in client.ended)
        assert client.statuses[stream] == (413 if path == "/" else 200)
        other = await client.get("/")
        await client.until(lambda: other in client.ended)


async def test_data_after_the_answer_does_not_end_the_connection(autojump_clock):
    async with client_of(App()) as client:
        stream = await client.post("/unread")
        await client.until(lambda: stream in client.ended and stream in client.resets)
        assert client.resets == {stream: ErrorCodes.NO_ERROR}
        other = await client.get("/")
        await client.until(lambda: other in client.ended)


async def test_an_upload_that_the_app_does_not_read_is_held_up(autojump_clock):
    """A client cannot fill the memory: what the app has not read is bounded by the window."""

    async def app(scope, receive, send):
        await trio.sleep(100)
        size = 0
        while True:
            message = await receive()
            size += len(message["body"])
            if not message["more_body"]:
                break
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"%d" % size})

    async with client_of(app) as client:
        stream = await client.post("/")
        sent = 0
        while sent < 300_000:
            room = min(client.h2.local_flow_control_window(stream), 16_384)
            if room:
                client.h2.send_data(stream, b"x" * room)
                await client.flush()
                sent += room
            else:
                if trio.current_time() < 99:
                    assert sent < 100_000
                await client.changed.wait()
        client.h2.end_stream(stream)
        await client.flush()
        await client.until(lambda: stream in client.ended)
        assert int(client.bodies[stream]) == sent


async def test_headers_are_bounded(autojump_clock):
    async with client_of(App(), ServingLimits(max_header_bytes=2000)) as client:
        stream = await client.get("/", a="b" * 2000)
        await client.until(lambda: stream in client.ended)
        assert client.statuses[stream] == 431


async def test_an_app_that_fails_half_way_resets_its_stream(autojump_clock, caplog):
    async with client_of(App()) as client:
        stream = await client.get("/crash?stream")
        await client.until(lambda: stream in client.resets)
        assert client.resets[stream] == ErrorCodes.INTERNAL_ERROR
        other = await client.get("/crash")
        await client.until(lambda: other in client.ended)
        assert client.statuses[other] == 500


@pytest.mark.parametrize("value", ["a%0d%0ab", "a%00b"])
async def test_a_header_with_a_line_break_is_never_sent(value, autojump_clock, caplog):
    async with client_of(App()) as client:
        stream = await client.get(f"/headers?value={value}")
        await client.until(lambda: stream in client.ended)
        assert client.statuses[stream] == 500


async def test_an_idle_connection_is_closed_whatever_it_pings(autojump_clock):
    async with client_of(App()) as client:
        stream = await client.get("/wait?s=5")
        await client.until(lambda: stream in client.ended)
        with pytest.raises(h2.exceptions.ProtocolError):
            while True:
                await trio.sleep(1)
                client.h2.ping(b"12345678")
                await client.flush()
        assert trio.current_time() == pytest.approx(65, abs=1)
        assert client.goaway == ErrorCodes.NO_ERROR


@pytest.fixture
def few_resets(monkeypatch):
    monkeypatch.setattr(protocols, "_MAX_RESETS", 50)
    monkeypatch.setattr(protocols, "_RESETS_PER_S", 5)


async def test_streams_that_are_reset_in_a_flood_end_the_connection(few_resets, autojump_clock):
    app = App()
    async with client_of(app) as client:
        with pytest.raises(h2.exceptions.ProtocolError):
            for _ in range(500):
                stream = await client.get("/wait")
                client.h2.reset_stream(stream)
                await client.flush()
                await trio.lowlevel.checkpoint()
    assert app.begun < 200
    assert app.running == 0
    assert client.goaway == ErrorCodes.ENHANCE_YOUR_CALM


async def test_a_client_that_gives_up_many_calls_over_time_is_served(few_resets, autojump_clock):
    app = App()
    async with client_of(app) as client:
        for _ in range(6):
            streams = [await client.get("/wait") for _ in range(30)]
            await trio.sleep(3)
            for stream in streams:
                client.h2.reset_stream(stream)
            await client.flush()
            await trio.sleep(3)
        assert not client.is_closed
    assert len(app.gone) == 180


async def test_a_drain_lets_streams_end_and_refuses_new_ones(autojump_clock):
    app = App()
    async with client_of(app) as client:
        stream = await client.get("/wait?s=5")
        await trio.sleep(1)
        await client.talk.service.context.terminated.set()
        client.talk.connection.drain()
        late = await client.get("/")
        await client.until(lambda: late in client.resets)
        assert client.resets[late] == ErrorCodes.REFUSED_STREAM
        await client.until(lambda: stream in client.ended)
        assert client.bodies[stream] == b"done"
        while not client.is_closed:
            await client.changed.wait()
        assert client.goaway == ErrorCodes.NO_ERROR
        assert trio.current_time() == 5


async def test_a_drain_ends_an_idle_connection_at_once(autojump_clock):
    async with client_of(App()) as client:
        await trio.sleep(1)
        await client.talk.service.context.terminated.set()
        client.talk.connection.drain()
        while not client.is_closed:
            await client.changed.wait()
        assert (client.goaway, trio.current_time()) == (ErrorCodes.NO_ERROR, 1)


@pytest.mark.parametrize(
    "frames",
    [
        PriorityFrame(1, depends_on=1).serialize(),
        b"".join(PriorityFrame(n, depends_on=0).serialize() for n in range(1, 5001, 2)),
        PriorityFrame(7, depends_on=5).serialize() + PriorityFrame(5, depends_on=7).serialize(),
        HeadersFrame(1, data=b"\xff" * 20, flags=["END_HEADERS"]).serialize(),
        HeadersFrame(1, data=b"").serialize() * 3,
        b"\xff" * 100,
    ],
    ids=["itself", "many", "circle", "no headers", "unfinished", "garbage"],
)
async def test_bad_frames_end_their_connection_only(frames, autojump_clock, caplog):
    app = App()
    async with client_of(app) as client:
        await client.get("/wait?s=5")
        await trio.sleep(1)
        try:
            await client.talk.send(frames)
            await trio.sleep(100)
        except trio.BrokenResourceError:
            pass
        assert client.is_closed
    assert app.running == 0


@pytest.mark.parametrize(
    "missing", [":method", ":path", ":scheme"], ids=["method", "path", "scheme"]
)
async def test_a_head_without_a_part_is_refused(missing, autojump_clock, caplog):
    app = App()
    async with client_of(app) as client:
        client.h2.config.validate_outbound_headers = False
        headers = [*HEADERS, (":path", "/")]
        await client.request([pair for pair in headers if pair[0] != missing], end=True)
        await client.until(lambda: client.is_closed or client.goaway is not None or client.resets)
    assert app.begun == 0
