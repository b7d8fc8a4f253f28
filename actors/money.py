"""Which amounts of US dollars can be added and multiplied exactly. Pure (R14)."""

from decimal import Decimal

_MOST_USD = 10**12
_MOST_PLACES = 40  # behind the point
AMOUNT = "at least 0 and at most 1,000,000,000,000, with at most 40 places"
"""What `is_amount` accepts, as the end of a sentence."""


def is_amount(usd: Decimal) -> bool:
    """Return whether a number is an amount of US dollars that costs are computed with.

    It is not below 0, and has so few digits that products and sums of such amounts are exact.

    Args:
        usd: the number, in USD or in USD per million tokens.
    """
    if not usd.is_finite() or usd < 0 or usd > _MOST_USD:
        return False
    exponent = usd.as_tuple().exponent
    return isinstance(exponent, int) and exponent >= -_MOST_PLACES
