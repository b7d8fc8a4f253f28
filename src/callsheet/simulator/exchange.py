"""One HTTP request and its response, over ASGI."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import cast
from urllib.parse import parse_qsl

import attrs
import trio

AsgiScope = Mapping[str, object]
AsgiEvent = Mapping[str, object]
Receive = Callable[[], Awaitable[AsgiEvent]]
Send = Callable[[AsgiEvent], Awaitable[None]]

RESET = "callsheet.reset"
"""The ASGI extension with a function that drops the connection of the app."""


class ClientGone(Exception):
    """The client closed the connection, so the response cannot be delivered."""


@attrs.frozen(eq=False)
class AsgiExchange:
    """A complete request, and the channel for its response.

    Args:
        method: the HTTP method, such as "POST".
        path: the path without the query.
        query: {name: value}; of repeated names, the last value.
        headers: {lower-case name: value}.
        body: the whole body.
        arrived: the time of its first byte, in seconds on Trio's clock.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = attrs.field(repr=False)
    arrived: float
    _scope: AsgiScope = attrs.field(alias="scope", repr=False)
    _receive: Receive = attrs.field(alias="receive", repr=False)
    _send: Send = attrs.field(alias="send", repr=False)

    @classmethod
    async def read(cls, scope: AsgiScope, receive: Receive, send: Send) -> "AsgiExchange":
        """Receive the whole request.

        Raises:
            ClientGone: the client disconnected before its end.
        """
        arrived = trio.current_time()
        parts: list[bytes] = []
        more = True
        while more:
            event = await receive()
            if event["type"] == "http.disconnect":
                raise ClientGone
            parts.append(cast("bytes", event.get("body", b"")))
            more = bool(event.get("more_body", False))
        pairs = cast("Iterable[tuple[bytes, bytes]]", scope["headers"])
        return cls(
            method=cast("str", scope["method"]),
            path=cast("str", scope["path"]),
            query=dict(parse_qsl(cast("bytes", scope["query_string"]).decode("latin-1"))),
            headers={name.decode("latin-1"): value.decode("latin-1") for name, value in pairs},
            body=b"".join(parts),
            arrived=arrived,
            scope=scope,
            receive=receive,
            send=send,
        )

    async def wait_until(self, time: float) -> None:
        """Sleep until `time` on Trio's clock; for ever if it is infinite.

        Raises:
            ClientGone: the client disconnected meanwhile; raised at once.
        """
        # The whole body has been read, so the next event can only be the disconnect.
        with trio.CancelScope(deadline=time):
            while (await self._receive())["type"] != "http.disconnect":
                pass
            raise ClientGone

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        """Send status and headers."""
        await self._send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            }
        )

    async def part(self, data: bytes, *, more: bool) -> None:
        """Send a piece of the body.

        Args:
            data: the bytes.
            more: True if more pieces follow.
        """
        await self._send({"type": "http.response.body", "body": data, "more_body": more})

    async def answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        """Send a whole response."""
        await self.start(status, {**headers, "content-length": str(len(body))})
        await self.part(body, more=False)

    def reset(self) -> None:
        """Drop the connection, if the server can (`RESET`); nothing may be sent after it."""
        extensions = cast("Mapping[str, object]", self._scope.get("extensions") or {})
        if RESET in extensions:
            cast("Callable[[], None]", extensions[RESET])()
