"""A way in which several requests become one call, and its answer theirs again."""

from collections.abc import Callable, Hashable, Sequence
from typing import Protocol

import attrs

from ..identity import text_of_fields
from ..messages import Request, Response
from ..vendors import BatchLimits, BatchWeight

__all__ = [
    "BatchStrategy",
    "common_key",
]


_OWN = ("cacheable", "deadline", "idempotency_key")
_IN_COMMON = tuple(field.name for field in attrs.fields(Request) if field.name not in _OWN)


class BatchStrategy(Protocol):
    """One way of sending several requests as one. Pure (R14): it writes and reads, no more.

    The batcher tries its strategies one after the other; the first with a key for a request
    gathers it. What the answer lacks is asked for again by halves, and what is left alone is sent
    as it is, so that a strategy is free to find fault with an answer.
    """

    @property
    def name(self) -> str:
        """For logs, and `Response.route`."""
        ...

    @property
    def bounds(self) -> BatchLimits:
        """What one call may come to."""
        ...

    @property
    def check_share(self) -> float:
        """The share of members that are asked alone as well, to compare; 0 for none."""
        ...

    @property
    def least_agreement(self) -> float:
        """The share of answers that must stand such a check; below it, members are sent alone."""
        ...

    def key(self, request: Request) -> Hashable | None:
        """What requests must have in common to share a call; None if this one cannot."""
        ...

    def pieces(self, request: Request, weigh: Callable[[str], BatchWeight]) -> Sequence[Request]:
        """The request itself, or parts of it that fit into one call each.

        Args:
            request: one that has a key.
            weigh: what one text comes to.
        """
        ...

    def texts(self, request: Request) -> Sequence[str]:
        """What of it weighs in a call: its members."""
        ...

    def combine(self, requests: Sequence[Request]) -> Request:
        """One request for all of these, which have the same key."""
        ...

    def split(self, requests: Sequence[Request], response: Response) -> Sequence[Response | None]:
        """The answer of each of them; None for one that has none, or no clear one (L5)."""
        ...

    def join(self, request: Request, answers: Sequence[Response]) -> Response:
        """The answer of a request that was sent in pieces, in their order."""
        ...


def common_key(request: Request, *own: str) -> Hashable | None:
    """All fields of a request but its own ones; None if it has a name of its own at the provider.

    Args:
        request: the request.
        own: names of the fields in which requests that share a call may differ.
    """
    if request.idempotency_key:
        return None
    return text_of_fields(request, (name for name in _IN_COMMON if name not in own))
