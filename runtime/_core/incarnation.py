"""One incarnation of an actor: its object, workers, timers and deferred replies (R15)."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Never, cast, final

import attrs
import structlog
import trio
from trio.lowlevel import current_task, wait_task_rescheduled

from ..errors import ActorCrashed, ActorStopped, Verdict
from .actor import Actor
from .handlers import Handler
from .instruments import LostMessage, MessageFailed, MessageHandled
from .reply import Message, ReplySlot, check_thread, current_slot, log_callback_error
from .stream import StreamSink
from .worker import Worker, current_worker

if TYPE_CHECKING:
    from .cell import Cell
    from .inbox import Inbox
    from .snapshot import Ended


@asynccontextmanager
async def open_collapsing_nursery() -> AsyncGenerator[trio.Nursery]:
    """Open a nursery that raises a single error without an exception group around it.

    If exactly one task, or the block, fails, its error is raised as it is. Several errors are
    raised as a group, without the cancellations among them.
    """
    try:
        async with trio.open_nursery() as nursery:
            yield nursery
    except BaseExceptionGroup as group:
        # Tasks that were cancelled because of a failure, or at that moment, did not fail.
        failures = group.split(trio.Cancelled)[1] or group
        error, *others = failures.exceptions
        if others:
            raise failures from failures.__cause__
        raise error from error.__cause__


def is_cancellation(error: BaseException) -> bool:
    """Whether an error is a cancellation, or a group of nothing else."""
    if not isinstance(error, BaseExceptionGroup):
        return isinstance(error, trio.Cancelled)
    group = cast("BaseExceptionGroup[BaseException]", error)
    return group.split(trio.Cancelled)[1] is None


_log = structlog.stdlib.get_logger("callsheet.runtime")
_CHECKPOINT_EVERY = 64  # messages; so that handlers that never wait do not starve other tasks
_STOPPED_HOOK_S = 5.0


@final
@attrs.define(eq=False)
class Timer:
    """A message that an actor will handle at a given time; made by `Actor.send_at`.

    Attributes:
        message: the message that the actor will handle.
        when: the next time, in seconds on Trio's clock.
        period_s: seconds between one time and the next; None for a timer that fires once.
        done: whether the timer will not fire again.
        is_due: whether it has fired and its message still waits.
    """

    message: Message[object]
    _incarnation: "Incarnation"
    when: float
    period_s: float | None = None
    done: bool = False
    is_due: bool = False

    def cancel(self) -> None:
        """Cancel the timer, even if it has fired and its message still waits; else do nothing."""
        check_thread()
        if self.is_due:
            self.is_due = False
            self._incarnation.due.remove(self)
            self._incarnation.cell.counts.cancelled += 1
        if not self.done:
            self.done = True
            self._incarnation.timers.pop(self, None)
            self._incarnation.cell.deadlines.settled()

    def expire(self) -> None:
        """Fire the timer; called by the runtime."""
        owner = self._incarnation
        if self.period_s is None:
            self.done = True
            owner.timers.pop(self, None)
        else:
            # The next multiple in the future: a late timer keeps its beat.
            now = trio.current_time()
            self.when += self.period_s * max(1, -(-(now - self.when) // self.period_s))
            owner.cell.deadlines.add(self.when, self)
        if not self.is_due:  # at most one message per timer waits
            self.is_due = True
            owner.due.append(self)
            owner.cell.counts.bypassed += 1
            owner.wake_worker()


@final
@attrs.define(eq=False)
class Watch:
    """Waits for the end of another actor; made by `Actor.watch`.

    Args:
        incarnation: the incarnation that watches.
        other: the place of the actor that is watched.
        on: returns the message for the reason of the end.
    """

    _incarnation: "Incarnation"
    _other: "Inbox"
    _on: Callable[["Ended"], Message[object]]

    def __call__(self, ended: "Ended") -> None:
        """Deliver the message; called by the runtime at the other actor's end."""
        if self._incarnation.watches.pop(self, self) is self:
            return  # cancelled
        try:
            self._incarnation.send_now(self._on(ended))
        except Exception as error:  # noqa: BLE001  # it must not harm the actor that ends (R17)
            log_callback_error("watch", error)

    def cancel(self) -> None:
        """Watch no longer; do nothing if the message was delivered already."""
        check_thread()
        if self._incarnation.watches.pop(self, self) is None:
            self._other.forget_watch(self)


