"""Routing: RouterActor picks the cheapest route that meets the deadline."""

from .actor import ExplainRoute, RouteChoice, RouterActor
from .routes import BatchRoute, LiveRoute, Quote, Route, Routing, TierRoute

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
