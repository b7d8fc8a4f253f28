"""What a provider's prompt cache saves of calls that are not sent yet. Pure (R14)."""

from decimal import Decimal
from typing import final

from ..messages import Request
from ..vendors import Endpoint, PriceBook
from .marks import is_marked
from .planning import CachePlanner, PromptCaching
from .terms import cache_terms, has_prompt_cache

_MAX_WRITTEN = 20_000  # beginnings; then the one that was written first is forgotten


def beginning_share(
    request: Request[object], tokens: int, *, vendor: str, prices: PriceBook, adds_marks: bool
) -> float:
    """Return what the tokens of a shared beginning cost, as a share of the price of input.

    It is 1 where the beginning is not cached, or where nothing is known of its price. The calls
    that write a beginning count where a key leads only so many calls a minute to one cache; a
    single one before a thousand others does not.

    Args:
        request: one of the requests.
        tokens: the tokens of the beginning.
        vendor: name of the vendor.
        prices: the prices there.
        adds_marks: whether marks and keys are added to requests that have none.
    """
    terms = cache_terms(vendor, request.model)
    price = prices.price(request.model)
    if terms is None or tokens < terms.minimum or price is None:
        return 1.0
    if price.cached is None or not price.input:
        return 1.0
    if not (terms.shares_unmarked or adds_marks or is_marked(request)):
        return 1.0
    read = float(price.cached / price.input)
    if terms.key_per_minute is None:
        return min(1.0, read)
    write = 1.0 if price.cache_write is None else float(price.cache_write / price.input)
    return min(1.0, read + (write - read) / terms.key_per_minute)


@final
class CacheForecast:
    """Adds up what the prompt cache would save of calls that are sent one after another at once.

    Args:
        endpoint: where the calls would be sent.
        prices: prices of models.
        caching: how far prompt caching would be planned.

    Attributes:
        saved_usd: what is saved in USD, less what writing costs in addition.
        calls: the number of calls that read a beginning.
    """

    def __init__(self, endpoint: Endpoint, prices: PriceBook, caching: PromptCaching) -> None:
        self.saved_usd, self.calls = Decimal(0), 0
        self._written: dict[bytes, None] = {}
        self._planner: CachePlanner | None = None
        if caching != "off" and not endpoint.members and has_prompt_cache(endpoint.vendor.name):
            there = prices.at_vendor(endpoint.vendor.price_list)
            self._planner = CachePlanner(endpoint, there, caching)

    def __repr__(self) -> str:
        return f"<CacheForecast {self.calls} calls, {self.saved_usd} USD saved>"

    def add(self, request: Request[object]) -> None:
        """Add a call.

        Args:
            request: the request of the call.
        """
        planner = self._planner
        plan = None if planner is None else planner.plan(request, "", 0.0)
        if planner is None or plan is None:
            return
        planner.note(plan, 0.0)
        wish, prices = plan.wish, plan.prices
        read = max((one.tokens for one in wish.readable if one.key in self._written), default=0)
        to_write = max((one.tokens for one in wish.written), default=0)
        saved = read * (1 - prices.read) - max(0, to_write - read) * max(0.0, prices.write - 1)
        self.saved_usd += prices.usd * Decimal(str(round(saved, 3)))
        self.calls += read > 0
        self._written.update(dict.fromkeys(one.key for one in wish.written))
        while len(self._written) > _MAX_WRITTEN:
            del self._written[next(iter(self._written))]
