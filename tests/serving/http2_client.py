"""A client of HTTP/2 that can misbehave, over a `Talk` without a socket."""

from contextlib import suppress

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import trio

HEADERS = [(":method", "GET"), (":scheme", "http"), (":authority", "x")]


class Http2Client:
    """Sends what a test asks for, and records what comes by stream.

    Attributes:
        statuses: the status of each stream.
        bodies: what came of each body.
        ended: the streams whose response is complete.
        resets: the error codes of streams that were reset.
        goaway: the error code with which the server ended the connection; None before.
        is_closed: whether the connection is closed.
    """

    def __init__(self, talk, *, takes=True):
        self.talk = talk
        config = h2.config.H2Configuration(header_encoding="utf-8")
        self.h2 = h2.connection.H2Connection(config)
        self.h2.initiate_connection()
        self.statuses, self.bodies, self.resets = {}, {}, {}
        self.ended = set()
        self.goaway, self.is_closed, self.takes = None, False, takes
        self.changed = trio.Event()
        self._sending = trio.Lock()

    async def get(self, path, **more):
        return await self.request([*HEADERS, (":path", path), *more.items()], end=True)

    async def post(self, path, **more):
        headers = [*HEADERS, (":path", path), *more.items()]
        return await self.request([(":method", "POST"), *headers[1:]], end=False)

    async def request(self, headers, *, end):
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, headers, end_stream=end)
        await self.flush()
        return stream

    async def flush(self):
        async with self._sending:
            await self.talk.send(self.h2.data_to_send())

    async def listen(self):
        """Take what comes until the connection is closed."""
        while True:
            try:
                data = await self.talk.read()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                data = b""
            if not data:
                self.is_closed = True
                break
            for event in self.h2.receive_data(data):
                self._take(event)
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await self.flush()
            self._wake()
        self._wake()

    def _wake(self):
        self.changed.set()
        self.changed = trio.Event()

    async def until(self, condition):
        while not condition():
            assert not self.is_closed
            await self.changed.wait()

    def _take(self, event):
        match event:
            case h2.events.ResponseReceived():
                self.statuses[event.stream_id] = int(dict(event.headers)[":status"])
            case h2.events.DataReceived():
                self.bodies.setdefault(event.stream_id, bytearray()).extend(event.data)
                if self.takes:
                    length = event.flow_controlled_length
                    self.h2.acknowledge_received_data(length, event.stream_id)
            case h2.events.StreamEnded():
                self.ended.add(event.stream_id)
            case h2.events.StreamReset():
                self.resets[event.stream_id] = event.error_code
            case h2.events.ConnectionTerminated():
                self.goaway = event.error_code
