"""A call that controls files or batches, and what it is answered with."""

from collections.abc import Callable, Mapping, Sequence

import attrs

from ..apierror import ApiError
from ..body import Body
from ..delivery import JSON_BODY
from ..exchange import Exchange
from ..jsontext import Json, compact
from ..middleware import Instant
from ..vendor import Vendor

__all__ = [
    "Handler",
    "Reply",
    "Route",
    "Visit",
]


@attrs.frozen(eq=False)
class Visit:
    """A call.

    Args:
        exchange: the request.
        at: when it came.
    """

    exchange: Exchange
    at: Instant

    def body(self) -> Body:
        """Its JSON body."""
        return Body.parse(self.exchange.body)

    def limit(self, most: int, default: int) -> int:
        """How many items of a list it asks for.

        Raises:
            ApiError: 400, it is no number, or too large.
        """
        asked = self.exchange.query.get("limit")
        if asked is None:
            return default
        value: Json = int(asked) if asked.isdecimal() else asked
        return Body({"limit": value}).integer("limit", 1, most) or default


@attrs.frozen
class Reply:
    """A whole answer of status 200.

    Args:
        body: its bytes.
        headers: its type, and what else it has.
    """

    body: bytes = attrs.field(repr=False)
    headers: Mapping[str, str] = JSON_BODY

    @classmethod
    def of(cls, value: Mapping[str, Json], **headers: str) -> "Reply":
        """Answer with a JSON object; an underscore in a header's name is a dash."""
        more = {name.replace("_", "-"): text for name, text in headers.items()}
        return cls(compact(value), JSON_BODY | more)

    @classmethod
    def list(cls, values: Sequence[Mapping[str, Json]]) -> "Reply":
        """Answer with a bare JSON array."""
        return cls(b"[%b]" % b",".join(map(compact, values)))


Handler = Callable[[Visit], Reply]


@attrs.frozen(eq=False)
class Route:
    """What there is at one path.

    Args:
        vendor: whose it is.
        handlers: what each method does there.
    """

    vendor: Vendor
    handlers: Mapping[str, Handler]

    def handler(self, method: str) -> Handler:
        """What a method does.

        Raises:
            ApiError: 405, nothing.
        """
        found = self.handlers.get(method)
        if found is None:
            raise ApiError.no_such_method(method, ", ".join(self.handlers))
        return found
