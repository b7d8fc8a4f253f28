"""The routes that a request can take to a provider: at once, in the slow lane, in the fast one.

What a route offers for a request, and which offer is taken. Pure (R14).
"""

from collections.abc import Sequence
from decimal import Decimal
from math import inf
from typing import Protocol

import attrs
from attrs.validators import ge, instance_of

from ...runtime import Ref
from ..messages import Request, Usage
from ..vendors import PriceBook

__all__ = [
    "BatchRoute",
    "LiveRoute",
    "Quote",
    "Route",
    "Routing",
    "TierRoute",
    "choose",
]


@attrs.frozen(kw_only=True)
class Quote:
    """What one route would take.

    Args:
        route: its name.
        cost_usd: what the call will probably cost, in USD; None when the price is not known.
        factor: how many times the usual price it costs.
        expected_s: in how many seconds the answer will probably be there.
        latest_s: in how many seconds it is there at the latest; infinity if nobody says.
        is_apart: it takes nothing of the limits that live calls have.
    """

    route: str
    cost_usd: Decimal | None
    factor: Decimal
    expected_s: float
    latest_s: float
    is_apart: bool = False

    def _rank(self) -> tuple[bool, Decimal, bool, float]:
        cost = self.factor if self.cost_usd is None else self.cost_usd
        return self.cost_usd is None, cost, not self.is_apart, self.expected_s


def choose(offers: Sequence[Quote], left_s: float) -> Quote:
    """The cheapest of those that come in time.

    Of equally cheap ones, what leaves the limits to live calls; then the quickest.

    A price that is not known is never taken for a low one: only where no price is known, the
    documented factors decide. If none comes in time, the quickest is taken.

    Args:
        offers: at least one.
        left_s: seconds until the answer is wanted.

    Raises:
        ValueError: there is no offer.
    """
    if not offers:
        raise ValueError("there is no route for the request")
    in_time = [offer for offer in offers if offer.expected_s <= left_s]
    if in_time:
        return min(in_time, key=Quote._rank)  # noqa: SLF001  # of this module
    return min(offers, key=lambda offer: offer.expected_s)


@attrs.frozen(kw_only=True)
class Routing:
    """When a request that can wait is sent by a cheaper route.

    Args:
        flex: use the provider's flex tier, where there is one.
        flex_from_s: from so many seconds on; flex calls are slow, and refused when it is busy.
        batch: use the provider's Batch API, where there is one.
        batch_from_s: from so many seconds on. Batches are promised within 24 hours and are often
            there within one; what is not there in time is sent live.
        priority: use the provider's priority tier, at a higher price, for what would come too late
            otherwise.

    Raises:
        ValueError, TypeError: a value is out of its range; the message names it.
    """

    flex: bool = attrs.field(default=True, validator=instance_of(bool))
    flex_from_s: float = attrs.field(default=900.0, validator=ge(0))
    batch: bool = attrs.field(default=True, validator=instance_of(bool))
    batch_from_s: float = attrs.field(default=3600.0, validator=ge(0))
    priority: bool = attrs.field(default=False, validator=instance_of(bool))


class Route(Protocol):
    """One way to an answer."""

    @property
    def name(self) -> str:
        """For `Response.route` and explanations."""
        ...

    @property
    def to(self) -> Ref | None:
        """Who takes the request on this route; None for the stage that takes it live."""
        ...

    def offer(
        self, request: Request, usage: Usage, left_s: float, expected_s: float | None
    ) -> Quote | None:
        """What it would take; None if it does not take such a request, or not in that time.

        Args:
            request: what is asked.
            usage: the tokens that it will probably take.
            left_s: seconds until the answer is wanted.
            expected_s: seconds in which most calls of the model on this route ended, if any did.
        """
        ...

    def adapt(self, request: Request) -> Request:
        """The request as it is sent on this route."""
        ...


@attrs.frozen
class LiveRoute:
    """At once, at the usual price (see `Route`).

    Args:
        prices: what models cost.
    """

    prices: PriceBook

    name = "live"
    to = None

    def offer(
        self,
        request: Request,
        usage: Usage,
        left_s: float,  # noqa: ARG002  # see Route
        expected_s: float | None,
    ) -> Quote | None:
        """It takes everything."""
        return Quote(
            route=self.name,
            cost_usd=self.prices.cost(request.model, usage),
            factor=Decimal(1),
            expected_s=_LIVE_S if expected_s is None else expected_s,
            latest_s=inf,
        )

    def adapt(self, request: Request) -> Request:
        """As it is."""
        return request


_LIVE_S = 5.0  # until one was seen


@attrs.frozen
class TierRoute:
    """Another service tier of the same endpoint (see `Route`).

    Args:
        name: of route and tier.
        prices: what models cost.
        factor: how many times the usual price it costs, by the provider's word.
        from_s: how many seconds there must be.
        usual_s: how long it takes, until one was seen.
    """

    name: str
    prices: PriceBook
    factor: Decimal
    from_s: float
    usual_s: float

    to = None

    def offer(
        self, request: Request, usage: Usage, left_s: float, expected_s: float | None
    ) -> Quote | None:
        """It takes chats, unless they ask for a tier themselves."""
        if request.task != "chat" or left_s < self.from_s or "service_tier" in request.extra_body:
            return None
        return Quote(
            route=self.name,
            cost_usd=self.prices.cost(request.model, usage, self.name),
            factor=self.factor,
            expected_s=self.usual_s if expected_s is None else expected_s,
            latest_s=inf,
        )

    def adapt(self, request: Request) -> Request:
        """With the tier in its body."""
        return attrs.evolve(request, extra_body={**request.extra_body, "service_tier": self.name})


@attrs.frozen
class BatchRoute:
    """The provider's Batch API (see `Route`).

    Args:
        to: the actor that speaks it. It sends live what is not there in time.
        prices: what models cost.
        from_s: how many seconds there must be.
    """

    to: Ref
    prices: PriceBook
    from_s: float

    name = "batch"

    def offer(
        self, request: Request, usage: Usage, left_s: float, expected_s: float | None
    ) -> Quote | None:
        """It takes what can wait, unless it asks for a tier."""
        if left_s < self.from_s or "service_tier" in request.extra_body:
            return None
        expected = self.from_s if expected_s is None else expected_s
        return Quote(
            route=self.name,
            cost_usd=self.prices.cost(request.model, usage, "batch"),
            factor=_HALF,
            expected_s=min(left_s, expected),
            latest_s=left_s,
            is_apart=True,
        )

    def adapt(self, request: Request) -> Request:
        """As it is."""
        return request


_HALF = Decimal("0.5")
