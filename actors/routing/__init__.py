"""Which way a request goes, by its deadline and the price. Pure but for the refs of the routes.

`callsheet.actors.router` does it.
"""

from .offer import Offer, choose
from .pace import Pace
from .routes import BatchRoute, LiveRoute, Route, Routing, TierRoute

__all__ = ["BatchRoute", "LiveRoute", "Offer", "Pace", "Route", "Routing", "TierRoute", "choose"]
