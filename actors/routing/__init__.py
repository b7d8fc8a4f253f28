"""Routing: `RouterActor` picks the cheapest route that meets the deadline of a call."""

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .actor import ExplainRoute, RouteChoice, RouterActor
    from .routes import BatchRoute, LiveRoute, Quote, Route, Routing, TierRoute
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        actor="ExplainRoute RouteChoice RouterActor",
        routes="BatchRoute LiveRoute Quote Route Routing TierRoute",
    )

__all__ = [
    "BatchRoute",
    "ExplainRoute",
    "LiveRoute",
    "Quote",
    "Route",
    "RouteChoice",
    "RouterActor",
    "Routing",
    "TierRoute",
]
