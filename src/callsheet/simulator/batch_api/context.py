"""A call that controls files or batches, and what it is answered with."""

from collections.abc import Callable, Mapping, Sequence

import attrs

from ..apierror import RequestRefused
from ..body import RequestBody
from ..delivery import JSON_BODY
from ..exchange import AsgiExchange
from ..jsontext import Json, compact
from ..middleware import Instant
from ..vendor import SimulatedVendor

__all__ = [
    "BatchRequestContext",
    "HttpRoute",
    "JsonReply",
    "RouteHandler",
]


@attrs.frozen(eq=False)
class BatchRequestContext:
    """A call.

    Args:
        exchange: the request.
        at: when it came.
    """

    exchange: AsgiExchange
    at: Instant

    def body(self) -> RequestBody:
        """Its JSON body."""
        return RequestBody.parse(self.exchange.body)

    def limit(self, most: int, default: int) -> int:
        """How many items of a list it asks for.

        Raises:
            RequestRefused: 400, it is no number, or too large.
        """
        asked = self.exchange.query.get("limit")
        if asked is None:
            return default
        value: Json = int(asked) if asked.isdecimal() else asked
        return RequestBody({"limit": value}).integer("limit", 1, most) or default


@attrs.frozen
class JsonReply:
    """A whole answer of status 200.

    Args:
        body: its bytes.
        headers: its type, and what else it has.
    """

    body: bytes = attrs.field(repr=False)
    headers: Mapping[str, str] = JSON_BODY

    @classmethod
    def of(cls, value: Mapping[str, Json], **headers: str) -> "JsonReply":
        """Answer with a JSON object; an underscore in a header's name is a dash."""
        more = {name.replace("_", "-"): text for name, text in headers.items()}
        return cls(compact(value), JSON_BODY | more)

    @classmethod
    def list(cls, values: Sequence[Mapping[str, Json]]) -> "JsonReply":
        """Answer with a bare JSON array."""
        return cls(b"[%b]" % b",".join(map(compact, values)))


RouteHandler = Callable[[BatchRequestContext], JsonReply]


@attrs.frozen(eq=False)
class HttpRoute:
    """What there is at one path.

    Args:
        vendor: whose it is.
        handlers: what each method does there.
    """

    vendor: SimulatedVendor
    handlers: Mapping[str, RouteHandler]

    def handler(self, method: str) -> RouteHandler:
        """What a method does.

        Raises:
            RequestRefused: 405, nothing.
        """
        found = self.handlers.get(method)
        if found is None:
            raise RequestRefused.no_such_method(method, ", ".join(self.handlers))
        return found
