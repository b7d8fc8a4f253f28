"""Count how rows end. Pure (R14)."""

import heapq
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import final

from ...actors import Usage
from ..files.lines import BAD_ROW
from ..progress import RowEnded

_SLOWEST = 5


@final
class RunCounts:
    """The counts of one run.

    Attributes:
        read: rows that were read.
        answered: rows with a response, reused ones included.
        reused: rows whose response is from an earlier run.
        failed: rows that ended with an error.
        bad: lines that are not valid requests.
        usage: the tokens of this run's responses.
        cost_usd: the cost in USD, as far as prices are known.
        unpriced: responses whose price is not known.
        errors: {kind of error: number of rows}
    """

    def __init__(self) -> None:
        self.read = self.answered = self.reused = self.failed = self.bad = self.unpriced = 0
        self.usage = Usage()
        self.cost_usd = Decimal(0)
        self.errors: Counter[str] = Counter()
        self._slowest: list[tuple[float, str]] = []  # a heap, the fastest of them first

    def add(self, event: RowEnded) -> None:
        """Count a row that has ended."""
        if event.error == BAD_ROW:
            self.bad += 1
            return
        if event.error is not None:
            self.failed += 1
            self.errors[event.error] += 1
            self._pay(event)  # for a response that is not valid
            return
        self.answered += 1
        if event.is_reused:
            self.reused += 1
            return
        self._pay(event)
        if len(self._slowest) < _SLOWEST:
            heapq.heappush(self._slowest, (event.seconds, event.custom_id))
        elif event.seconds > self._slowest[0][0]:
            heapq.heapreplace(self._slowest, (event.seconds, event.custom_id))

    def _pay(self, event: RowEnded) -> None:
        self.usage += event.usage
        if event.cost_usd is None:
            self.unpriced += 1
        else:
            self.cost_usd += event.cost_usd

    @property
    def slowest(self) -> Sequence[tuple[str, float]]:
        """The custom ids and the seconds of the slowest responses, the slowest first."""
        return tuple((name, took) for took, name in sorted(self._slowest, reverse=True))
