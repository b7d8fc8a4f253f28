"""What a line of a batch costs."""

from decimal import Decimal

from ..messages import Usage
from ..prices import PriceBook

__all__ = ["batch_cost"]


def batch_cost(prices: PriceBook, model: str, usage: Usage) -> Decimal | None:
    """What a call cost in USD by the Batch API; None if its price there is not known."""
    price = prices.price(model)
    if price is None or price.batch_input is None or price.batch_output is None:
        return None
    per_million = usage.input_tokens * price.batch_input + usage.output_tokens * price.batch_output
    return per_million.scaleb(-6)  # exact, where a division might round
