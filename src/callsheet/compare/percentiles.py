"""Percentiles by nearest rank: always a time that some item really took."""

from collections.abc import Sequence

__all__ = ["nearest_rank"]


def nearest_rank(values: Sequence[float], percent: int) -> float:
    """The smallest value that at least `percent` per cent of all values do not exceed.

    With n values in order, it is the one of rank ceil(percent / 100 * n), counted from 1. With
    fewer than 100 values, the 99th percentile is therefore the greatest.

    Args:
        values: at least one, in any order.
        percent: from 1 to 100.

    Raises:
        ValueError: there is no value, or `percent` is out of its range.
    """
    if not values:
        raise ValueError("a percentile of no values does not exist")
    if not 1 <= percent <= 100:  # noqa: PLR2004 - per cent
        raise ValueError(f"percent must be from 1 to 100, got {percent}")
    rank = -(-percent * len(values) // 100)  # whole numbers: 0.99 is not a float
    return sorted(values)[rank - 1]
