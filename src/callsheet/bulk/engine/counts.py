"""Counts what becomes of rows. Pure (R14)."""

import heapq
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import final

from ...actors import Usage
from ..files.lines import BAD_ROW
from ..progress import RowEnded

__all__ = [
    "RunCounts",
]


_SLOWEST = 5


@final
class RunCounts:
    """Of one run.

    Attributes:
        read: rows that were read.
        answered: rows with an answer, the reused ones included.
        reused: those whose answer was there.
        failed: rows that ended with an error.
        bad: lines that are no request.
        usage: tokens.
        cost_usd: USD, as far as prices are known.
        unpriced: answers whose price is not known.
        errors: {kind of error: rows}
    """

    def __init__(self) -> None:
        self.read = self.answered = self.reused = self.failed = self.bad = self.unpriced = 0
        self.usage = Usage()
        self.cost_usd = Decimal(0)
        self.errors: Counter[str] = Counter()
        self._slowest: list[tuple[float, str]] = []  # a heap, the quickest of them first

    def add(self, told: RowEnded) -> None:
        """A row has ended."""
        if told.error == BAD_ROW:
            self.bad += 1
            return
        if told.error is not None:
            self.failed += 1
            self.errors[told.error] += 1
            return
        self.answered += 1
        if told.is_reused:
            self.reused += 1
            return
        self.usage += told.usage
        if told.cost_usd is None:
            self.unpriced += 1
        else:
            self.cost_usd += told.cost_usd
        if len(self._slowest) < _SLOWEST:
            heapq.heappush(self._slowest, (told.seconds, told.custom_id))
        elif told.seconds > self._slowest[0][0]:
            heapq.heapreplace(self._slowest, (told.seconds, told.custom_id))

    @property
    def slowest(self) -> Sequence[tuple[str, float]]:
        """Custom ids and seconds of the slowest answers, the slowest first."""
        return tuple((name, took) for took, name in sorted(self._slowest, reverse=True))
