"""One life of an actor: its object, its workers, its timers and the slots it holds.

A nursery whose one error comes out as itself.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast, final

import attrs
import structlog
import trio
from trio.lowlevel import current_task, wait_task_rescheduled

from ..errors import ActorCrashed, ActorStopped, Verdict
from .actor import Actor, Handler
from .instruments import MessageFailed, MessageHandled
from .reply import Message, ReplySlot, current_slot
from .states import LostMessage
from .stream import StreamSink
from .worker import Worker, current_worker

if TYPE_CHECKING:
    from .cell import Cell

__all__ = [
    "Incarnation",
    "Timer",
    "is_cancellation",
    "open_collapsing_nursery",
]


@asynccontextmanager
async def open_collapsing_nursery() -> AsyncGenerator[trio.Nursery]:
    """A nursery that is nobody's concern but its owner's.

    If one task of it, or the block, fails, the error comes out without a group around it; which
    task it was is no concern of the user's. Several errors come out as a group, without
    the cancellations among them.
    """
    try:
        async with trio.open_nursery() as nursery:
            yield nursery
    except BaseExceptionGroup as group:
        # What was cancelled because of a failure, or at the same moment, is not one.
        failures = group.split(trio.Cancelled)[1] or group
        error, *others = failures.exceptions
        if others:
            raise failures from failures.__cause__
        raise error from error.__cause__


def is_cancellation(error: BaseException) -> bool:
    """Whether it is nothing but one, or a group of them."""
    if not isinstance(error, BaseExceptionGroup):
        return isinstance(error, trio.Cancelled)
    group = cast("BaseExceptionGroup[BaseException]", error)
    return group.split(trio.Cancelled)[1] is None


_log = structlog.stdlib.get_logger("callsheet.runtime")
_CHECKPOINT_EVERY = 64  # messages; an actor whose handlers never wait must not starve the others
_STOPPED_HOOK_S = 5.0


@final
@attrs.define(eq=False)
class Timer:
    """A message that an actor will handle at an instant; see `Actor.send_at`.

    Attributes:
        message: what it will handle.
        period_s: seconds from one time to the next; None if it goes off once.
        done: it will not go off again.
    """

    message: Message[object]
    _life: "Incarnation"
    when: float
    period_s: float | None = None
    done: bool = False
    is_due: bool = False  # it has gone off, and its message was not handled yet

    def cancel(self) -> None:
        """Never mind, not even if it has gone off and waits; harmless if it was handled."""
        if self.is_due:
            self.is_due = False
            self._life.due.remove(self)
            self._life.cell.counts.cancelled += 1
        if not self.done:
            self.done = True
            self._life.timers.pop(self, None)
            self._life.cell.deadlines.settled()

    def expire(self) -> None:
        """The runtime's: the instant has come."""
        life = self._life
        if self.period_s is None:
            self.done = True
            life.timers.pop(self, None)
        else:
            # The next multiple that is still to come: whoever is late is not made later.
            now = trio.current_time()
            self.when += self.period_s * max(1, -(-(now - self.when) // self.period_s))
            life.cell.deadlines.add(self.when, self)
        if not self.is_due:  # at most one of a timer waits, so a slow actor does not pile them up
            self.is_due = True
            life.due.append(self)
            life.cell.counts.bypassed += 1
            life.wake()


@final
class Incarnation:
    """A life from the `started` hook to a drain, a halt or a crash.

    Args:
        cell: the place, which outlives it.
        actor: the object.
    """

    def __init__(self, cell: "Cell", actor: Actor) -> None:
        self.cell = cell
        self.actor = actor
        self.workers: list[Worker] = []
        self.timers: dict[Timer, None] = {}
        self.due: list[Timer] = []
        self.held: dict[ReplySlot[Any], None] = {}  # deferred here and not yet filled
        self.busy = 0  # workers with a message in hand
        self.parked: list[trio.lowlevel.Task] = []
        self._is_flushed = False  # the `draining` hook has run
        self._is_over = False
        self._max_held = cell.max_deferred

    @property
    def path(self) -> str:
        """The actor's."""
        return self.cell.path

    # ---------------------------------------------------------------- from outside

    def wake(self) -> None:
        """Let one idle worker look again at what there is to do."""
        if self.parked:
            trio.lowlevel.reschedule(self.parked.pop())

    def halt(self) -> None:
        """End after the messages in hand, whatever waits."""
        self._is_over = True
        while self.parked:
            self.wake()

    def send_at(self, when: float, message: Message[object], period_s: float | None) -> Timer:
        """See `Actor.send_at` and `Actor.send_every`."""
        self.cell.handler_of(message)
        timer = Timer(message, self, when, period_s)
        self.timers[timer] = None
        self.cell.deadlines.add(when, timer)
        return timer

    def send_now(self, message: Message[object]) -> None:
        """Have a message handled before those in the mailbox; nothing if this life is over."""
        if self.cell.life is self:
            self.send_at(trio.current_time(), message, None)

    @property
    def blockers(self) -> tuple[Worker, ...]:
        """Nobody in particular: what is held may be answered by anything; see `waiting`."""
        return ()

    def released(self, slot: ReplySlot[Any]) -> None:
        """A slot that was held here is filled, or has gone on."""
        if self.held.pop(slot, self) is None and (
            not self.held or len(self.held) == self._max_held - 1
        ):
            self.wake()  # a drain waits for the one, the intake for the other

    def end_timers(self) -> None:
        """Nothing will be handled any more, whatever the hooks may have set."""
        for timer in list(self.timers):
            timer.cancel()
        self.cell.counts.cancelled += len(self.due)
        self.due.clear()

    # ---------------------------------------------------------------- the life

    async def run(self) -> None:
        """Handle messages until a drain or a halt is over.

        Raises:
            Exception: the actor crashed. Askers have been told.
        """
        try:
            if self.cell.spec.concurrency == 1:
                await self._work(self._new_worker(), None)
            else:
                async with open_collapsing_nursery() as nursery:
                    nursery.start_soon(self._work, self._new_worker(), nursery)
        except BaseException as error:
            self._abandon(error)
            raise
        else:
            for slot in list(self.held):  # a halt does not wait for them
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
                await self._stretch(worker, nursery)
            if worker.message is not None:  # it was interrupted
                self.cell.counts.given_up(worker.slot.outcome if worker.slot else None)
                self._lay_down(worker)

    async def _stretch(  # noqa: PLR0912, PLR0915  # see below
        self, worker: Worker, nursery: trio.Nursery | None
    ) -> None:
        """Handle messages until one was interrupted, or this life is over.

        It is long because every message goes through it: a call less is a tenth of a message.
        """
        cell, actor, table = self.cell, self.actor, self.cell.table
        take, now = cell.mailbox.take, cell.now
        due, again, urgent, held = self.due, cell.again, cell.urgent, self.held
        max_deferred, counts, instruments = self._max_held, cell.counts, cell.instruments
        task, parked = current_task(), self.parked

        def unpark(_: object) -> trio.lowlevel.Abort:
            parked.remove(task)
            return trio.lowlevel.Abort.SUCCEEDED

        current_slot.set(None)
        last: ReplySlot[Any] | None = None
        streak = 0
        timed = False  # the last one was a timer's
        while not self._is_over:
            # Timers go first, but a slow handler's own period must not starve the mailbox.
            if due and not (timed and len(cell.mailbox) and len(held) < max_deferred):
                timed = True
                timer = due.pop(0)
                timer.is_due = False
                message, slot = timer.message, None
            elif again:
                (message, slot, _), worker.tries = again.pop(0)
            elif urgent:
                message, slot, _ = urgent.pop(0)
            elif len(held) < max_deferred and (envelope := take()) is not None:
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
                counts.given_up(slot.outcome)  # nobody waits for it: skipped (R4)
                worker.tries = 0
            else:
                if nursery:
                    self._let_others_work(nursery)
                handler = table.get(type(message))
                if handler is None:
                    handler = cell.handler_of(message)
                    table = cell.table
                worker.message = message
                worker.slot = slot
                worker.since = now()
                self.busy += 1
                if slot is not last:  # as for one told after another
                    current_slot.set(slot)
                    worker.uninterruptible = handler.uninterruptible
                    last = slot
                try:
                    if handler.takes_slot:
                        await self._hand_over(handler, message, slot, worker)
                    elif slot is None:
                        await handler.call(actor, message)
                    else:
                        slot.started = True
                        slot.holder = worker
                        value = await handler.call(actor, message)
                        if slot.outcome is None:
                            slot.holder = None  # a worker need not be told of its own answer
                            slot.reply(value)
                        else:
                            counts.late += 1
                    counts.handled += 1
                except handler.raises as error:
                    self._answer_error(handler, slot, error)
                if instruments:
                    self._tell_handled(worker, message)
                worker.message = worker.slot = None
                worker.tries = 0
                self.busy -= 1
                if worker.interrupted:
                    return
            if streak >= _CHECKPOINT_EVERY:
                streak = 0
                await trio.lowlevel.checkpoint()

    def _let_others_work(self, nursery: trio.Nursery) -> None:
        """A worker is about to handle a message: see to it that another one takes the next."""
        if self.parked:
            if len(self.cell.mailbox):  # a sender who waited was let in, which wakes nobody
                self.wake()
        elif len(self.workers) < self.cell.spec.concurrency:
            nursery.start_soon(self._work, self._new_worker(), nursery)

    async def _hand_over(
        self,
        handler: Handler,
        message: Message[object],
        slot: ReplySlot[Any] | None,
        worker: Worker,
    ) -> None:
        """Run a handler that gets the slot: one that defers, or one that streams."""
        if slot is None:
            slot = worker.slot = ReplySlot()
        if handler.streams:
            slot.started = True
            slot.hold(worker)
            await handler.call(self.actor, message, slot.sink or _nowhere())
            slot.reply(None)
        else:
            self.held[slot] = None
            slot.hold(self)
            await handler.call(self.actor, message, slot)

    def _answer_error(
        self, handler: Handler, slot: ReplySlot[Any] | None, error: Exception
    ) -> None:
        cell = self.cell
        cell.counts.failed += 1
        if slot is None:
            _log.warning(
                "error_without_asker", actor=cell.path, message=handler.kind.__name__, error=error
            )
        elif not slot.fail(error):
            cell.counts.late += 1
        for instrument in cell.instruments:
            instrument.message_failed(MessageFailed(cell.path, handler.kind.__name__, error))

    def _tell_handled(self, worker: Worker, message: Message[object]) -> None:
        event = MessageHandled(
            self.path, type(message).__name__, trio.current_time() - worker.since
        )
        for instrument in self.cell.instruments:
            instrument.message_handled(event)

    def _lay_down(self, worker: Worker) -> None:
        worker.message = None
        worker.slot = None
        worker.waits_for = None
        worker.tries = 0
        self.busy -= 1

    async def _flush(self) -> bool:
        """Nothing more can come. Returns False if a worker has to wait for what is held."""
        if not self._is_flushed:
            self._is_flushed = True
            self.busy += 1
            try:
                await self.actor.draining()
            finally:
                self.busy -= 1
            return True
        if self.held:
            return False
        self.halt()
        return True

    @property
    def is_idle(self) -> bool:
        """Whether some worker could take a message at once."""
        return bool(self.parked) or len(self.workers) < self.cell.spec.concurrency

    def _abandon(self, error: BaseException) -> None:
        """It died: what it had in its hands is not done again, unless asked for (R8)."""
        cell = self.cell
        crashed = isinstance(error, Exception)
        slots: list[ReplySlot[Any]] = []
        lost: list[LostMessage] = []
        for worker in self.workers:
            message, slot, tries = worker.message, worker.slot, worker.tries
            if message is None:
                continue
            self._lay_down(worker)  # it is counted below, while the `stopped` hook is yet to run
            here = f"{type(message).__name__} at {cell.path}"
            chain = () if slot is None else slot.chain()
            chain = chain if chain[-1:] == (here,) else (*chain, here)
            lost.append(LostMessage(chain, Verdict.MAY_HAVE_RUN))
            if crashed and tries < cell.spec.redeliver and not self._is_gone(slot, worker):
                cell.again.append(((message, slot, trio.current_time()), tries + 1))
                if slot is not None:
                    slot.hold(cell)
                continue
            if crashed:
                cell.counts.failed += 1
            elif slot is not None and slot.outcome is not None:
                cell.counts.given_up(slot.outcome)
            else:
                cell.counts.dead_lettered += 1
                cell.tell_dead_letter(message, "stopped")
            if slot is not None and slot.is_held_by(worker):
                slots.append(slot)
            for instrument in cell.instruments if crashed else ():
                instrument.message_failed(MessageFailed(cell.path, type(message).__name__, error))
        cell.lost = tuple(lost)
        for slot in (*slots, *self.held):
            slot.fail(
                ActorCrashed(cell.path, slot.verdict, error)
                if crashed
                else ActorStopped(cell.path, slot.verdict)
            )

    def _is_gone(self, slot: ReplySlot[Any] | None, worker: Worker) -> bool:
        """Whether a message has gone on to another actor, or nobody waits for it any more."""
        is_ours = slot is None or slot.is_held_by(worker) or slot.is_held_by(self)
        return not is_ours or (slot is not None and slot.outcome is not None)


def _nowhere() -> StreamSink[object]:
    """Where the items of a stream go that was told or asked for rather than streamed."""
    channel, nobody = trio.open_memory_channel[object](0)
    nobody.close()
    return StreamSink(channel)
