"""Combine what the stages report about a call into one plan. Pure (R14)."""

from decimal import Decimal
from typing import TYPE_CHECKING

import attrs

from .responses import Usage

if TYPE_CHECKING:
    from .prompt_cache import PromptCachePlan
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
        share: its part of the cost of the shared call, the form of the response and the calls that
            check it included, divided by its cost alone. 0.25 stands for a quarter.
        could_be: the name of the strategy that would combine it with enough requests like it;
            empty if that is not possible or not cheaper.
        full_share: the same as `share`, if that call were full.
    """

    is_joined: bool = False
    strategy: str = ""
    members: int = 1
    share: float = 1.0
    could_be: str = ""
    full_share: float = 1.0


@attrs.frozen(kw_only=True)
class CallPlan:
    """How a call would be made if it came now. Every value is an estimate; nothing was sent.

    Args:
        route: the route that the call would take, in the words of `Response.route`.
        cost_usd: the cost in USD, less what the provider's prompt cache saves now; None when the
            price is not known.
        expected_s: seconds until the response would probably arrive, waits included.
        latest_s: seconds until it would arrive at the latest; infinity if there is no bound.
        quotes: the quote of each route that was compared, for a call that is not shared, and of
            the chosen one in a full shared call, such as "pack".
        sharing: the call that the request would share.
        limits: what the call would wait for if it were sent live.
        usage: the tokens that it would probably use if sent alone.
        prompt_cache: what it would do with the provider's prompt cache if it were sent live and
            alone; None if prompt caching is not planned.
    """

    route: str
    cost_usd: Decimal | None
    expected_s: float
    latest_s: float
    quotes: "tuple[Quote, ...]"
    sharing: SharedCall
    limits: "Explanation"
    usage: Usage
    prompt_cache: "PromptCachePlan | None" = None

    def __str__(self) -> str:
        cost = "at an unknown cost" if self.cost_usd is None else f"for {self.cost_usd:.6f} USD"
        return f"{self.route}, {cost}, in about {self.expected_s:.1f} s"


def plan_call(
    choice: "RouteChoice",
    limits: "Explanation",
    sharing: SharedCall,
    caching: "PromptCachePlan | None" = None,
    *,
    is_cached: bool,
) -> CallPlan:
    """Combine the reports of the stages.

    Args:
        choice: the router's report.
        limits: the limiter's report.
        sharing: the batcher's report.
        caching: the report of the stage of the prompt cache; None without it.
        is_cached: whether the cache has the response.
    """
    chosen = _with_cache(choice.chosen, choice, caching)
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
            route = _shared_route(sharing.strategy, route)
            cost = None if cost is None else cost * _factor(sharing.share)
    quotes = tuple(_with_cache(quote, choice, caching) for quote in choice.quotes)
    if sharing.could_be:
        quotes = (*quotes, _in_full_call(chosen, sharing))
    return CallPlan(
        route=route,
        cost_usd=cost,
        expected_s=expected_s,
        latest_s=latest_s,
        quotes=quotes,
        sharing=sharing,
        limits=limits,
        usage=choice.usage,
        prompt_cache=caching,
    )


def _with_cache(
    quote: "Quote", choice: "RouteChoice", caching: "PromptCachePlan | None"
) -> "Quote":
    """Return the quote of a live call or of its tier with what the prompt cache saves now."""
    is_live = quote.route == choice.quotes[0].route or quote.saves_usd
    if caching is None or quote.cost_usd is None or not is_live:
        return quote
    cost = quote.cost_usd - caching.saving_usd * quote.factor
    return attrs.evolve(quote, cost_usd=max(Decimal(0), cost))


def _in_full_call(chosen: "Quote", sharing: SharedCall) -> "Quote":
    """Return the quote of a route for the call's part of a full shared call."""
    factor, cost = _factor(sharing.full_share), chosen.cost_usd
    return attrs.evolve(
        chosen,
        route=_shared_route(sharing.could_be, chosen.route),
        cost_usd=None if cost is None else cost * factor,
        factor=chosen.factor * factor,
    )


def _shared_route(strategy: str, route: str) -> str:
    return strategy if route == "live" else f"{strategy}+{route}"


def _factor(share: float) -> Decimal:
    return Decimal(str(round(share, 6)))
