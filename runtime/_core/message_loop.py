"""How an incarnation handles messages: its workers, its timers and the replies that it owes."""

from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Never, cast

import trio
from trio.lowlevel import current_task, wait_task_rescheduled

from .actor import Actor
from .handlers import Handler
from .log import log_error_without_caller
from .nurseries import collapse, explain_cancellation, restore
from .reply import Message, ReplySlot, current_slot
from .stream import discarding_sink
from .timers import Timers
from .tracing import Trace, current_trace, outcome_of
from .worker import Worker, current_worker, reset_variables

if TYPE_CHECKING:
    from .cell import Cell


_CHECKPOINT_EVERY = 64  # messages; so that handlers that never wait do not starve other tasks


class MessageLoop:
    """The part of an incarnation that handles messages, from its first to its last one.

    Args:
        cell: the actor's place, which outlives the incarnation.
        actor: the actor object.
    """

    def __init__(self, cell: "Cell", actor: Actor[Never]) -> None:
        self.cell = cell
        self.actor = actor
        self.workers: list[Worker] = []
        self.timers = Timers(self)
        # Replies that this incarnation owes, each with the trace of its message.
        self.deferred: dict[ReplySlot[Any], Trace | None] = {}
        self.busy = 0  # workers with a message in progress
        self.parked = cell.parked  # a pool's members share it
        self.full = cell.full
        self._group: BaseException | None = None  # a group that a handler raised
        self._is_flushed = False  # whether the `draining` hook has run
        self._is_over = False
        self._max_deferred = cell.max_deferred

    @property
    def path(self) -> str:
        """The actor's path."""
        return self.cell.path

    @property
    def takes_messages(self) -> bool:
        """Whether a handler may still be called."""
        return self.cell.current is self and not self._is_over

    @property
    def is_idle(self) -> bool:
        """Whether a worker could take a message at once."""
        return bool(self.parked) or len(self.workers) < self.cell.spec.concurrency

    # ---------------------------------------------------------------- from outside

    def wake_worker(self) -> bool:
        """Let one idle worker check again for work; return whether there was one."""
        if self.cell.pool is not None:  # of this incarnation, not of another member
            own = {worker.task for worker in self.workers}
            for line in (self.parked, self.full):
                for task in line:
                    if task in own:
                        line.remove(task)
                        trio.lowlevel.reschedule(task)
                        return True
            return False
        if not self.parked:
            return False
        trio.lowlevel.reschedule(self.parked.pop())
        return True

    def halt(self) -> None:
        """End after the messages in progress, even if others wait."""
        self._is_over = True
        while self.wake_worker():
            pass

    @property
    def blockers(self) -> tuple[Worker, ...]:
        """Empty: a deferred message may be replied to by any task (see `find_cycle`)."""
        return ()

    def blockers_of(self, slot: ReplySlot[Any]) -> tuple[Worker, ...]:  # noqa: ARG002  # see `Mailbox`
        """The workers of which one must continue before the message of a slot does."""
        return self.blockers

    def released(self, slot: ReplySlot[Any]) -> None:
        """Note that a deferred slot is filled or has moved on; see `ReplySlot.hold`."""
        # A drain waits until nothing is deferred, a full table until it is below its limit.
        trace = self.deferred.pop(slot, self)
        if trace is self:
            return
        if isinstance(trace, Trace):
            self.cell.end(trace, outcome_of(slot), slot.error)
        if not self.deferred or len(self.deferred) == self._max_deferred - 1:
            while self.wake_worker() and self.full is not self.parked:
                pass

    # ---------------------------------------------------------------- workers

    async def _work_concurrently(self) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._work, self._new_worker(), nursery)
        except BaseExceptionGroup as group:
            error = restore(collapse(group), self._group)
        else:
            return
        raise error

    def _new_worker(self) -> Worker:
        worker = Worker(self.path)
        self.workers.append(worker)
        return worker

    async def _work(self, worker: Worker, nursery: trio.Nursery | None) -> None:
        worker.task = current_task()
        worker.task_limit = trio.current_effective_deadline()
        current_worker.set(worker)
        current_slot.set(None)  # another worker may have started this task
        current_trace.set(None)
        context = copy_context()
        while not self._is_over:
            worker.interrupted = False
            with trio.CancelScope() as worker.scope:
                try:
                    await self._handle_messages(worker, nursery)
                except BaseException as error:
                    if isinstance(cast("object", error), BaseExceptionGroup):
                        self._group = error  # Trio copies it on its way
                    explained = explain_cancellation(self.path, error)
                    if explained is not error:  # a nursery would take it for its own cancellation
                        raise explained from error
                    raise
            if worker.message is not None:  # its handler was interrupted
                slot = worker.slot
                self.cell.counts.count_abandoned(slot.outcome if slot else None)
                self.cell.end(worker.trace, outcome_of(slot) if slot else "cancelled")
                self.clear(worker)
            await reset_variables(worker.task, context)

    async def _handle_messages(  # noqa: PLR0912, PLR0915  # see below
        self, worker: Worker, nursery: trio.Nursery | None
    ) -> None:
        """Handle messages until one is interrupted or has set context variables, or the end.

        It is one long function because every message passes through it: each further call would
        cost about a tenth of the time of a message.
        """
        cell, actor, table = self.cell, self.actor, self.cell.table
        take, now = cell.mailbox.take, cell.now
        due, deferred = self.timers.due, self.deferred
        redeliveries, urgent = cell.redeliveries, cell.urgent
        max_deferred, counts = self._max_deferred, cell.counts
        task, parked, full = current_task(), self.parked, self.full
        keyed, pool = cell.mailbox.keyed, cell.pool

        def unpark(_: object) -> trio.lowlevel.Abort:
            (parked if task in parked else full).remove(task)
            return trio.lowlevel.Abort.SUCCEEDED

        last: ReplySlot[Any] | None = None
        context = copy_context()  # with the current slot
        streak = 0
        timed = worker.was_timed
        while not self._is_over:
            # Timers go first, but a timer faster than its handler must not starve the mailbox.
            if due and not (timed and len(cell.mailbox) and len(deferred) < max_deferred):
                timed = True
                timer = due.pop(0)
                timer.is_due = False
                message, slot, trace = timer.message, None, timer.trace
                if timer.period_s is not None and self._has_only_timers_left():
                    counts.cancelled += 1
                    cell.end(trace, "cancelled")
                    continue
            elif redeliveries:
                (message, slot, _, trace), worker.tries, worker.key = redeliveries.pop(0)
            elif urgent:
                message, slot, _, trace = urgent.pop(0)
            elif len(deferred) < max_deferred and (envelope := take()) is not None:
                message, slot, _, trace = envelope
                timed = False
                if keyed is not None:
                    worker.key = keyed.taken
            elif due:  # what waits in the mailbox has keys that are in hand
                timed = False
                continue
            else:
                is_full = len(deferred) >= max_deferred
                if pool and (is_full or not cell.is_open):
                    pool.note_idle(is_full=is_full)
                if (
                    cell.is_open
                    or not cell.is_drained
                    or self.busy
                    or not await self._flush(worker)
                ):
                    (full if is_full else parked).append(task)
                    await wait_task_rescheduled(unpark)
                streak = 0
                continue
            streak += 1
            if slot is not None and slot.outcome is not None:
                counts.count_abandoned(slot.outcome)  # the caller has given up: skip it (R4)
                cell.end(trace, outcome_of(slot))
                worker.tries = 0
                if keyed is not None:
                    self.release(worker)
            else:
                if nursery or (pool and (parked or pool.is_idle)):
                    self._share_work(nursery)
                handler = table.get(type(message))
                if handler is None:
                    handler = cell.handler_of(message)
                    table = cell.table
                worker.message = message
                worker.slot = slot
                worker.started_at = now()
                self.busy += 1
                if slot is not last:  # equal only if both are None
                    current_slot.set(slot)
                    worker.uninterruptible = handler.uninterruptible
                    last = slot
                    context = copy_context()
                if trace is not None:
                    current_trace.set(trace)
                    context = copy_context()
                    worker.trace = trace
                    trace.begin(cell.path, worker.started_at, worker.tries + 1)
                try:
                    if handler.takes_slot:
                        await self._call_with_slot(handler, message, slot, worker)
                    elif slot is None:
                        await handler.call(actor, message)
                    else:
                        slot.started = True
                        slot.holder = worker
                        value = await handler.call(actor, message)
                        if slot.outcome is None:
                            slot.holder = None  # the worker needs no notice of its own reply
                            slot.settle_reply(value)
                        else:
                            counts.late += 1
                    counts.handled += 1
                except handler.raises as error:
                    self._reply_error(handler, slot, error)
                    if trace is not None:
                        trace.end(cell.path, now(), "declared error", error)
                if trace is not None and slot not in deferred:
                    trace.end(cell.path, now(), "replied")
                worker.message = worker.slot = None
                worker.tries = 0
                self.busy -= 1
                if keyed is not None:
                    self.release(worker)
                try:
                    is_same = task.context == context  # it compares the values only if one was set
                except Exception:  # noqa: BLE001  # a value that cannot be compared (R17)
                    is_same = False
                if worker.interrupted or not is_same:
                    worker.was_timed = timed
                    return
            if streak >= _CHECKPOINT_EVERY:
                streak = 0
                await trio.lowlevel.checkpoint()

    def _share_work(self, nursery: trio.Nursery | None) -> None:
        """Have another worker take the next message, since this one is about to run a handler."""
        if self.cell.pool is not None:
            self.cell.pool.pass_on()
            if nursery and self.busy + 1 >= len(self.workers) < self.cell.spec.concurrency:
                nursery.start_soon(self._work, self._new_worker(), nursery)
        elif nursery is None:
            return
        elif self.parked:
            if len(self.cell.mailbox):  # admitting a waiting sender wakes no worker
                self.wake_worker()
        elif len(self.workers) < self.cell.spec.concurrency:
            nursery.start_soon(self._work, self._new_worker(), nursery)

    async def _call_with_slot(
        self,
        handler: Handler,
        message: Message[object],
        slot: ReplySlot[Any] | None,
        worker: Worker,
    ) -> None:
        """Run a handler that gets the slot or a sink: one that defers, or one that streams."""
        if slot is None:
            # No caller waits: the message is done when the handler returns.
            slot = worker.slot = ReplySlot()
            slot.is_told = True
            slot.holder = worker
            sink = discarding_sink() if handler.streams else slot
            await handler.call(self.actor, message, sink)
            if slot.holder is worker:
                slot.holder = None
        elif handler.streams:
            slot.started = True
            slot.hold(worker)
            await handler.call(self.actor, message, slot.sink or discarding_sink())
            slot.reply(None)
        else:
            self.deferred[slot] = slot.trace
            slot.hold(self)
            await handler.call(self.actor, message, slot)

    def _reply_error(self, handler: Handler, slot: ReplySlot[Any] | None, error: Exception) -> None:
        cell = self.cell
        cell.counts.failed += 1
        if slot is None:
            log_error_without_caller(cell.path, handler.kind.__name__, error)
        elif not slot.fail(error):
            cell.counts.late += 1

    def release(self, worker: Worker) -> None:
        """Let the next message be taken whose key is that of a worker's message."""
        key, worker.key = worker.key, None
        keyed = self.cell.mailbox.keyed
        if key is not None and keyed is not None:
            keyed.release(key)

    def clear(self, worker: Worker) -> None:
        """Note that a worker's message is no longer in progress."""
        self.release(worker)
        worker.message = None
        worker.slot = None
        worker.waits_for = None
        worker.tries = 0
        self.busy -= 1

    def _has_only_timers_left(self) -> bool:
        """Whether a drain would end but for periodic timers, which may always be due (R16)."""
        return not self.cell.is_open and not (self.cell.has_work or self.deferred or self.busy)

    async def _flush(self, worker: Worker) -> bool:
        """Run the `draining` hook, then end; return False while replies are deferred."""
        if not self._is_flushed:
            self._is_flushed = True
            self.busy += 1
            worker.is_draining = True
            try:
                await self.actor.draining()
            finally:
                self.busy -= 1
                worker.is_draining = False
            return True
        if self.deferred:
            return False
        self.halt()
        return True
