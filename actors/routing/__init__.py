"""Routing: `RouterActor` picks the cheapest route that meets the deadline of a call."""

from ..lazy import lazy_imports

with lazy_imports(__name__):
    from .actor import ExplainRoute as ExplainRoute
    from .actor import RouteChoice as RouteChoice
    from .actor import RouterActor as RouterActor
    from .routes import BatchRoute as BatchRoute
    from .routes import LiveRoute as LiveRoute
    from .routes import Quote as Quote
    from .routes import Route as Route
    from .routes import Routing as Routing
    from .routes import TierRoute as TierRoute
