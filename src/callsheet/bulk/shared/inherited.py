"""The money of rows that an earlier holder of a shared run has put, and this one not reserved for.

A holder with a limit of costs begins with what the queue has: rows that workers have sent, and
answers that are not in OUTPUT. What they cost, or may cost, is set aside of the limit, so that no
other row is sent for it. The call of such a row takes its part over when it is reserved for.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import final

import structlog

from ...actors import CallFailed, CostBound, Response, SetAside
from .queue import QueueAnswer, TakenRow, WorkQueue
from .wire import decode_call, decode_end

_READ = 500  # rows or answers in one message of the server

_log = structlog.stdlib.get_logger()


@final
class InheritedRows:
    """What is set aside for the rows of an earlier holder.

    Args:
        bound: bounds what one attempt of a request can cost.

    Attributes:
        aside: what is set aside, by the keys of the rows.
    """

    def __init__(self, bound: CostBound) -> None:
        self.aside = SetAside()
        self._bound = bound
        self._most = Decimal(0)  # that a row could cost, in USD

    def __repr__(self) -> str:
        return f"<InheritedRows {self.aside!r}>"

    async def read(self, queue: WorkQueue) -> None:
        """Set aside what the rows and answers in a queue may cost.

        Args:
            queue: the queue, which this process holds.

        Raises:
            StorageError: the server is away.
        """
        after = ""
        while rows := await queue.left(after, _READ):
            self._add(rows)
            after = rows[-1].entry
        after = ""
        while answers := await queue.answers(after, _READ, wait_s=0):
            for answer in answers:
                self.aside.keep(answer.key, self._cost(answer))
            after = answers[-1].entry
        if self.aside.usd:
            _log.warning("shared_run_set_aside", usd=str(self.aside.usd))

    def note(self, answer: QueueAnswer) -> None:
        """Correct what is set aside for a row by its answer, which no call has asked for yet.

        Args:
            answer: the answer to the row.
        """
        if answer.key in self.aside:
            self.aside.keep(answer.key, self._cost(answer))

    def _add(self, rows: Iterable[TakenRow]) -> None:
        for taken in rows:
            try:
                request, _ = decode_call(taken.row.body)
            except ValueError:  # of another version, which no worker of this one sends
                usd = self._most
            else:
                usd = self._bound.usd_of(request, self._bound.usage_of(request)) or Decimal(0)
            self._most = max(self._most, usd)
            # Each worker that had it may have sent it; the last one may send it still.
            self.aside.keep(taken.row.key, max(taken.deliveries, 1) * usd)

    def _cost(self, answer: QueueAnswer) -> Decimal:
        """Return the most that the attempts of a row have cost, in USD."""
        if answer.is_parked:
            return answer.deliveries * self._most
        maybe = answer.deliveries - 1
        try:
            outcome = decode_end(answer.body).outcome
        except ValueError:
            return answer.deliveries * self._most
        if isinstance(outcome, Response):
            cost = outcome.cost_usd
            return (maybe + outcome.maybe_billed) * self._most + (
                self._most if cost is None else cost
            )
        if isinstance(outcome, CallFailed):
            maybe += max(outcome.maybe_billed, int(outcome.billed == "maybe"))
            return maybe * self._most + (outcome.cost_usd or Decimal(0))
        return (maybe + 1) * self._most
