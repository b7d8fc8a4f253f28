"""What a batch strategy is: it combines requests into one call, and splits the response."""

from collections.abc import Callable, Hashable, Sequence
from typing import Protocol

import attrs

from ..identity import text_of_fields
from ..messages import Request
from ..responses import Response
from ..vendors import BatchLimits, BatchWeight

_OWN = ("cacheable", "deadline", "idempotency_key")
_IN_COMMON = tuple(field.name for field in attrs.fields(Request) if field.name not in _OWN)


class BatchStrategy(Protocol):
    """One way to send several requests as one call. Pure (R14).

    The batcher tries its strategies in order and uses the first that returns a key for a request.
    It sends members of a refused call again in two halves, members without a share of a response
    alone and unchanged (L11). So a strategy may reject a response that it cannot split with
    certainty.
    """

    @property
    def name(self) -> str:
        """The name in logs and in `Response.route`."""
        ...

    @property
    def check_share(self) -> float:
        """The share of members, 0 to 1, that are sent alone as well at first (see `CheckPlan`)."""
        ...

    @property
    def least_agreement(self) -> float:
        """The share of checks, 0 to 1, that must agree; below it, members are sent alone."""
        ...

    def key(self, request: Request) -> Hashable | None:
        """Return a key that requests in one call have in common; None for one that must be alone.

        Args:
            request: the request to classify.
        """
        ...

    def bounds_for(self, request: Request) -> BatchLimits:
        """Return the limits of one call.

        Args:
            request: a request that has a key; they are the same for all that have this key.
        """
        ...

    def pieces(self, request: Request, weigh: Callable[[str], BatchWeight]) -> Sequence[Request]:
        """Return the request itself, or several requests that each fit into one call.

        Args:
            request: a request that has a key.
            weigh: returns the weight of a text.
        """
        ...

    def texts(self, request: Request) -> Sequence[str]:
        """Return the texts of a request that count towards the limits of a call.

        Args:
            request: a request that has a key.
        """
        ...

    def combine(self, requests: Sequence[Request]) -> Request:
        """Return one request for several.

        Args:
            requests: at least one; all have the same key.
        """
        ...

    def form_tokens(self, request: Request) -> float | None:
        """Return the output tokens of a combined response for each request, besides its answer.

        With them the batcher estimates whether a combined call is cheaper than single calls, and
        combines only then. None: combining costs no tokens, and always saves calls.

        Args:
            request: a request that has a key.
        """
        ...

    def split(self, requests: Sequence[Request], response: Response) -> Sequence[Response | None]:
        """Return the response of each request; None if it is missing or ambiguous (L5).

        Args:
            requests: the requests that were combined, in the same order.
            response: the response to the combined request.
        """
        ...

    def join(self, request: Request, responses: Sequence[Response]) -> Response:
        """Return the response of a request that was sent in pieces.

        Args:
            request: the request as it was before it was divided.
            responses: the responses of its pieces, in order.
        """
        ...


def common_key(request: Request, *own: str) -> Hashable | None:
    """Return a key of all fields of a request except its own; None with an idempotency key.

    Args:
        request: the request to classify.
        own: names of the fields in which requests that share a call may differ.
    """
    if request.idempotency_key:
        return None
    return text_of_fields(request, (name for name in _IN_COMMON if name not in own))
