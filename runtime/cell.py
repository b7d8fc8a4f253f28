"""An actor's place in the tree: the mailbox and all that outlives one incarnation (R2)."""

from collections import deque
from collections.abc import Callable
from math import inf
from random import Random
from typing import final

import attrs
import structlog
import trio
from attrs.validators import ge, instance_of, matches_re, optional
from trio_util import AsyncValue

from .actor import Actor, Handler
from .deadlines import Deadlines
from .errors import ActorCrashed, ActorStopped, UnhandledMessage
from .mailbox import Envelope, Mailbox
from .message import Message
from .nursery import open_collapsing_nursery
from .ref import Ref
from .reply import ReplySlot, Settlement, current_slot
from .snapshot import ActorSnapshot, CellState, Doing, Tally

__all__ = ["Cell", "Spec", "Timer"]

_log = structlog.stdlib.get_logger("callsheet.runtime")
_CHECKPOINT_EVERY = 32  # messages; an actor whose handlers never wait must not starve the others
_STOPPED_HOOK_S = 5.0


@attrs.frozen
class Spec:
    """How to make and keep one actor.

    Args:
        name: unique among its siblings; no "/".
        factory: makes one incarnation.
        capacity: messages that may wait in the mailbox.
        concurrency: handlers that may run at a time.
        max_held: messages it may put off answering; while it holds so many it takes no more from
            the mailbox. None for no bound.

    Raises:
        ValueError: a value is out of its range; the message names the field.
    """

    name: str = attrs.field(validator=matches_re(r"[^/]+"))
    factory: Callable[[], Actor]
    capacity: int = attrs.field(default=64, validator=[instance_of(int), ge(1)])
    concurrency: int = attrs.field(default=1, validator=[instance_of(int), ge(1)])
    max_held: int | None = attrs.field(default=None, validator=optional([instance_of(int), ge(1)]))


@final
@attrs.define(eq=False)
class Timer:
    """A message that an actor will handle at an instant; see `Actor.send_at`."""

    message: Message[object]
    _cell: "Cell"
    done: bool = False

    def cancel(self) -> None:
        """Never mind. Harmless if it has gone off."""
        if not self.done:
            self.done = True
            self._cell.deadlines.settled()
            self._cell.timer_ended(self)

    def expire(self) -> None:
        """The runtime's: the instant has come."""
        self.done = True
        self._cell.timer_ended(self)
        self._cell.timer_is_due(self)


@final
@attrs.define(eq=False)
class _Worker:
    """A task that runs handlers one after another, and the message in its hands.

    One cancel scope serves it for a stretch of messages; it is renewed only after it was used,
    because a scope for each would cost more than most messages do.
    """

    path: str
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    message: Message[object] | None = None
    slot: ReplySlot[object] | None = None
    since: float = 0.0
    uninterruptible: bool = False
    interrupted: bool = False

    def released(self, slot: ReplySlot[object]) -> None:
        """The slot of the message in hand is filled: if it was given up, so is the work (R4)."""
        if slot.settlement in _GIVEN_UP and not self.uninterruptible:
            self.interrupted = True
            self.scope.cancel()


_GIVEN_UP = (Settlement.CANCELLED, Settlement.EXPIRED)


