"""The routes to a provider, the quote of each for a request, and the choice. Pure (R14)."""

from collections.abc import Sequence
from decimal import Decimal
from math import inf
from typing import Protocol

import attrs

from ...runtime import Ref
from ..messages import Request
from ..responses import Usage
from ..validation import ge, instance_of
from ..vendors import PriceBook


@attrs.frozen(kw_only=True)
class Quote:
    """Estimated cost and duration of a call by one route.

    Args:
        route: name of the route.
        cost_usd: estimated cost of the call in USD; None if the price is not known.
        factor: the route's price as a factor of the usual price; 0.5 is half.
        expected_s: estimated seconds until the response.
        latest_s: the most seconds until the response; infinity without a guarantee.
        is_apart: whether the call does not count towards the limits of live calls.
        is_only: whether the call may take no other route.
        saves_usd: what the provider's prompt cache is expected to save of the cost, in USD, if the
            calls that share a beginning with this one take the same route; negative if writing to
            it costs more.
    """

    route: str
    cost_usd: Decimal | None
    factor: Decimal
    expected_s: float
    latest_s: float
    is_apart: bool = False
    is_only: bool = False
    saves_usd: Decimal = Decimal(0)

    def _rank(self) -> tuple[bool, Decimal, bool, float]:
        cost = self.factor if self.cost_usd is None else self.cost_usd - self.saves_usd
        return self.cost_usd is None, cost, not self.is_apart, self.expected_s


def choose(quotes: Sequence[Quote], left_s: float) -> Quote:
    """Return the cheapest quote that meets the deadline, or the only one that is allowed.

    Of equal costs, one that does not use the limits of live calls is preferred, then the fastest.
    An unknown price is never treated as low: the documented factors decide only if no price is
    known. If no quote meets the deadline, the fastest is returned.

    Args:
        quotes: at least one.
        left_s: seconds until the deadline.

    Raises:
        ValueError: there is no quote.
    """
    if not quotes:
        raise ValueError("there is no route for the request")
    if only := [quote for quote in quotes if quote.is_only]:
        return only[0]
    in_time = [quote for quote in quotes if quote.expected_s <= left_s]
    if in_time:
        return min(in_time, key=Quote._rank)  # noqa: SLF001  # of this module
    return min(quotes, key=lambda quote: quote.expected_s)


@attrs.frozen(kw_only=True)
class Routing:
    """When a request with a deadline is sent by another route.

    Args:
        flex: use the provider's flex tier, if it has one.
        flex_from_s: the shortest deadline for the flex tier, in seconds. Flex calls are slow, and
            the provider refuses them when it is busy.
        batch: use the provider's Batch API, if it has one.
        batch_only: send every request with a deadline to the Batch API, whatever its price and its
            deadline; with `BatchApiPolicy.is_required`, one that it cannot take fails.
        batch_from_s: the shortest deadline for the Batch API, in seconds. Providers guarantee a
            batch within 24 hours, and often complete it within one. A request without a result in
            time is sent live.
        priority: use the provider's priority tier, at a higher price, for a request that would miss
            its deadline otherwise.

    Raises:
        ValueError: a value is out of its range; the message names it.
        TypeError: a value has the wrong type; the message names it.
    """

    flex: bool = attrs.field(default=True, validator=instance_of(bool))
    flex_from_s: float = attrs.field(default=900.0, validator=ge(0))
    batch: bool = attrs.field(default=True, validator=instance_of(bool))
    batch_only: bool = attrs.field(default=False, validator=instance_of(bool))
    batch_from_s: float = attrs.field(default=3600.0, validator=ge(0))
    priority: bool = attrs.field(default=False, validator=instance_of(bool))


class Route(Protocol):
    """One way to send a request."""

    @property
    def name(self) -> str:
        """The name in `Response.route` and in explanations."""
        ...

    @property
    def to(self) -> Ref | None:
        """The next stage on this route; None for the stage for live requests."""
        ...

    def quote(
        self, request: Request, usage: Usage, left_s: float, expected_s: float | None
    ) -> Quote | None:
        """Return the quote for a request; None if this route does not accept it in that time.

        Args:
            request: the request that needs a route.
            usage: the estimated tokens of the request and its response.
            left_s: seconds until its deadline.
            expected_s: seconds in which most calls of the model on this route ended; None before
                the first call.
        """
        ...

    def adapt(self, request: Request) -> Request:
        """Return the request as it is sent on this route.

        Args:
            request: the request as the caller made it.
        """
        ...


@attrs.frozen
class LiveRoute:
    """The usual endpoint, at the usual price (see `Route`).

    Args:
        prices: prices of models.
    """

    prices: PriceBook

    name = "live"
    to = None

    def quote(
        self,
        request: Request,
        usage: Usage,
        left_s: float,  # noqa: ARG002  # see Route
        expected_s: float | None,
    ) -> Quote | None:
        """See `Route`; it accepts every request."""
        return Quote(
            route=self.name,
            cost_usd=self.prices.cost(request.model, usage),
            factor=Decimal(1),
            expected_s=_LIVE_S if expected_s is None else expected_s,
            latest_s=inf,
        )

    def adapt(self, request: Request) -> Request:
        """Return the request unchanged."""
        return request


_LIVE_S = 5.0  # seconds; expected before the first call


@attrs.frozen
class TierRoute:
    """Another service tier of the same endpoint (see `Route`).

    Args:
        name: name of the route and of the tier.
        prices: prices of models.
        factor: documented price of the tier, as a factor of the usual price.
        from_s: the shortest deadline for this route, in seconds.
        usual_s: expected seconds before the first call.
        field: the member of the body that names the tier.
    """

    name: str
    prices: PriceBook
    factor: Decimal
    from_s: float
    usual_s: float
    field: str = "service_tier"

    to = None

    def quote(
        self, request: Request, usage: Usage, left_s: float, expected_s: float | None
    ) -> Quote | None:
        """See `Route`; it accepts chats that do not request a tier themselves."""
        if request.task != "chat" or left_s < self.from_s or self.field in request.extra_body:
            return None
        return Quote(
            route=self.name,
            cost_usd=self.prices.cost(request.model, usage, self.name),
            factor=self.factor,
            expected_s=self.usual_s if expected_s is None else expected_s,
            latest_s=inf,
        )

    def adapt(self, request: Request) -> Request:
        """Return the request with the tier in its body."""
        return attrs.evolve(request, extra_body={**request.extra_body, self.field: self.name})


@attrs.frozen
class BatchRoute:
    """The provider's Batch API (see `Route`).

    Args:
        to: the Batch API actor. It sends requests live that have no result in time.
        prices: prices of models.
        from_s: the shortest deadline for this route, in seconds.
        is_only: whether every request takes this route.
    """

    to: Ref
    prices: PriceBook
    from_s: float
    is_only: bool = False

    name = "batch"

    def quote(
        self, request: Request, usage: Usage, left_s: float, expected_s: float | None
    ) -> Quote | None:
        """See `Route`; it accepts requests that can wait and request no tier and no headers."""
        is_plain = "service_tier" not in request.extra_body and not request.extra_headers
        can_take = left_s >= self.from_s and is_plain
        if not (can_take or self.is_only):
            return None
        expected = self.from_s if expected_s is None else expected_s
        return Quote(
            route=self.name,
            cost_usd=self.prices.cost(request.model, usage, "batch"),
            factor=_HALF,
            expected_s=min(left_s, expected),
            latest_s=left_s,
            is_apart=True,
            is_only=self.is_only,
        )

    def adapt(self, request: Request) -> Request:
        """Return the request unchanged."""
        return request


_HALF = Decimal("0.5")
