"""An actor's place in the tree: the mailbox and all that outlives one incarnation (R2)."""

from collections.abc import Callable, Mapping, Sequence
from math import inf
from random import Random
from sys import maxsize
from typing import Any, Literal, final

import attrs
import trio
from attrs.validators import ge, in_, instance_of, matches_re, optional
from trio.lowlevel import reschedule

from ..errors import ActorStopped, Dropped, MailboxFull, UnhandledMessage
from .actor import Actor, Handler
from .incarnation import Incarnation
from .instruments import ActorEvent, DeadLetter
from .mailbox import POLICIES, TAKEN, Coalesce, Envelope, Fate, Mailbox, Overflow, Priority
from .node import States, Stopper, TreeContext, Waker
from .ref import Ref
from .reply import Message, Outcome, ReplySlot, current_slot
from .snapshot import ActorSnapshot, InProgress, MessageCounts, State
from .states import RESTARTS, LostMessage, Restart
from .worker import Worker

__all__ = [
    "Cell",
    "Spec",
]


def _is_overflow(_: object, __: object, value: object) -> None:
    if value not in POLICIES and not isinstance(value, Coalesce):
        known = ", ".join(POLICIES)
        raise ValueError(f"overflow must be one of {known} or a Coalesce, not {value!r}")


def _is_count(_: object, field: "attrs.Attribute[int]", value: object) -> None:
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"{field.name} must be a whole number of at least 1, not {value!r}")


@attrs.frozen(kw_only=True)
class Spec:
    """How to make and keep one actor; `Supervisor.spawn` has the meaning of each.

    Raises:
        ValueError: a value is out of its range; the message names the field.
    """

    name: str = attrs.field(validator=matches_re(r"[^/]+"))
    factory: Callable[[], Actor]
    capacity: int = attrs.field(default=64, validator=_is_count)
    overflow: Overflow = attrs.field(default="block", validator=_is_overflow)
    priority: Priority | None = None
    concurrency: int = attrs.field(default=1, validator=_is_count)
    max_deferred: int | None = attrs.field(default=None, validator=optional(_is_count))
    restart: Restart = attrs.field(default="permanent", validator=in_(RESTARTS))
    stop_s: float = attrs.field(default=inf, validator=ge(0))
    redeliver: int = attrs.field(default=0, validator=[instance_of(int), ge(0)])


