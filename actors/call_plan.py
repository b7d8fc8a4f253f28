"""Combine what the stages report about a call into one plan. Pure (R14)."""

from decimal import Decimal
from typing import TYPE_CHECKING

import attrs

from .responses import Usage

if TYPE_CHECKING:
    from .rate_limit import Explanation
    from .routing import Quote, RouteChoice


@attrs.frozen(kw_only=True)
class SharedCall:
    """The call that a request would share with other requests.

    Args:
        is_joined: whether a call for an identical request is in flight, which it would join.
        strategy: the name of the strategy that would combine it with other requests; empty if it
            would be sent alone.
        members: how many requests would share the call, this one included.
        share: its part of the prompt tokens of the shared call, divided by the prompt tokens that
            it needs alone. 0.25 stands for a quarter.
    """

    is_joined: bool = False
    strategy: str = ""
    members: int = 1
    share: float = 1.0


@attrs.frozen(kw_only=True)
class CallPlan:
    """How a call would be made if it came now. Every value is an estimate; nothing was sent.

    Args:
        route: the route that the call would take, in the words of `Response.route`.
        cost_usd: the cost in USD; None when the price is not known.
        expected_s: seconds until the response would probably arrive, waits included.
        latest_s: seconds until it would arrive at the latest; infinity if there is no bound.
        quotes: the quote of each route that was compared, for a call that is not shared.
        sharing: the call that the request would share.
        limits: what the call would wait for if it were sent live.
        usage: the tokens that it would probably use if sent alone.
    """

    route: str
    cost_usd: Decimal | None
    expected_s: float
    latest_s: float
    quotes: "tuple[Quote, ...]"
    sharing: SharedCall
    limits: "Explanation"
    usage: Usage

    def __str__(self) -> str:
        cost = "at an unknown cost" if self.cost_usd is None else f"for {self.cost_usd:.6f} USD"
        return f"{self.route}, {cost}, in about {self.expected_s:.1f} s"


def plan_call(
    choice: "RouteChoice", limits: "Explanation", sharing: SharedCall, *, is_cached: bool
) -> CallPlan:
    """Combine the reports of the stages.

    Args:
        choice: the router's report.
        limits: the limiter's report.
        sharing: the batcher's report.
        is_cached: whether the cache has the response.
    """
    chosen = choice.chosen
    cost, expected_s, latest_s = chosen.cost_usd, chosen.expected_s, chosen.latest_s
    route = chosen.route
    if is_cached:
        route, cost, expected_s, latest_s = "cache", Decimal(0), 0.0, 0.0
    elif sharing.is_joined:
        route, cost = "joined", Decimal(0)
    else:
        if not chosen.is_apart:
            expected_s += limits.wait_s
        if sharing.strategy:
            route = sharing.strategy if route == "live" else f"{sharing.strategy}+{route}"
            cost = None if cost is None else cost * Decimal(str(round(sharing.share, 6)))
    return CallPlan(
        route=route,
        cost_usd=cost,
        expected_s=expected_s,
        latest_s=latest_s,
        quotes=choice.quotes,
        sharing=sharing,
        limits=limits,
        usage=choice.usage,
    )
