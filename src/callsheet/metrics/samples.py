"""Counts and sums of samples, from which the exposition is made. Pure (R14)."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import final

import attrs

from .families import FAMILIES

Labels = tuple[str, ...]
"""The values of a family's labels, in the order of their names."""


@attrs.frozen
class Sample:
    """One series of a family at one moment.

    Args:
        family: the name of the family.
        labels: the values of its labels.
        value: its value; for a histogram the sum of what was observed.
        buckets: for a histogram, how many observations are at most each upper bound, and at the end
            how many there are in all; empty otherwise.
    """

    family: str
    labels: Labels
    value: float
    buckets: tuple[int, ...] = ()
    troupe: str = ""


@final
class SampleCounts:
    """Counters and histograms, which only grow.

    Amounts are added as integers or as `Decimal`, so that a sum of dollars is exact.
    """

    def __init__(self) -> None:
        self._sums: dict[tuple[str, Labels], Decimal | int] = {}
        self._histograms: dict[tuple[str, Labels], tuple[list[int], list[float]]] = {}

    def __repr__(self) -> str:
        return f"<SampleCounts {len(self._sums) + len(self._histograms)} series>"

    def add(self, family: str, *labels: str, amount: Decimal | int = 1) -> None:
        """Add an amount to a counter.

        Args:
            family: the name of the counter.
            labels: the values of its labels.
            amount: what to add, at least 0.
        """
        key = (family, labels)
        self._sums[key] = self._sums.get(key, 0) + amount

    def observe(self, family: str, *labels: str, value: float) -> None:
        """Add an observation to a histogram.

        Args:
            family: the name of the histogram.
            labels: the values of its labels.
            value: what was observed, such as seconds.
        """
        bounds = FAMILIES[family].buckets
        key = (family, labels)
        found = self._histograms.get(key)
        if found is None:
            found = self._histograms[key] = ([0] * (len(bounds) + 1), [0.0])
        found[0][bisect_left(bounds, value)] += 1
        found[1][0] += value

    def samples(self) -> Iterator[Sample]:
        """Yield a sample for each series; another thread may count meanwhile."""
        for (family, labels), amount in list(self._sums.items()):
            yield Sample(family, labels, float(amount))
        for (family, labels), (counts, (total,)) in list(self._histograms.items()):
            yield Sample(family, labels, total, _cumulated(counts))


def _cumulated(counts: Sequence[int]) -> tuple[int, ...]:
    running, found = 0, list[int]()
    for count in counts:
        running += count
        found.append(running)
    return tuple(found)
