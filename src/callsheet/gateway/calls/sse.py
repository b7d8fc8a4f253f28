"""A stream of server-sent events, whose head is sent late and which is never silent for long."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import final

import trio
from starlette.types import Send

from .response_headers import STREAM_HEADERS, Headers

SILENCE_S = 10.0
"""Seconds without an event after which a comment is sent. Balancers cut what is silent for 55 s."""

_COMMENT = b": waiting\n\n"


@final
class EventStream:
    """The response to a call that is streamed.

    Its head is sent with the first event, or after `SILENCE_S` seconds. So a call that fails before
    still gets the status of its error.

    Args:
        send: sends messages to the client, as ASGI has them.
        headers: the headers beside those of every stream.

    Attributes:
        has_begun: whether the head is sent.
        has_ended: whether the end is sent.
    """

    def __init__(self, send: Send, headers: Headers) -> None:
        self._send = send
        self._headers = headers
        # An event and a comment must not mix. Events have one sender, so this needs no lock.
        self._is_sending = False
        self._comment_sent: trio.Event | None = None  # while a comment is being sent
        self._sent_at = trio.current_time()
        self.has_begun = False
        self.has_ended = False

    @asynccontextmanager
    async def kept_alive(self) -> AsyncGenerator[None]:
        """Send a comment whenever the stream is silent for `SILENCE_S` seconds in the block."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_alive)
            yield
            nursery.cancel_scope.cancel()

    async def write(self, events: bytes) -> None:
        """Send events.

        Args:
            events: their text; nothing is sent if it is empty.
        """
        if events and not self.has_ended:
            await self._take_turn()
            try:
                await self._write(events)
            finally:
                self._is_sending = False

    async def end(self, events: bytes = b"") -> None:
        """Send the last events, and end the stream with them.

        Args:
            events: the text of these events.
        """
        await self._take_turn()
        try:
            await self._begin()
            self.has_ended = True
            await self._send({"type": "http.response.body", "body": events, "more_body": False})
        finally:
            self._is_sending = False

    async def _take_turn(self) -> None:
        if self._comment_sent is not None:  # hardly ever; it costs no turn of Trio otherwise
            await self._comment_sent.wait()
        self._is_sending = True

    async def _keep_alive(self) -> None:
        while True:
            await trio.sleep_until(self._sent_at + SILENCE_S)
            if self._is_sending or self.has_ended:  # the client is slow
                self._sent_at = trio.current_time()
            elif trio.current_time() >= self._sent_at + SILENCE_S:
                await self._comment()

    async def _comment(self) -> None:
        self._comment_sent = trio.Event()
        try:
            await self._write(_COMMENT)
        finally:
            self._comment_sent.set()
            self._comment_sent = None

    async def _write(self, events: bytes) -> None:
        await self._begin()
        self._sent_at = trio.current_time()
        await self._send({"type": "http.response.body", "body": events, "more_body": True})

    async def _begin(self) -> None:
        if not self.has_begun:
            self.has_begun = True
            headers = [*self._headers, *STREAM_HEADERS]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
