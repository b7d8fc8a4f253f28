"""How a call would be answered: what its stages say of it, put together. Pure (R14)."""

from decimal import Decimal

import attrs

from .messages import Usage
from .rate_limit import Explanation
from .routing import Quote, RouteChoice

__all__ = ["CallPlan", "SharedCall", "plan_call"]


@attrs.frozen(kw_only=True)
class SharedCall:
    """With whom a request would share a call if it came now.

    Args:
        is_joined: an identical request's call is under way.
        strategy: how it would be made one call with others; "" if it would go alone.
        members: how many would be in that call, itself included.
        share: of the tokens that its prompt has alone, how many it would be sent with.
    """

    is_joined: bool = False
    strategy: str = ""
    members: int = 1
    share: float = 1.0


@attrs.frozen(kw_only=True)
class CallPlan:
    """How a call would be answered if it came now. All of it is an estimate, and nothing was sent.

    Args:
        route: which way it would take, as `Response.route` says afterwards.
        cost_usd: what it would cost, in USD; None when the price is not known.
        expected_s: in how many seconds the answer would probably be there, its turn included.
        latest_s: in how many seconds it would be there at the latest; infinity if nobody says.
        quotes: what each way would take that was looked at, without those who share the call.
        sharing: with whom it would share the call.
        limits: what it would wait for, if it were sent live.
        usage: the tokens that it would probably take alone.
    """

    route: str
    cost_usd: Decimal | None
    expected_s: float
    latest_s: float
    quotes: tuple[Quote, ...]
    sharing: SharedCall
    limits: Explanation
    usage: Usage

    def __str__(self) -> str:
        cost = "at an unknown cost" if self.cost_usd is None else f"for {self.cost_usd:.6f} USD"
        return f"{self.route}, {cost}, in about {self.expected_s:.1f} s"


def plan_call(
    choice: RouteChoice, limits: Explanation, sharing: SharedCall, *, is_cached: bool
) -> CallPlan:
    """Put together what the stages say.

    Args:
        choice: the router.
        limits: the limiter.
        sharing: the batcher.
        is_cached: the cache has the answer.
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
