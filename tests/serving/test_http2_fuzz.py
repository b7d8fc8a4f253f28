"""Frames of HTTP/2 in any order: the connection ends or goes on, and nothing else is touched."""

import logging

import hpack
import trio
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)
from hypothesis import given
from hypothesis import strategies as st
from serving_kit import App, talking
from trio.testing import MockClock

from callsheet.serving import ServingLimits

LIMITS = ServingLimits(
    max_body_bytes=3000, keep_alive_s=5, write_timeout_s=3, body_timeout_s=4, linger_s=1
)
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
ENDS = st.sampled_from([["END_STREAM"], []])
NUMBERS = st.integers(0, 4)  # of a stream, counted back from the newest one
SETTINGS = st.sampled_from([{4: 0}, {4: 1}, {4: 2**31 - 1}, {5: 16_384}, {1: 0}, {3: 0}])

OPEN = st.tuples(
    st.just("open"),
    st.sampled_from(["GET", "POST", "POST", "CONNECT", "HEAD"]),
    st.sampled_from(
        [
            *("/", "/", "/wait?s=1", "/wait", "/unread", "/unread", "/large?n=300000"),
            *("/large?n=100000", "/crash", "/crash?stream", "/headers?value=a%0db", "", "/é", "*"),
        ]
    ),
    st.sampled_from(
        [[], [], [], [("content-length", "5")], [("connection", "close")], [("te", "x")]]
    ),
    ENDS,
)
DATA = st.tuples(st.just("data"), NUMBERS, st.sampled_from([0, 5, 2000]), ENDS)
GOOD = st.one_of(
    st.builds(lambda code: ("reset", code), st.integers(0, 20)),
    st.tuples(st.just("window"), NUMBERS, st.sampled_from([1, 100_000])),
    st.builds(lambda n: ("raw", SettingsFrame(0, settings=n).serialize()), SETTINGS),
    st.just(("raw", PingFrame(0, opaque_data=b"12345678").serialize())),
    st.just(("raw", WindowUpdateFrame(0, window_increment=2**20).serialize())),
)
BAD = st.one_of(
    st.tuples(st.just("window"), NUMBERS, st.just(2**31 - 1)),
    st.tuples(st.just("priority"), NUMBERS, NUMBERS),
    st.just(("raw", GoAwayFrame(0, last_stream_id=0).serialize())),
    st.just(("raw", ContinuationFrame(1, data=b"", flags=["END_HEADERS"]).serialize())),
    st.binary(min_size=9, max_size=20).map(lambda data: ("raw", data)),
)
ACTIONS = st.builds(
    lambda first, good, bad: [first, *good, *bad],
    OPEN,
    st.lists(OPEN | OPEN | DATA | GOOD, min_size=3, max_size=15),
    st.lists(BAD, max_size=2),
)


class Frames:
    """Writes the frames of a client whose requests have increasing numbers."""

    def __init__(self):
        self._encoder = hpack.Encoder()
        self._stream = -1

    def __call__(self, action):
        match action:
            case "open", method, path, more, ends:
                self._stream += 2
                head = [(":method", method), (":scheme", "http"), (":authority", "x")]
                data = self._encoder.encode([*head, (":path", path), *more])
                frame = HeadersFrame(self._stream, data=data, flags=["END_HEADERS", *ends])
            case "data", number, size, ends:
                frame = DataFrame(self._number(number), data=b"x" * size, flags=ends)
            case "reset", code:
                frame = RstStreamFrame(self._number(0), error_code=code)
            case "window", number, size:
                frame = WindowUpdateFrame(self._number(number), window_increment=size)
            case "priority", number, on:
                frame = PriorityFrame(self._number(number), depends_on=self._number(on))
            case _, data:
                return data
        return frame.serialize()

    def _number(self, back):
        return max(1, self._stream - 2 * back)


@given(actions=ACTIONS, gap_s=st.sampled_from([0, 0.5]), leaves=st.booleans(), reads=st.booleans())
def test_any_frames_end_within_the_limits(actions, gap_s, leaves, reads):
    async def main():
        app = App()
        async with talking(app, LIMITS) as talk, trio.open_nursery() as nursery:
            if reads:
                nursery.start_soon(drop_all, talk)
            await send_all(talk, actions, gap_s)
            if leaves:
                await talk.stream.aclose()
            await trio.sleep(100)
            assert talk.ended_at is not None
            nursery.cancel_scope.cancel()
        assert app.running == 0

    logging.disable(logging.CRITICAL)
    try:
        trio.run(main, clock=MockClock(autojump_threshold=0))
    finally:
        logging.disable(logging.NOTSET)


async def send_all(talk, actions, gap_s):
    frames = Frames()
    try:
        await talk.send(PREFACE + SettingsFrame(0).serialize())
        for action in actions:
            await trio.sleep(gap_s)
            await talk.send(frames(action))
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass  # the server has ended it


async def drop_all(talk):
    try:
        while await talk.read():
            pass
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass
