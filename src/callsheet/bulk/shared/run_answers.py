"""Reads the answers of a shared run from its queue, as long as the holder lives."""

from collections.abc import Callable
from decimal import Decimal
from typing import final

import trio

from ...actors import CallFailed, Response, StorageError
from ...runtime import ReplySlot
from .counts import SharedCounts
from .inherited import InheritedRows
from .pending import PendingRows
from .queue import QueueAnswer, WorkQueue
from .wire import decode_end

_READ_ANSWERS = 64  # in one message of the server
_WAIT_S = 5.0  # for an answer, in one message to the server
_AGAIN_S = 0.5  # after the server was away
_GATHER_S = 0.02  # after a message of the server, for what is read with the next one


@final
class RunAnswers:
    """Gives each answer to the call that waits for it, and counts what was paid for besides.

    Args:
        queue: the queue of the run, which is open.
        pending: the rows without an answer.
        counts: what is known of the workers.
        inherited: what is set aside for the rows of an earlier holder; None without a limit.

    Attributes:
        paid_twice: called with the cost in USD, None if it is not known, of each call that was
            paid for besides, because the queue was lost while a worker had its row.
    """

    def __init__(
        self,
        queue: WorkQueue,
        pending: PendingRows[ReplySlot[Response]],
        counts: SharedCounts,
        inherited: InheritedRows | None,
    ) -> None:
        self.paid_twice: Callable[[Decimal | None], None] | None = None
        self._queue = queue
        self._pending = pending
        self._counts = counts
        self._inherited = inherited
        self._reading = trio.CancelScope()
        self._is_over = False

    def __repr__(self) -> str:
        return f"<RunAnswers of {self._queue.name} after {self._pending.after!r}>"

    def stop(self) -> None:
        """Read no more."""
        self._is_over = True
        self._reading.cancel()

    async def keep_reading(
        self, settle: Callable[[ReplySlot[Response], QueueAnswer], None]
    ) -> None:
        """Read answers, until the run is over.

        Args:
            settle: ends a call with its answer.
        """
        self._reading = trio.CancelScope()
        with self._reading:
            while not self._is_over:
                await self._read(settle)

    async def _read(self, settle: Callable[[ReplySlot[Response], QueueAnswer], None]) -> None:
        pending, epoch = self._pending, self._pending.epoch
        try:
            found = await self._queue.answers(pending.after, _READ_ANSWERS, wait_s=_WAIT_S)
        except StorageError:
            await trio.sleep(_AGAIN_S)
            return
        for answer in found:
            if pending.epoch != epoch:
                return  # what this life of the queue has is read from its beginning
            slot = pending.answered(answer)
            if slot is not None:
                settle(slot, answer)
            elif self._inherited is not None:
                self._inherited.note(answer)
        while pending.paid_twice:
            self._count_twice(pending.paid_twice.pop())
        if len(found) < _READ_ANSWERS:
            await trio.sleep(_GATHER_S)

    def _count_twice(self, answer: QueueAnswer) -> None:
        """Count what a second worker has paid for a row; it is in no reservation."""
        try:
            outcome = decode_end(answer.body).outcome
        except ValueError:
            cost_usd = None
        else:
            if isinstance(outcome, CallFailed):
                if outcome.billed == "no" and not outcome.maybe_billed:
                    return
                cost_usd = None
            else:
                cost_usd = outcome.cost_usd if isinstance(outcome, Response) else None
        self._counts.again += 1
        if self.paid_twice is not None:
            self.paid_twice(cost_usd)
