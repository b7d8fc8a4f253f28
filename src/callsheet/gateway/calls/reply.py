"""The response to one call: whole, streamed, or an error in the dialect of the client."""

from typing import final

import attrs
from starlette.types import Scope, Send

from ..dialects import Dialect
from ..errors import Refusal
from .response_headers import Headers, head_of, json_headers, of_refusal
from .sse import EventStream


def headers_of(scope: Scope) -> dict[str, str]:
    """Return the headers of a request, by names in lower case.

    Args:
        scope: the request, as ASGI has it.
    """
    return {
        name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
    }


@final
@attrs.define(kw_only=True)
class Reply:
    """The response to one call.

    Args:
        send: sends messages to the client, as ASGI has them.
        dialect: writes the bodies.
        request_id: the id of the request.
        head: the headers of every response.

    Attributes:
        stream: the stream, if the response is one.
    """

    send: Send
    dialect: Dialect
    request_id: str
    head: Headers
    stream: EventStream | None = attrs.field(default=None, init=False)

    @classmethod
    def to(cls, send: Send, dialect: Dialect, request_id: str) -> "Reply":
        """Return the response to a request that has an id.

        Args:
            send: sends messages to the client.
            dialect: writes the bodies.
            request_id: the id of the request.
        """
        head = head_of(dialect.vendor, request_id)
        return cls(send=send, dialect=dialect, request_id=request_id, head=head)

    async def whole(self, body: bytes, headers: Headers, status: int = 200) -> None:
        """Send a whole response.

        Args:
            body: the JSON text.
            headers: the headers, with those of the body.
            status: the HTTP status.
        """
        await self.send(
            {"type": "http.response.start", "status": status, "headers": [*self.head, *headers]}
        )
        await self.send({"type": "http.response.body", "body": body})

    def streamed(self, headers: Headers) -> EventStream:
        """Return the stream to write to.

        Args:
            headers: the headers beside those of every response and every stream.
        """
        self.stream = EventStream(self.send, [*self.head, *headers])
        return self.stream

    async def refuse(self, refusal: Refusal) -> None:
        """Send an error, as a response or as the last event of a stream that has begun.

        Args:
            refusal: why the call is refused.
        """
        if self.stream is not None and self.stream.has_begun:
            await self.stream.end(self.dialect.error_event(refusal, self.request_id))
            return
        body = self.dialect.error(refusal, self.request_id)
        await self.whole(body, [*json_headers(body), *of_refusal(refusal)], refusal.status)
