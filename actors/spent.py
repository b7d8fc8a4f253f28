"""What a request took before the call that ends it: each caller learns all that it cost (L3)."""

from decimal import Decimal

import attrs

from .errors import CallFailed
from .responses import Response, Usage, sum_of_costs


@attrs.frozen
class Spent:
    """What earlier calls for a request took, before the one whose end its caller learns.

    Args:
        usage: the tokens of those calls.
        cost_usd: cost in USD; None if a price is not known.
        http_requests: number of HTTP requests.
        maybe_billed: number of requests without a response that the provider may have billed.
    """

    usage: Usage = attrs.field(factory=Usage)
    cost_usd: Decimal | None = Decimal(0)
    http_requests: int = 0
    maybe_billed: int = 0

    def plus(self, response: Response) -> "Spent":
        """Return the sum of this and what a response took."""
        return Spent(
            self.usage + response.usage,
            sum_of_costs(self.cost_usd, response.cost_usd),
            self.http_requests + response.http_requests,
            self.maybe_billed + response.maybe_billed,
        )

    def on(self, response: Response) -> Response:
        """Return `response` with this added to its usage, cost and counts."""
        whole = self.plus(response)
        return attrs.evolve(
            response,
            usage=whole.usage,
            cost_usd=whole.cost_usd,
            http_requests=whole.http_requests,
            maybe_billed=whole.maybe_billed,
        )

    def plus_failure(self, error: CallFailed) -> "Spent":
        """Return the sum of this and what a call without a response took."""
        return Spent(
            self.usage + error.usage,
            sum_of_costs(self.cost_usd, error.cost_usd),
            self.http_requests + error.attempts,
            self.maybe_billed + (error.maybe_billed or int(error.billed == "maybe")),
        )

    def on_failure(self, error: Exception) -> Exception:
        """Return `error` with this added; what the runtime says of a call has no cost."""
        if self == Spent() or not isinstance(error, CallFailed):
            return error
        return error.after(
            self.usage,
            self.cost_usd,
            attempts=self.http_requests,
            maybe_billed=self.maybe_billed,
        )
