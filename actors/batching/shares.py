"""Splitting what one call took among those it was made for, exactly. Pure (R14)."""

from collections.abc import Sequence
from decimal import Decimal

import attrs

from ..messages import Usage

__all__ = ["split_cost", "split_count", "split_usage"]

_SMALLEST = Decimal("1e-12")  # USD; whatever is left over is the first one's


def split_count(whole: int, weights: Sequence[int]) -> list[int]:
    """Whole numbers in proportion to the weights, whose sum is `whole`.

    By the largest remainder (Hamilton's method): each gets its share rounded down, and what is
    left goes to those that lost most by rounding.
    """
    if not any(weights):
        weights = [1] * len(weights)
    total = sum(weights)
    found = [whole * weight // total for weight in weights]
    left = whole - sum(found)
    by_loss = sorted(range(len(found)), key=lambda at: -(whole * weights[at] % total))
    for at in by_loss[:left]:
        found[at] += 1
    return found


def split_usage(usage: Usage, inputs: Sequence[int], outputs: Sequence[int]) -> list[Usage]:
    """The tokens of each.

    Args:
        usage: of the call.
        inputs: how much each has sent.
        outputs: how much each was answered.
    """
    by_field = {
        name: split_count(getattr(usage, name), outputs if name in _OUTPUTS else inputs)
        for name in attrs.fields_dict(Usage)
    }
    return [
        Usage(**{name: counts[at] for name, counts in by_field.items()})
        for at in range(len(inputs))
    ]


_OUTPUTS = ("output_tokens", "reasoning_tokens")


def split_cost(cost: Decimal | None, weights: Sequence[int]) -> list[Decimal | None]:
    """USD in proportion to the weights; the sum is exact. Unknown stays unknown."""
    if cost is None:
        return [None] * len(weights)
    units = int(cost / _SMALLEST)
    shares = [count * _SMALLEST for count in split_count(units, weights)]
    shares[0] += cost - sum(shares)
    return list(shares)
