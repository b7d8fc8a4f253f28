"""A call that controls files or batches, and its reply."""

from collections.abc import Callable, Mapping, Sequence

import attrs

from ..body import RequestBody, RequestRefused
from ..delivery import JSON_BODY
from ..exchange import AsgiExchange
from ..middleware import Instant
from ..vendor import SimulatedVendor
from ..wire import Json, compact


@attrs.frozen(eq=False)
class BatchRequestContext:
    """A call that controls files or batches.

    Args:
        exchange: the HTTP request.
        at: the time of its arrival.
    """

    exchange: AsgiExchange
    at: Instant

    def body(self) -> RequestBody:
        """The JSON body of the call."""
        return RequestBody.parse(self.exchange.body)

    def limit(self, most: int, default: int) -> int:
        """Return the requested number of items of a list.

        Raises:
            RequestRefused: 400, it is not an integer within its bounds.
        """
        asked = self.exchange.query.get("limit")
        if asked is None:
            return default
        value: Json = int(asked) if asked.isdecimal() else asked
        return RequestBody({"limit": value}).integer("limit", 1, most) or default


@attrs.frozen
class JsonReply:
    """A complete response with status 200.

    Args:
        body: the bytes.
        headers: the headers, content type included.
    """

    body: bytes = attrs.field(repr=False)
    headers: Mapping[str, str] = JSON_BODY

    @classmethod
    def of(cls, value: Mapping[str, Json], **headers: str) -> "JsonReply":
        """Make a reply with a JSON object; an underscore in a header's name becomes a dash."""
        more = {name.replace("_", "-"): text for name, text in headers.items()}
        return cls(compact(value), JSON_BODY | more)

    @classmethod
    def list(cls, values: Sequence[Mapping[str, Json]]) -> "JsonReply":
        """Make a reply with a JSON array."""
        return cls(b"[%b]" % b",".join(map(compact, values)))


RouteHandler = Callable[[BatchRequestContext], JsonReply]


@attrs.frozen(eq=False)
class HttpRoute:
    """The handlers of one path.

    Args:
        vendor: the vendor that the path belongs to.
        handlers: {HTTP method: handler}.
    """

    vendor: SimulatedVendor
    handlers: Mapping[str, RouteHandler]

    def handler(self, method: str) -> RouteHandler:
        """Return the handler of a method.

        Raises:
            RequestRefused: 405, the path has no such method.
        """
        found = self.handlers.get(method)
        if found is None:
            raise RequestRefused.no_such_method(method, ", ".join(self.handlers))
        return found
