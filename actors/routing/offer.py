"""What a route offers for a request, and which offer is taken. Pure (R14)."""

from collections.abc import Sequence
from decimal import Decimal

import attrs

__all__ = ["Offer", "choose"]


@attrs.frozen(kw_only=True)
class Offer:
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


def choose(offers: Sequence[Offer], left_s: float) -> Offer:
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
        return min(in_time, key=Offer._rank)  # noqa: SLF001  # of this module
    return min(offers, key=lambda offer: offer.expected_s)