@final
class Incarnation:
    """An actor's run from the `started` hook until it drains, halts or crashes.

    Args:
        cell: the actor's place, which outlives the incarnation.
        actor: the actor object.
    """

    def __init__(self, cell: "Cell", actor: Actor[Never]) -> None:
        self.cell = cell
        self.actor = actor
        self.workers: list[Worker] = []
        self.timers: dict[Timer, None] = {}
        self.watches: dict[Watch, None] = {}  # of other actors, by this one
        self.due: list[Timer] = []
        self.deferred: dict[ReplySlot[Any], None] = {}  # replies that this incarnation owes
        self.busy = 0  # workers with a message in progress
        self.parked = cell.parked
        self._is_flushed = False  # whether the `draining` hook has run
        self._is_over = False
        self._max_deferred = cell.max_deferred

    @property
    def path(self) -> str:
        """The actor's path."""
        return self.cell.path

    # ---------------------------------------------------------------- from outside

    def wake_worker(self) -> None:
        """Let one idle worker check again for work."""
        if self.parked:
            trio.lowlevel.reschedule(self.parked.pop())

    def halt(self) -> None:
        """End after the messages in progress, even if others wait."""
        self._is_over = True
        while self.parked:
            self.wake_worker()

    def send_at(self, when: float, message: Message[object], period_s: float | None) -> Timer:
        """Set a timer; see `Actor.send_at` and `Actor.send_every`."""
        check_thread()
        self.cell.handler_of(message)
        timer = Timer(message, self, when, period_s)
        self.timers[timer] = None
        self.cell.deadlines.add(when, timer)
        return timer

    def send_now(self, message: Message[object]) -> None:
        """Have a message handled before those in the mailbox, unless the incarnation has ended."""
        if self.cell.current is self:
            self.send_at(trio.current_time(), message, None)

    def watch(self, other: "Inbox", on: Callable[["Ended"], Message[object]]) -> "Watch":
        """See `Actor.watch`."""
        watch = Watch(self, other, on)
        self.watches[watch] = None
        other.on_ended(watch)
        return watch

    @property
    def blockers(self) -> tuple[Worker, ...]:
        """Empty: a deferred message may be replied to by any task (see `find_cycle`)."""
        return ()

    def released(self, slot: ReplySlot[Any]) -> None:
        """Note that a deferred slot is filled or has moved on; see `ReplySlot.hold`."""
        # A drain waits until nothing is deferred, a full table until it is below its limit.
        if self.deferred.pop(slot, self) is None and (
            not self.deferred or len(self.deferred) == self._max_deferred - 1
        ):
            self.wake_worker()

    def end_timers(self) -> None:
        """Cancel all timers and watches, those that hooks have set at the end included."""
        for timer in list(self.timers):
            timer.cancel()
        for watch in list(self.watches):
            watch.cancel()
        self.cell.counts.cancelled += len(self.due)
        self.due.clear()

    # ---------------------------------------------------------------- the run

    async def run(self) -> None:
        """Handle messages until a drain or a halt has ended.

        Raises:
            Exception: the actor crashed. Its asks have failed by then.
        """
        try:
            if self.cell.spec.concurrency == 1:
                await self._work(self._new_worker(), None)
            else:
                async with open_collapsing_nursery() as nursery:
                    nursery.start_soon(self._work, self._new_worker(), nursery)
        except BaseException as error:
            self._fail_pending(error)
            raise
        else:
            for slot in list(self.deferred):  # a halt does not wait for deferred replies
                slot.fail(ActorStopped(self.path, slot.verdict))
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + _STOPPED_HOOK_S):
                await self.actor.stopped()

    def _new_worker(self) -> Worker:
        worker = Worker(self.path)
        self.workers.append(worker)
        return worker

    async def _work(self, worker: Worker, nursery: trio.Nursery | None) -> None:
        worker.task = current_task()
        current_worker.set(worker)
        while not self._is_over:
            worker.interrupted = False
            with trio.CancelScope() as worker.scope:
                await self._handle_messages(worker, nursery)
            if worker.message is not None:  # its handler was interrupted
                self.cell.counts.count_abandoned(worker.slot.outcome if worker.slot else None)
                self._clear(worker)

    async def _handle_messages(  # noqa: PLR0912, PLR0915  # see below
        self, worker: Worker, nursery: trio.Nursery | None
    ) -> None:
        """Handle messages until one is interrupted, or the incarnation ends.

        It is one long function because every message passes through it: each further call would
        cost about a tenth of the time of a message.
        """
        cell, actor, table = self.cell, self.actor, self.cell.table
        take, now = cell.mailbox.take, cell.now
        due, deferred = self.due, self.deferred
        redeliveries, urgent = cell.redeliveries, cell.urgent
        max_deferred, counts, instruments = self._max_deferred, cell.counts, cell.instruments
        task, parked = current_task(), self.parked

        def unpark(_: object) -> trio.lowlevel.Abort:
            parked.remove(task)
            return trio.lowlevel.Abort.SUCCEEDED

        current_slot.set(None)
        last: ReplySlot[Any] | None = None
        streak = 0
        timed = False  # whether the last message was a timer's
        while not self._is_over:
            # Timers go first, but a timer faster than its handler must not starve the mailbox.
            if due and not (timed and len(cell.mailbox) and len(deferred) < max_deferred):
                timed = True
                timer = due.pop(0)
                timer.is_due = False
                message, slot = timer.message, None
            elif redeliveries:
                (message, slot, _), worker.tries = redeliveries.pop(0)
            elif urgent:
                message, slot, _ = urgent.pop(0)
            elif len(deferred) < max_deferred and (envelope := take()) is not None:
                message, slot, _ = envelope
                timed = False
            else:
                if cell.is_open or not cell.is_drained or self.busy or not await self._flush():
                    parked.append(task)
                    await wait_task_rescheduled(unpark)
                streak = 0
                continue
            streak += 1
            if slot is not None and slot.outcome is not None:
                counts.count_abandoned(slot.outcome)  # the caller has given up: skip it (R4)
                worker.tries = 0
            else:
                if nursery:
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
                if instruments:
                    self._report_handled(worker, message)
                worker.message = worker.slot = None
                worker.tries = 0
                self.busy -= 1
                if worker.interrupted:
                    return
            if streak >= _CHECKPOINT_EVERY:
                streak = 0
                await trio.lowlevel.checkpoint()

    def _share_work(self, nursery: trio.Nursery) -> None:
        """Have another worker take the next message, since this one is about to run a handler."""
        if self.parked:
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
            slot.holder = worker
            sink = _discarding_sink() if handler.streams else slot
            await handler.call(self.actor, message, sink)
            if slot.holder is worker:
                slot.holder = None
        elif handler.streams:
            slot.started = True
            slot.hold(worker)
            await handler.call(self.actor, message, slot.sink or _discarding_sink())
            slot.reply(None)
        else:
            self.deferred[slot] = None
            slot.hold(self)
            await handler.call(self.actor, message, slot)

    def _reply_error(self, handler: Handler, slot: ReplySlot[Any] | None, error: Exception) -> None:
        cell = self.cell
        cell.counts.failed += 1
        if slot is None:
            _log.warning(
                "error_without_caller", actor=cell.path, message=handler.kind.__name__, error=error
            )
        elif not slot.fail(error):
            cell.counts.late += 1
        for instrument in cell.instruments:
            instrument.message_failed(MessageFailed(cell.path, handler.kind.__name__, error))

    def _report_handled(self, worker: Worker, message: Message[object]) -> None:
        event = MessageHandled(
            self.path, type(message).__name__, trio.current_time() - worker.started_at
        )
        for instrument in self.cell.instruments:
            instrument.message_handled(event)

    def _clear(self, worker: Worker) -> None:
        worker.message = None
        worker.slot = None
        worker.waits_for = None
        worker.tries = 0
        self.busy -= 1

    async def _flush(self) -> bool:
        """Run the `draining` hook, then end; return False while replies are deferred."""
        if not self._is_flushed:
            self._is_flushed = True
            self.busy += 1
            try:
                await self.actor.draining()
            finally:
                self.busy -= 1
            return True
        if self.deferred:
            return False
        self.halt()
        return True

    @property
    def is_idle(self) -> bool:
        """Whether a worker could take a message at once."""
        return bool(self.parked) or len(self.workers) < self.cell.spec.concurrency

    def _fail_pending(self, error: BaseException) -> None:
        """Fail or redeliver all messages of an incarnation that crashed or was cancelled (R8)."""
        cell = self.cell
        crashed = isinstance(error, Exception)
        slots: list[ReplySlot[Any]] = []
        lost: list[LostMessage] = []
        for worker in self.workers:
            message, slot, tries = worker.message, worker.slot, worker.tries
            if message is None:
                continue
            self._clear(worker)  # counted below, before the `stopped` hook runs
            here = f"{type(message).__name__} at {cell.path}"
            chain = () if slot is None else slot.chain()
            chain = chain if chain[-1:] == (here,) else (*chain, here)
            lost.append(LostMessage(chain, Verdict.MAY_HAVE_RUN))
            if crashed and tries < cell.spec.redeliver and not self._is_gone(slot, worker):
                cell.redeliveries.append(((message, slot, trio.current_time()), tries + 1))
                if slot is not None:
                    slot.hold(cell)
                continue
            if crashed:
                cell.counts.failed += 1
            elif slot is not None and slot.outcome is not None:
                cell.counts.count_abandoned(slot.outcome)
            else:
                cell.counts.dead_lettered += 1
                cell.report_dead_letter(message, "stopped")
            if slot is not None and slot.holder is worker:
                slots.append(slot)
            for instrument in cell.instruments if crashed else ():
                instrument.message_failed(MessageFailed(cell.path, type(message).__name__, error))
        cell.lost = tuple(lost)
        for slot in (*slots, *self.deferred):
            slot.fail(
                ActorCrashed(cell.path, slot.verdict, error)
                if crashed
                else ActorStopped(cell.path, slot.verdict)
            )

    def _is_gone(self, slot: ReplySlot[Any] | None, worker: Worker) -> bool:
        """Whether a message was forwarded to another actor, or its caller has given up."""
        is_here = slot is None or slot.holder is worker or slot.holder is self
        return not is_here or (slot is not None and slot.outcome is not None)


def _discarding_sink() -> StreamSink[object]:
    """Return a sink that discards its items, for a stream message sent by `tell` or `ask`."""
    channel, receiver = trio.open_memory_channel[object](0)
    receiver.close()
    return StreamSink(channel)
