"""The last stage of the troupe of a holder: it gives calls to workers, and passes none on.

It stands instead of the rate limiter. So the stages before it work as in a run of one process: the
cache, identical requests that share a call, and the ledger with the budget of the run, which
reserves the most that a row can cost before the row is in the queue.
"""

from decimal import Decimal
from functools import partial
from typing import final

import attrs

from ...actors import (
    BudgetExceeded,
    CallFailed,
    Complete,
    ConnectionFailed,
    Response,
    Stream,
    Usage,
)
from ...runtime import Actor, Ref, ReplySlot, defers
from .holder import RunHolder
from .queue import MOST_DELIVERIES, QueueAnswer
from .wire import UnsendableRow, decode_end


@final
class SharedRunActor(Actor[Complete | Stream]):
    """Gives each call to the workers of a run, and replies with what a worker has received.

    Args:
        to: the stage that would send calls from this process.
        holder: the rows in the queue; they outlive an incarnation.
    """

    def __init__(self, to: Ref, *, holder: RunHolder) -> None:  # noqa: ARG002  # it sends nothing
        self._holder = holder

    async def started(self) -> None:
        """Start to talk to the server."""
        self.nursery.start_soon(self._holder.keep_telling)
        self.nursery.start_soon(self._holder.reader.keep_reading, self._settle)

    @defers(Complete)
    async def give(self, message: Complete, slot: ReplySlot[Response]) -> None:
        """Give a call to the workers."""
        holder = self._holder
        try:
            row, name = holder.row_of(message)
        except UnsendableRow as error:
            slot.fail(error)
            return
        if message.account is not None:
            try:
                await message.account.take()
            except CallFailed as error:
                slot.fail(error)
                return
            # The answer may arrive at a later run, which takes over what this one has reserved.
            message.account.note_line(f"shared-{row.key}", is_resumed=True)
        slot.start()
        slot.on_settled(partial(holder.left, row.key, name))
        if slot.done:
            return
        answer = holder.add(row, name, slot, message.account)
        if answer is not None:
            self._settle(slot, answer)

    @defers(Stream)
    async def refuse(self, message: Stream, slot: ReplySlot[None]) -> None:  # noqa: ARG002  # a handler
        """Refuse a call whose caller wants pieces."""
        slot.fail(CallFailed("a shared run has no streamed calls; use `complete`"))

    def _settle(self, slot: ReplySlot[Response], answer: QueueAnswer) -> None:
        """Reply with the answer of a worker; what other workers may have paid for is in it."""
        again = answer.deliveries - 1
        if answer.is_parked and answer.deliveries < MOST_DELIVERIES:
            self._holder.counts.again += answer.deliveries
            slot.fail(_worker_ended(answer.deliveries))
            return
        self._holder.counts.again += again
        if answer.is_parked:
            parked = CallFailed(f"{answer.deliveries} workers ended while they had this row")
            slot.fail(parked.after(Usage(), Decimal(0), maybe_billed=answer.deliveries))
            return
        try:
            outcome = decode_end(answer.body).outcome
        except ValueError as error:
            slot.fail(CallFailed(str(error), billed="maybe"))
            return
        if isinstance(outcome, Response):
            if not outcome.http_requests:  # its worker sent another row's request for both
                self._holder.refund(slot)
            if again:
                outcome = attrs.evolve(
                    outcome,
                    http_requests=outcome.http_requests + again,
                    maybe_billed=outcome.maybe_billed + again,
                )
            slot.reply(outcome)
            return
        if isinstance(outcome, BudgetExceeded):  # the ledger reserves for a further attempt
            outcome = _not_reserved(outcome)
        if again and isinstance(outcome, CallFailed):
            outcome = outcome.after(Usage(), Decimal(0), attempts=again, maybe_billed=again)
        if isinstance(outcome, CallFailed) and outcome.billed == "no" and not outcome.maybe_billed:
            self._holder.refund(slot)
        slot.fail(outcome)


def _not_reserved(error: BudgetExceeded) -> CallFailed:
    """Return the end of a call whose worker had no reservation for a further attempt."""
    failed = ConnectionFailed(
        "an attempt failed that may have been billed", attempts=error.attempts, billed=error.billed
    ).after(error.usage, error.cost_usd)
    failed.maybe_billed = error.maybe_billed
    failed.is_transient = True
    return failed


def _worker_ended(times: int) -> CallFailed:
    """Return the end of a call whose worker has ended; the ledger reserves for a further one."""
    failed = ConnectionFailed(
        "a worker ended while it had this row", attempts=times, billed="maybe"
    )
    failed.maybe_billed = times
    failed.is_transient = True
    return failed