@final
class Cell:
    """The place. A supervisor calls `incarnate` again and again; refs send to it at any time.

    Args:
        spec: how to make and keep the actor.
        parent: the path of its supervisor.
        shared: what the whole tree shares.
        keeper: who stops it.
    """

    def __init__(self, spec: Spec, parent: str, shared: TreeContext, keeper: Stopper) -> None:
        self.spec = spec
        self.keeper = keeper
        self.name = spec.name
        self.path = f"{parent}/{spec.name}"
        self.restart: Restart = spec.restart
        self.stop_s = spec.stop_s
        self.max_deferred = (
            maxsize if spec.max_deferred is None else spec.max_deferred
        )  # an int is faster
        self.ref = Ref(self)
        self.deadlines = shared.deadlines
        self.now = shared.now
        self.instruments = shared.instruments
        self.counts = MessageCounts()
        self.mailbox = Mailbox(spec.capacity, spec.overflow, spec.priority, self._drop)
        # Lists, since few wait there, and an empty deque takes 760 bytes.
        self.urgent: list[Envelope] = []  # goes before the mailbox
        self.again: list[tuple[Envelope, int]] = []  # to be redelivered, and how often it was
        self.states = States()
        self.incarnation = 0
        self.life: Incarnation | None = None
        self._actor: Actor | None = None  # made, but without a task yet
        self._rouser: Waker | None = None  # while it dozes
        self.lost: tuple[LostMessage, ...] = ()
        self._shared = shared
        self.is_open = True  # it takes messages
        self._has_abandoned = False  # something may wait in the mailbox that nobody waits for
        self._ended: list[Callable[[], None]] | None = None  # told when the place is given up
        self.table: Mapping[type[Message[object]], Handler] = {}  # the actor's, till it grows
        self._random: Random | None = None  # made when first asked for: its state takes 2.5 KiB

    # ---------------------------------------------------------------- sending

    @property
    def state(self) -> State:
        """What it is in now."""
        return self.states.value

    @property
    def random(self) -> Random:
        """The incarnation's random source (R13)."""
        if self._random is None:
            seed = f"{self._shared.seed}/{self.path}/{self.incarnation}"
            self._random = Random(seed)  # noqa: S311  # not a secret
        return self._random

    @property
    def load(self) -> int:
        """Messages that wait or are in hand."""
        busy = 0 if self.life is None else self.life.busy
        return len(self.mailbox) + len(self.urgent) + len(self.again) + busy

    @property
    def blockers(self) -> Sequence[Worker]:
        """The workers any of whom has to go on before something is taken from here (`waiting`)."""
        life = self.life
        return () if life is None or life.is_idle else life.workers

    def try_put(self, message: Message[object], slot: ReplySlot[Any] | None, now: float) -> bool:
        """Take a message in if there is room; False if its sender may wait for room.

        Args:
            message: what is sent.
            slot: where the answer goes, if anybody asks.
            now: the present, on Trio's clock.

        Raises:
            ActorStopped: it takes no messages any more.
            MailboxFull: there is no room, and senders do not wait (R5).
            UnhandledMessage: there is no handler for it.
        """
        if not self.is_open:
            raise ActorStopped(self.path)
        handler = self.table.get(type(message)) or self.handler_of(message)
        if slot is not None:
            if slot.holder is None:
                slot.holder = self
            else:
                slot.hold(self)
        if handler.urgent:
            self.urgent.append((message, slot, now))
            self.counts.bypassed += 1
        else:
            if self._has_abandoned and len(self.mailbox) >= self.mailbox.capacity:
                self._purge()
            fate = self.mailbox.offer((message, slot, now))
            if fate is not TAKEN and not self._is_settled_by(fate, (message, slot, now)):
                return False
        life = self.life
        if life is not None:
            if life.parked:
                reschedule(life.parked.pop())
        elif self._rouser is not None:
            self.rouse()
        return True

    async def put(self, message: Message[object], slot: ReplySlot[Any] | None) -> None:
        """Wait for room, of which there was none a moment ago.

        Raises:
            ActorStopped: it takes no messages any more.
        """
        try:
            await self.mailbox.put((message, slot, 0.0))
        except trio.ClosedResourceError:
            raise ActorStopped(self.path) from None

    def handler_of(self, message: Message[object]) -> Handler:
        """Who handles it.

        Raises:
            UnhandledMessage: nobody.
        """
        kind = type(message)
        table = self.table
        handler = table.get(kind)
        if handler is None:
            handler = next((table[base] for base in kind.__mro__ if base in table), None)
            if handler is None:
                known = ", ".join(sorted(kind.__name__ for kind in table)) or "nothing"
                raise UnhandledMessage(
                    f"{self.path} has no handler for {kind.__name__}; it handles {known}"
                )
            self.table = {**table, kind: handler}
        return handler

    def _is_settled_by(self, fate: Fate, envelope: Envelope) -> bool:
        """Deal with a message that found no room; whether that was all about it."""
        if fate is Fate.REJECTED:
            raise MailboxFull(self.path, self.mailbox.capacity)
        if fate is Fate.DROPPED:
            self.counts.bypassed += 1  # it never was in the mailbox
            self._drop(envelope)
            return True
        return False

    def _purge(self) -> None:
        """Take out all that nobody waits for any more: it keeps no room from others."""
        self._has_abandoned = False
        for _, slot, _ in self.mailbox.purge():
            self.counts.given_up(slot.outcome if slot else None)

    def _drop(self, envelope: Envelope) -> None:
        """A message was dropped by the mailbox's policy."""
        message, slot, _ = envelope
        self.counts.dropped += 1
        if slot is not None:
            slot.fail(Dropped(self.path))
        self.tell_dead_letter(message, "dropped")

    def released(self, slot: ReplySlot[Any]) -> None:
        """A slot that waited here is filled, or has gone on; its message is skipped later.

        If somebody wants its room, it goes at once.
        """
        if slot.outcome is Outcome.CANCELLED or slot.outcome is Outcome.EXPIRED:
            self._has_abandoned = True
            if self.mailbox.has_senders_waiting:
                self._purge()

    # ---------------------------------------------------------------- one incarnation

    def doze(self, rouser: Waker) -> bool:
        """Make an actor and begin its life, but without a task until there is something to do.

        Only one that has no hooks may doze, since they run in its task, and only while nothing
        waits for it.

        Args:
            rouser: told of the first message: `incarnate` is to be run in a task.

        Returns:
            Whether it has begun; if not, `incarnate` begins it, with the actor that was made.

        Raises:
            Exception: the factory's.
        """
        actor = self._actor = self._make()
        if not self.is_open or self._has_work or _has_hooks(actor):
            return False
        self._rouser = rouser
        self._tell_started()
        return True

    def rouse(self) -> Incarnation | None:
        """Let one that dozes have its task; its life, or None if it does not live."""
        if self._rouser is not None and self._actor is not None:
            self.life = Incarnation(self, self._actor)
            rouser, self._rouser, self._actor = self._rouser, None, None
            rouser.rouse()
        return self.life

    def end_doze(self) -> bool:
        """See `Node`."""
        if self._rouser is None:  # but an actor may be made, whose task has yet to run
            return False
        self._rouser = self._actor = None
        return True

    async def incarnate(self, started: Callable[[], None]) -> None:
        """Run an actor to its end: a drain, a halt or a crash.

        Args:
            started: called when the actor has started and takes messages; not after a doze.

        Raises:
            Exception: what it crashed with, or could not start for. Askers have been told.
        """
        current_slot.set(None)  # whoever spawned it lends it no deadline
        life = self.life
        try:
            if life is None:
                actor, self._actor = self._actor or self._make(), None
                life = self.life = Incarnation(self, actor)
                await actor.started()
                self._tell_started()
                started()
            else:
                await trio.lowlevel.checkpoint_if_cancelled()
            await life.run()
        finally:
            if life is not None:
                life.end_timers()
            self.life = None

    def _make(self) -> Actor:
        """One more incarnation, which does not live yet."""
        self.incarnation += 1
        self._random = None
        actor = self.spec.factory()
        actor._cell = self  # noqa: SLF001  # the runtime's own
        self.table = actor.handlers
        return actor

    def _tell_started(self) -> None:
        self.states.value = State.RUNNING if self.is_open else State.DRAINING
        for instrument in self.instruments:
            instrument.actor_started(ActorEvent(self.path, self.incarnation))

    @property
    def is_drained(self) -> bool:
        """Whether nothing more can come, and nothing waits."""
        return not (self.is_open or self._has_work)

    @property
    def _has_work(self) -> bool:
        return bool(self.urgent or self.again or len(self.mailbox))

    def drain(self) -> None:
        """Take no more messages; the incarnation ends when all that came in is done."""
        if self.is_open:
            self.is_open = False
            self.mailbox.close()
            if self.state is State.RUNNING:
                self.states.value = State.DRAINING
            if self.life is not None:
                self.life.wake()

    def halt(self) -> None:
        """End the incarnation after the messages in hand; what waits, waits for the next one."""
        if self.life is not None:
            self.life.halt()

    def open(self) -> None:
        """Take messages again, after a `close`; refs that were given out are good again."""
        if not self.is_open:
            self.is_open = True
            self.counts.accepted += self.mailbox.accepted
            spec = self.spec
            self.mailbox = Mailbox(spec.capacity, spec.overflow, spec.priority, self._drop)
            self.states.value = State.STARTING

    def close(self) -> None:
        """The place is given up, or rests: whoever still waits is told so (R3)."""
        if self.state is State.STOPPED:
            return
        self.is_open = False
        self.mailbox.close()
        waiting = [envelope for envelope, _ in self.again] + list(self.urgent)
        self.again.clear()
        self.urgent.clear()
        while (envelope := self.mailbox.take()) is not None:
            waiting.append(envelope)
        for message, slot, _ in waiting:
            if slot is not None and slot.outcome is not None:
                self.counts.given_up(slot.outcome)
                continue
            self.counts.dead_lettered += 1
            if slot is not None:
                slot.fail(ActorStopped(self.path, slot.verdict))
            self.tell_dead_letter(message, "stopped")
        self.states.value = State.STOPPED
        for instrument in self.instruments:
            instrument.actor_stopped(ActorEvent(self.path, self.incarnation))
        ended, self._ended = self._ended, None
        for callback in ended or ():
            callback()

    def on_ended(self, callback: Callable[[], None]) -> None:
        """Call back when the place is given up or rests; at once if it is."""
        if self.state is State.STOPPED:
            callback()
        elif self._ended is None:
            self._ended = [callback]
        else:
            self._ended.append(callback)

    def snapshot(self, now: float) -> ActorSnapshot:
        """What it looks like at this moment (R12)."""
        mailbox = self.mailbox.statistics()
        life = self.life
        workers = [] if life is None else [one for one in life.workers if one.message is not None]
        return ActorSnapshot(
            path=self.path,
            state=self.state,
            incarnation=self.incarnation,
            mailbox=mailbox,
            oldest_s=None if mailbox.oldest_at is None else now - mailbox.oldest_at,
            in_progress=tuple(
                InProgress(type(one.message).__name__, now - one.since) for one in workers
            ),
            held=0 if life is None else len(life.held),
            urgent=len(self.urgent) + len(self.again) + (0 if life is None else len(life.due)),
            stop_s=self.stop_s,
            counts=attrs.evolve(self.counts, accepted=self.counts.accepted + mailbox.accepted),
        )

    def tell_dead_letter(
        self, message: Message[object], reason: Literal["stopped", "dropped"]
    ) -> None:
        """A message will never be handled, or not to its end."""
        for instrument in self.instruments:
            instrument.dead_letter(DeadLetter(self.path, type(message).__name__, reason))


def _has_hooks(actor: Actor) -> bool:
    """Whether something is to run in its task though no message has come."""
    own = type(actor)
    return (
        own.started is not Actor.started
        or own.draining is not Actor.draining
        or own.stopped is not Actor.stopped
    )
