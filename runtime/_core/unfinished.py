"""What becomes of the messages that an incarnation leaves when it crashes or is cancelled (R8)."""

from typing import TYPE_CHECKING, Any, TypeAlias

import trio

from ..errors import ActorCrashed, ActorStopped, Verdict
from .instruments import LostMessage
from .reply import ReplySlot
from .tracing import outcome_of
from .worker import Worker

if TYPE_CHECKING:
    from .incarnation import Incarnation

Unfinished: TypeAlias = tuple[ReplySlot[Any], Exception]
"""An ask without a reply, and the error that it will fail with."""


def end_messages(incarnation: "Incarnation", error: BaseException | None) -> list[Unfinished]:
    """Count the messages in progress, or hand them to the next incarnation.

    Args:
        incarnation: the incarnation that ends.
        error: what ended it; None if it was halted, which does not wait for deferred replies.

    Returns:
        The asks that the incarnation leaves without a reply.
    """
    cell, deferred = incarnation.cell, incarnation.deferred
    cell.counts.unanswered += sum(slot.outcome is None for slot in deferred)
    if error is None:
        return [(slot, ActorStopped(cell.path, slot.verdict)) for slot in deferred]
    crashed = isinstance(error, Exception)
    slots: list[ReplySlot[Any]] = []
    lost: list[LostMessage] = []
    for worker in incarnation.workers:
        message, slot, tries, trace = worker.message, worker.slot, worker.tries, worker.trace
        if message is None:
            continue
        key, worker.key = worker.key, None
        incarnation.clear(worker)  # counted below, before the `stopped` hook runs
        here = f"{type(message).__name__} at {cell.path}"
        chain = () if slot is None else slot.chain()
        chain = chain if chain[-1:] == (here,) else (*chain, here)
        lost.append(LostMessage(chain, Verdict.MAY_HAVE_RUN))
        if crashed and tries < cell.spec.redeliver and not _is_gone(slot, worker, incarnation):
            if slot is not None and slot.is_told:
                slot = None  # the next delivery gets a slot of its own
            cell.end(trace, "redelivered", error)
            envelope = (message, slot, trio.current_time(), trace)
            # The key stays in hand, so that no later message of it comes first.
            cell.redeliveries.append((envelope, tries + 1, key))
            if slot is not None:
                if slot in deferred:
                    deferred[slot] = None  # its trace goes on
                slot.hold(cell)
            continue
        worker.key = key
        incarnation.release(worker)
        if crashed:
            cell.counts.failed += 1
            cell.counts.crashed += 1
            cell.end(trace, "crashed", error)
        elif slot is not None and slot.outcome is not None:
            cell.counts.count_abandoned(slot.outcome)
            cell.end(trace, outcome_of(slot))
        else:
            cell.counts.dead_lettered += 1
            cell.end(trace, "stopped")
        if slot is not None and slot.holder is worker:
            slots.append(slot)
    cell.lost = tuple(lost)
    return [
        (
            slot,
            ActorCrashed(cell.path, slot.verdict, error)
            if isinstance(error, Exception)
            else ActorStopped(cell.path, slot.verdict),
        )
        for slot in (*slots, *deferred)
    ]


def _is_gone(slot: ReplySlot[Any] | None, worker: Worker, incarnation: "Incarnation") -> bool:
    """Whether a message was forwarded to another actor, or its caller has given up."""
    is_here = slot is None or slot.holder is worker or slot.holder is incarnation
    return not is_here or (slot is not None and slot.outcome is not None)
