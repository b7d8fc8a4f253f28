"""One incarnation of an actor: its start, its run, and its end with all that it owns (R15)."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from math import inf
from typing import TYPE_CHECKING, Any, Never, TypeAlias, final

import trio

from ..errors import ActorCrashed, ActorStopped, Verdict
from .actor import Actor
from .instruments import LostMessage
from .message_loop import MessageLoop
from .nurseries import collapse, explain_cancellation, is_cancellation, without_cancellation
from .ownership import CLOSING_S, Ownership
from .reply import ReplySlot
from .tracing import outcome_of
from .worker import Worker, current_worker, worker_of_hook

if TYPE_CHECKING:
    from .cell import Cell

_Unfinished: TypeAlias = tuple[ReplySlot[Any], Exception]
"""An ask without a reply, and the error that it will fail with."""


@final
class Incarnation(MessageLoop):
    """An actor's run from the `started` hook until it drains, halts or crashes.

    Args:
        cell: the actor's place, which outlives the incarnation.
        actor: the actor object.
    """

    def __init__(self, cell: "Cell", actor: Actor[Never]) -> None:
        super().__init__(cell, actor)
        self.closing: trio.CancelScope | None = None  # while it ends, with the stop's limit
        self.owned = Ownership(cell)
        self.hook: Worker | None = None  # runs the `started` or `stopped` hook
        self._unfinished: list[_Unfinished] = []  # asks that are to fail
        self._has_started = False  # whether the `started` hook has returned

    async def run(self, started: Callable[[], None] | None) -> None:
        """Start, handle messages until a drain or a halt has ended, and close what is owned (R15).

        Args:
            started: called when the `started` hook has returned; None if the actor has no hooks
                and has started before.

        Raises:
            Exception: the actor crashed or could not start. Its asks have failed by then.
        """
        self._has_started = started is None
        owned = self.owned
        error = await self._live(started)
        before = owned.failure
        later: list[Exception] = await owned.close(drain=error is None)
        if owned.failure is not None and before is None:
            later.append(owned.failure)
        for one in later:
            error = self._first(error, one)
        self._fail_unfinished()  # in one step with the end, for the supervisor
        if error is not None:
            try:
                raise error
            finally:
                del error  # its traceback has this frame

    async def _live(self, started: Callable[[], None] | None) -> BaseException | None:
        """Run the hooks and handlers; return the error that has ended them, if any."""
        owned = self.owned
        error: BaseException | None = None
        has_ended = False
        try:
            async with trio.open_nursery() as nursery:
                owned.nursery = nursery
                try:
                    if started is not None:
                        async with self.in_hook():
                            await self.actor.started()
                        started()
                        self._has_started = True
                    if self.cell.spec.concurrency == 1:
                        await self._work(self._new_worker(), None)
                    else:
                        await self._work_concurrently()
                except BaseException as raised:
                    # If something owned has failed, its error is known when the nursery has ended.
                    if nursery.cancel_scope.cancel_called:
                        raise
                    error = explain_cancellation(self.path, without_cancellation(raised) or raised)
                    if raised.__traceback__ is not None:  # `run` raises it: one frame less to log
                        raised.__traceback__ = raised.__traceback__.tb_next
                has_ended = True
                await self._end(error)
                nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            error = self._first(error, collapse(group))
        except BaseException as raised:  # noqa: BLE001  # raised by `run`
            error = self._first(error, raised)
        if has_ended:
            return error
        if owned.failure is not None:
            error = self._first(owned.failure, error)
        elif error is None:
            error = RuntimeError(f"the nursery of {self.path} was cancelled; `stop` ends an actor")
        try:
            await self._end(error)
        except BaseException as raised:  # noqa: BLE001  # raised by `run`
            return self._first(error, raised)
        return error

    def _first(
        self, error: BaseException | None, later: BaseException | None
    ) -> BaseException | None:
        """Return the error that counts: the first that is not a cancellation; log the other."""
        if error is None or later is None:
            return error or later
        if is_cancellation(error):
            return later
        if not is_cancellation(later):
            self.owned.report(later)
        return error

    async def _end(self, error: BaseException | None) -> None:
        """Fail or return the messages in progress, and run the `stopped` hook.

        Args:
            error: the error that has ended the incarnation; None after a drain or a halt.

        Raises:
            Exception: the hook raised.
        """
        if not self._has_started:
            return
        self._unfinished = _end_messages(self, error)
        if self.owned.is_used or type(self.actor).stopped is not Actor.stopped:
            self._fail_unfinished()  # the rest may take time
        now, limit = trio.current_time(), self.cell.stop_by
        if limit > now:
            deadline = limit if limit < inf else now + CLOSING_S
            with trio.CancelScope(shield=True, deadline=deadline) as self.closing:
                async with self.in_hook():
                    await self.actor.stopped()

    @asynccontextmanager
    async def in_hook(self) -> AsyncGenerator[None]:
        """Let the current task count as a worker while it runs `started` or `stopped`."""
        self.hook = worker_of_hook(self.path)
        token = current_worker.set(self.hook)
        try:
            yield
        finally:
            self.hook = None
            current_worker.reset(token)

    def _fail_unfinished(self) -> None:
        unfinished, self._unfinished = self._unfinished, []
        for slot, error in unfinished:
            slot.fail(error)


def _end_messages(incarnation: Incarnation, error: BaseException | None) -> list[_Unfinished]:
    """Count the messages in progress, or hand them to the next incarnation (R8).

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


def _is_gone(slot: ReplySlot[Any] | None, worker: Worker, incarnation: Incarnation) -> bool:
    """Whether a message was forwarded to another actor, or its caller has given up."""
    is_here = slot is None or slot.holder is worker or slot.holder is incarnation
    return not is_here or (slot is not None and slot.outcome is not None)
