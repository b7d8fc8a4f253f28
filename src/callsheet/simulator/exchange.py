"""One HTTP request and its answer, as ASGI hands them over."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import cast
from urllib.parse import parse_qsl

import attrs
import trio

__all__ = [
    "RESET",
    "AsgiEvent",
    "AsgiExchange",
    "AsgiScope",
    "ClientGone",
    "Receive",
    "Send",
]


AsgiScope = Mapping[str, object]
AsgiEvent = Mapping[str, object]
Receive = Callable[[], Awaitable[AsgiEvent]]
Send = Callable[[AsgiEvent], Awaitable[None]]

RESET = "callsheet.reset"
"""The ASGI extension by which a server lets the app drop its connection: a function."""


class ClientGone(Exception):
    """The client closed the connection; whatever is left to do for it is in vain."""


@attrs.frozen(eq=False)
class AsgiExchange:
    """A request that has arrived in full, and the way back.

    Args:
        method: "GET", "POST" and so on.
        path: without the query.
        query: its members; the last of those with one name.
        headers: by lower-case name.
        body: the whole of it.
        arrived: when its first byte did, in seconds on Trio's clock.
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
        """Take in the request.

        Raises:
            ClientGone: it broke off.
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
        """Sleep until `time` on Trio's clock, or for ever when it is infinite.

        Raises:
            ClientGone: at once when the client goes away before that.
        """
        # The whole body is read, so all that can still be received is the client's going.
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
        """Send a piece of the body; the last one says that no more follow."""
        await self._send({"type": "http.response.body", "body": data, "more_body": more})

    async def answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        """Send a whole answer."""
        await self.start(status, {**headers, "content-length": str(len(body))})
        await self.part(body, more=False)

    def reset(self) -> None:
        """Drop the connection, where the server can (`RESET`); nothing may be sent after it."""
        extensions = cast("Mapping[str, object]", self._scope.get("extensions") or {})
        if RESET in extensions:
            cast("Callable[[], None]", extensions[RESET])()