class Cell:
    """The place. A supervisor calls `incarnate` again and again; refs send to it at any time."""

    def __init__(self, spec: Spec, parent: str, deadlines: Deadlines, seed: str) -> None:
        self.spec = spec
        self.path = f"{parent}/{spec.name}"
        self.ref = Ref(self)
        self.deadlines = deadlines
        self.mailbox = Mailbox(spec.capacity)
        self.tally = Tally()
        self.states = AsyncValue(CellState.STARTING)
        self.incarnation = 0
        self.stop_scope = trio.CancelScope()
        self._random: Random | None = None  # made when first asked for: its state takes 2.5 KiB
        self._seed = seed
        self._table: dict[type[Message[object]], Handler] = {}
        self._workers: list[_Worker] = []
        self._busy = 0
        self._parked: deque[trio.lowlevel.Task] = deque()
        self._held: dict[ReplySlot[object], None] = {}  # deferred here and not yet filled
        self._timers: set[Timer] = set()
        self._due: deque[Timer] = deque()
        self._urgent: deque[Envelope] = deque()
        self._max_held = inf if spec.max_held is None else spec.max_held
        self._intake_open = True
        self._flushed = False  # the `draining` hook has run
        self._finished = False  # the drain is over

    @property
    def random(self) -> Random:
        """The incarnation's random source (R13)."""
        if self._random is None:
            self._random = Random(f"{self._seed}/{self.path}/{self.incarnation}")  # noqa: S311  # not a secret
        return self._random

    # ---------------------------------------------------------------- sending

    @property
    def state(self) -> CellState:
        """What it is in now."""
        return self.states.value

    def try_put(self, envelope: Envelope) -> bool:
        """Take a message in if there is room; False if there is none.

        Raises:
            ActorStopped: it takes no messages any more.
            UnhandledMessage: there is no handler for it.
        """
        if not self._intake_open:
            raise ActorStopped(self.path)
        slot = envelope[1]
        if self._handler(envelope[0]).urgent:
            self._urgent.append(envelope)
            self.tally.bypassed += 1
        else:
            try:
                self.mailbox.put_nowait(envelope, trio.current_time())
            except trio.WouldBlock:
                return False
        if slot is not None:
            slot.hold(self)
        if self._parked:
            self.wake()
        return True

    async def put(self, envelope: Envelope) -> None:
        """Take a message in, waiting for room; always a checkpoint. Raises like `try_put`."""
        if self.try_put(envelope):
            await trio.lowlevel.checkpoint()
            return
        slot = envelope[1]
        if slot is not None:
            slot.hold(self)
        try:
            await self.mailbox.put(envelope)
        except trio.ClosedResourceError:
            raise ActorStopped(self.path) from None

    def _handler(self, message: Message[object]) -> Handler:
        kind = type(message)
        handler = self._table.get(kind)
        if handler is None:
            handler = next(
                (self._table[base] for base in kind.__mro__ if base in self._table), None
            )
            if handler is None:
                known = ", ".join(sorted(kind.__name__ for kind in self._table)) or "nothing"
                raise UnhandledMessage(
                    f"{self.path} has no handler for {kind.__name__}; it handles {known}"
                )
            self._table[kind] = handler
        return handler

    # ---------------------------------------------------------------- timers and waking

    def send_at(self, when: float, message: Message[object]) -> Timer:
        """See `Actor.send_at`."""
        self._handler(message)
        timer = Timer(message, self)
        self._timers.add(timer)
        self.deadlines.add(when, timer)
        return timer

    def timer_ended(self, timer: Timer) -> None:
        """The runtime's: it has gone off or was cancelled."""
        self._timers.discard(timer)

    def timer_is_due(self, timer: Timer) -> None:
        """The runtime's: its message goes before those in the mailbox, and past a full one."""
        self._due.append(timer)
        self.tally.bypassed += 1
        self.wake()

    def wake(self) -> None:
        """Let one idle worker look again at what there is to do."""
        if self._parked:
            trio.lowlevel.reschedule(self._parked.pop())

    async def _park(self) -> None:
        task = trio.lowlevel.current_task()

        def abort(_: object) -> trio.lowlevel.Abort:
            self._parked.remove(task)
            return trio.lowlevel.Abort.SUCCEEDED

        self._parked.append(task)
        await trio.lowlevel.wait_task_rescheduled(abort)

    def released(self, slot: ReplySlot[object]) -> None:
        """A slot that waited or was held here is filled, or has gone on."""
        if self._held.pop(slot, self) is None and (
            not self._held or len(self._held) == self._max_held - 1
        ):
            self.wake()  # a drain waits for the one, the intake for the other

    # ---------------------------------------------------------------- one incarnation

    async def incarnate(self, started: Callable[[], None]) -> None:
        """Make an actor and run it to its end: a drain, or a crash.

        Args:
            started: called when the actor has started and takes messages.

        Raises:
            Exception: what it crashed with, or could not start for. Askers have been told.
        """
        current_slot.set(None)  # whoever spawned it lends it no deadline
        self.incarnation += 1
        self._flushed = False
        self._random = None
        actor = self.spec.factory()
        actor._cell = self  # noqa: SLF001  # the runtime's own
        self._table = dict(type(actor).handlers)
        await actor.started()
        self.states.value = CellState.RUNNING if self._intake_open else CellState.DRAINING
        started()
        try:
            await self._run(actor)
        except BaseException as error:
            self._abandon(error)
            raise
        finally:
            for timer in list(self._timers):
                timer.cancel()
            self.tally.cancelled += len(self._due)
            self._due.clear()
            self._workers.clear()
            self._parked.clear()
            self._busy = 0
            with trio.CancelScope(shield=True, deadline=trio.current_time() + _STOPPED_HOOK_S):
                await actor.stopped()

    async def _run(self, actor: Actor) -> None:
        if self.spec.concurrency == 1:
            await self._work(actor, self._new_worker(), None)
            return
        async with open_collapsing_nursery() as nursery:
            nursery.start_soon(self._work, actor, self._new_worker(), nursery)

    def _new_worker(self) -> _Worker:
        worker = _Worker(self.path)
        self._workers.append(worker)
        return worker

    async def _work(self, actor: Actor, worker: _Worker, nursery: trio.Nursery | None) -> None:
        while not self._finished:
            worker.interrupted = False
            with trio.CancelScope() as worker.scope:
                await self._stretch(actor, worker, nursery)
            if worker.message is not None:  # it was interrupted
                self.tally.given_up(worker.slot.settlement if worker.slot else None)
                self._lay_down(worker)

    async def _stretch(self, actor: Actor, worker: _Worker, nursery: trio.Nursery | None) -> None:
        streak = 0
        while not self._finished:
            if self._due:
                message, slot = self._due.popleft().message, None
            elif (envelope := self._take()) is not None:
                message, slot = envelope
            else:
                if not self._is_drained or not await self._flush(actor):
                    await self._park()
                streak = 0
                continue
            if slot is not None and slot.settlement is not None:
                self.tally.given_up(slot.settlement)  # nobody waits for it: skipped (R4)
            else:
                if nursery and not self._parked and len(self._workers) < self.spec.concurrency:
                    nursery.start_soon(self._work, actor, self._new_worker(), nursery)
                await self._handle(actor, worker, message, slot)
                if worker.interrupted:
                    return
            streak += 1
            if streak >= _CHECKPOINT_EVERY:
                streak = 0
                await trio.lowlevel.checkpoint()

    async def _handle(
        self,
        actor: Actor,
        worker: _Worker,
        message: Message[object],
        slot: ReplySlot[object] | None,
    ) -> None:
        handler = self._handler(message)
        worker.message, worker.slot = message, slot
        worker.uninterruptible = handler.uninterruptible
        worker.since = trio.current_time()
        self._busy += 1
        current_slot.set(slot)
        try:
            if handler.defers:
                if slot is None:
                    slot = ReplySlot()
                slot.hold(self)
                self._held[slot] = None
                await handler.call(actor, message, slot)
                self.tally.handled += 1
            else:
                if slot is not None:
                    slot.started = True
                    slot.hold(worker)
                value = await handler.call(actor, message)
                self.tally.handled += 1
                if slot is not None and not slot.reply(value):
                    self.tally.late += 1
        except handler.raises as error:
            self.tally.failed += 1
            if slot is None:
                _log.warning(
                    "error_without_asker",
                    actor=self.path,
                    message=handler.kind.__name__,
                    error=error,
                )
            elif not slot.fail(error):
                self.tally.late += 1
        self._lay_down(worker)

    def _lay_down(self, worker: _Worker) -> None:
        worker.message = worker.slot = None
        self._busy -= 1

    def _take(self) -> Envelope | None:
        if self._urgent:
            return self._urgent.popleft()
        if len(self._held) < self._max_held:
            return self.mailbox.take_nowait()
        return None

    @property
    def _is_drained(self) -> bool:
        """Whether nothing more can come, and nothing is being done."""
        return not (self._intake_open or self._busy or self._urgent or len(self.mailbox))

    async def _flush(self, actor: Actor) -> bool:
        """The mailbox of a drain is empty. Returns False if a worker has to wait for the rest."""
        if not self._flushed:
            self._flushed = True
            self._busy += 1
            try:
                await actor.draining()
            finally:
                self._busy -= 1
            return True
        if self._held:
            return False
        self._finished = True
        while self._parked:
            self.wake()
        return True

    # ---------------------------------------------------------------- ends

    def drain(self) -> None:
        """Take no more messages; the incarnation ends when all that came in is done."""
        if self._intake_open:
            self._intake_open = False
            self.mailbox.close()
            if self.state is CellState.RUNNING:
                self.states.value = CellState.DRAINING
            self.wake()

    def close(self) -> None:
        """The place is given up: whoever still waits is told so (R3)."""
        self._intake_open = False
        self.mailbox.close()
        self._max_held = inf
        while (envelope := self._take()) is not None:
            slot = envelope[1]
            if slot is not None and slot.settlement is not None:
                self.tally.given_up(slot.settlement)
                continue
            self.tally.dead_lettered += 1
            if slot is not None:
                slot.fail(ActorStopped(self.path))
        for slot in list(self._held):
            slot.fail(ActorStopped(self.path, slot.verdict))
        self.states.value = CellState.STOPPED

    def _abandon(self, error: BaseException) -> None:
        """The incarnation died: what it had in its hands is not done again (R8)."""
        crashed = isinstance(error, Exception)
        slots = list(self._held)
        for worker in self._workers:
            if worker.message is not None:
                if crashed:
                    self.tally.failed += 1
                else:
                    self.tally.cancelled += 1
                if worker.slot is not None and worker.slot.is_held_by(worker):
                    slots.append(worker.slot)
        for slot in slots:
            slot.fail(
                ActorCrashed(self.path, slot.verdict, error)
                if crashed
                else ActorStopped(self.path, slot.verdict)
            )

    def snapshot(self, now: float) -> ActorSnapshot:
        """What it looks like at this moment (R12)."""
        mailbox = self.mailbox.statistics()
        return ActorSnapshot(
            path=self.path,
            state=self.state,
            incarnation=self.incarnation,
            mailbox=mailbox,
            oldest_s=None if mailbox.oldest_at is None else now - mailbox.oldest_at,
            doing=tuple(
                Doing(type(worker.message).__name__, now - worker.since)
                for worker in self._workers
                if worker.message is not None
            ),
            held=len(self._held),
            urgent=len(self._urgent) + len(self._due),
            tally=attrs.evolve(self.tally),
        )
