"""What a dialect is: it reads the bodies of one kind of call, and writes their answers. Pure (R14).

A dialect knows nothing of HTTP, keys and troupes. Where the provider speaks the same dialect, its
own body and events go to the client as they are; otherwise they are made from the response.
"""

from collections.abc import Mapping
from typing import Literal, Protocol

import attrs

from ...actors import Delta, Json, ProviderEvent, Request, Response
from ..errors import Refusal

DialectName = Literal["chat", "completions", "embeddings", "responses", "messages"]
"""Chats, completions, embeddings and Responses of OpenAI, and messages of Anthropic."""


@attrs.frozen(kw_only=True)
class InboundCall:
    """A call of a client, and what writing its answer depends on.

    Args:
        request: the request, with the model that the client names.
        is_streamed: whether the client wants a stream.
        include_usage: whether a stream of chunks ends with one that has the usage.
        is_base64: whether vectors are written in base64.
        echoes: members of the body that an answer repeats, such as the tools in Responses.
    """

    request: Request
    is_streamed: bool = False
    include_usage: bool = False
    is_base64: bool = False
    echoes: Mapping[str, Json] = attrs.field(factory=dict[str, Json], repr=False)


class StreamWriter(Protocol):
    """Writes the server-sent events of one answer."""

    def feed(self, item: ProviderEvent | Delta) -> bytes:
        """Return the events for one piece; b"" for none.

        Args:
            item: the next piece of the response.
        """
        ...

    def end(self, response: Response) -> bytes:
        """Return the last events.

        Args:
            response: the whole response.
        """
        ...


class Dialect(Protocol):
    """Reads the bodies of one kind of call, and writes their answers."""

    @property
    def name(self) -> DialectName:
        """The name of the dialect."""
        ...

    @property
    def vendor(self) -> Literal["openai", "anthropic"]:
        """The vendor whose SDKs speak it, and whose shape its errors have."""
        ...

    def read(self, body: Mapping[str, Json]) -> InboundCall:
        """Return the call that a body asks for.

        A provider that speaks the same dialect gets an equivalent body.

        Args:
            body: the decoded JSON.

        Raises:
            InvalidBody: the body is invalid; the error names the member.
        """
        ...

    def whole(self, call: InboundCall, response: Response, *, name: str, created: int) -> bytes:
        """Return the body of a whole answer: the provider's own if it is in this dialect.

        Args:
            call: the call that is answered.
            response: the response to its request.
            name: a text that no other answer has, to make ids from.
            created: the time of the response, in seconds of Unix time.
        """
        ...

    def stream(self, call: InboundCall, *, name: str, created: int) -> StreamWriter:
        """Return what writes a streamed answer.

        Args:
            call: the call that is answered.
            name: a text that no other answer has, to make ids from.
            created: the time of the response, in seconds of Unix time.
        """
        ...

    def error(self, refusal: Refusal, request_id: str) -> bytes:
        """Return the body of an answer with an error status.

        Args:
            refusal: what the client is told.
            request_id: the gateway's id of the HTTP request.
        """
        ...

    def error_event(self, refusal: Refusal, request_id: str) -> bytes:
        """Return the event with which a stream that has begun fails.

        Args:
            refusal: what the client is told.
            request_id: the gateway's id of the HTTP request.
        """
        ...
