"""What a beginning that many calls share costs on average. Pure (R14)."""

from ..messages import Request
from ..vendors import PriceBook
from .marks import is_marked
from .terms import cache_terms


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
