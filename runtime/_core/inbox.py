"""Where messages for an actor arrive: the mailbox and what else outlives an incarnation (R2)."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import inf
from typing import Any, Never, cast

import attrs
import trio
from attrs.validators import optional
from trio.lowlevel import reschedule

from ..errors import (
    ActorStopped,
    Dropped,
    MailboxFull,
    RestartIntensityExceeded,
    UnhandledMessage,
)
from .actor import Actor
from .checks import check_name, check_seconds, is_count, is_one_of
from .handlers import Handler
from .instruments import ActorEvent, MessageOutcome
from .keyed import KeyFunction, Line
from .mailbox import Mailbox
from .node import RESTARTS, Restart, States, Stopper, TreeContext
from .queues import ACCEPTED, POLICIES, Admission, Coalesce, Envelope, Overflow, Priority
from .ref import Ref
from .reply import Message, ReplySlot
from .snapshot import Ended, EndReason, MessageCounts, State
from .tracing import Trace, outcome_of
from .worker import Worker


def _is_name(_: object, __: object, value: str) -> None:
    check_name(value)


def _is_factory(_: object, __: object, value: Callable[[], Actor[Never]]) -> None:
    given = cast("object", value)
    if isinstance(given, Actor):
        kind = type(cast("object", given)).__name__
        raise TypeError(
            f"factory must make an actor at each start, so it cannot be an object of {kind}: "
            f"give {kind}, or functools.partial({kind}, ...) with its arguments"
        )
    if not callable(given):
        raise TypeError(f"factory must be the class of an actor, or a function, not {given!r}")


def _is_overflow(_: object, __: object, value: object) -> None:
    if value not in POLICIES and not isinstance(value, Coalesce):
        known = ", ".join(POLICIES)
        raise ValueError(f"overflow must be one of {known} or a Coalesce, not {value!r}")


def _is_duration(_: object, field: "attrs.Attribute[float]", value: float) -> None:
    check_seconds(field.name, value, at_least=0)


@attrs.frozen(kw_only=True)
class Spec:
    """The settings of one actor; `Supervisor.spawn` documents each.

    Raises:
        ValueError: a value is out of its range; the message names the field.
    """

    name: str = attrs.field(validator=_is_name)
    factory: Callable[[], Actor[Never]] = attrs.field(validator=_is_factory)
    capacity: int = attrs.field(default=64, validator=is_count(1))
    overflow: Overflow = attrs.field(default="block", validator=_is_overflow)
    priority: Priority | None = None
    key: KeyFunction | None = None
    concurrency: int = attrs.field(default=1, validator=is_count(1))
    max_deferred: int | None = attrs.field(default=None, validator=optional(is_count(1)))
    restart: Restart = attrs.field(default="permanent", validator=is_one_of(RESTARTS))
    stop_s: float = attrs.field(default=inf, validator=_is_duration)
    start_s: float | None = attrs.field(default=None, validator=optional(_is_duration))
    redeliver: int = attrs.field(default=0, validator=is_count(0))

    @property
    def class_name(self) -> str:
        """The name of the class that the factory makes; "" if it is a function."""
        made: object = self.factory
        while isinstance(made, partial):
            made = cast("partial[object]", made).func
        return made.__name__ if isinstance(made, type) else ""


class Inbox(ABC):
    """What a ref sends to: a mailbox, its counts and its overflow policy.

    Args:
        spec: the actor's settings.
        parent: path of the supervisor.
        shared: what all nodes of the tree share.
        stopper: stops the actor when `Runtime.stop` is called.
    """

    # Attributes are read for each message, and there may be a million idle actors.
    __slots__ = (
        "__weakref__",
        "_shared",
        "_watches",
        "counts",
        "deadlines",
        "ended",
        "failure",
        "incarnation",
        "instruments",
        "is_idle",
        "is_open",
        "mailbox",
        "name",
        "now",
        "parked",
        "path",
        "redeliveries",
        "ref",
        "spec",
        "states",
        "stopper",
        "table",
        "thread",
        "token",
        "urgent",
    )

    def __init__(self, spec: Spec, parent: str, shared: TreeContext, stopper: Stopper) -> None:
        self.spec = spec
        self.stopper = stopper
        self.name = spec.name
        self.path = f"{parent}/{spec.name}"
        self.ref = Ref(self)
        self.deadlines = shared.deadlines
        self.now = shared.now
        self.token = shared.token
        self.thread = shared.thread
        self.instruments = shared.instruments
        self.counts = MessageCounts()
        self.mailbox = self._new_mailbox()
        # Lists: they stay short, and an empty deque takes 760 bytes.
        self.urgent: list[Envelope] = []  # handled before the mailbox
        # (message, earlier deliveries, line of the key that is in hand for it)
        self.redeliveries: list[tuple[Envelope, int, Line | None]] = []
        self.parked: list[trio.lowlevel.Task] = []  # workers that wait for a message
        self.states = States()
        self.incarnation: int = 0
        self.is_open = True  # accepts messages
        self.is_idle = False  # started, but without a task until a message arrives
        self.failure: Exception | None = None  # what ended the actor, if it was not stopped
        self.ended: Ended | None = None  # set while it is stopped
        self._watches: dict[Callable[[Ended], None], None] | None = None
        self._shared = shared
        # The class's handlers, extended by `handler_of`.
        self.table: Mapping[type[Message[object]], Handler] = {}

    @property
    def start_s(self) -> float | None:
        """See `Node`."""
        return self.spec.start_s

    @property
    def work_left(self) -> int:
        """See `Node`."""
        if not self.has_work:
            return 0
        tries = self.spec.redeliver + 1
        used = sum(used for _, used, _ in self.redeliveries)
        waiting = len(self.mailbox) + len(self.urgent) + len(self.redeliveries)
        return waiting * tries - used

    @property
    @abstractmethod
    def load(self) -> int:
        """The number of messages that wait or are in progress."""

    @property
    @abstractmethod
    def blockers(self) -> Sequence[Worker]:
        """The workers that take messages from here; empty if one is free (see `find_cycle`)."""

    def blockers_of(self, slot: ReplySlot[Any]) -> Sequence[Worker]:  # noqa: ARG002  # see `Mailbox`
        """The workers of which one must continue before the message of a slot does."""
        return self.blockers

    @property
    @abstractmethod
    def working(self) -> Sequence[Worker]:
        """See `Node`."""

    def workers_with(self, line: Line) -> Sequence[Worker]:  # noqa: ARG002  # see `PoolInbox`
        """The workers that have a message of a key in hand; only pools have keys."""
        return ()

    @property
    def deadline(self) -> float:
        """When a queued message expires, which makes room; infinity if none does."""
        return self.mailbox.deadline

    @abstractmethod
    def rouse(self) -> None:
        """Start a task for an idle actor, since a message has arrived; else do nothing."""

    @property
    def state(self) -> State:
        """The current state."""
        return self.states.value

    def try_put(self, message: Message[object], slot: ReplySlot[Any] | None, now: float) -> bool:
        """Accept a message if there is room; return False if the sender may wait for room.

        Args:
            message: the message to accept.
            slot: the slot for the reply; None for a `tell`.
            now: the current time on Trio's clock.

        Raises:
            ActorStopped: the actor accepts no messages any more.
            MailboxFull: the mailbox is full, and senders do not wait (R5).
            UnhandledMessage: the actor has no handler for the message.
        """
        if not self.is_open:
            raise ActorStopped(self.path)
        handler = self.table.get(type(message)) or self.handler_of(message)
        trace = Trace(message, now, self.instruments) if self.instruments else None
        if handler.urgent:
            if slot is not None:
                slot.hold(self)
            self.urgent.append((message, slot, now, trace))
            self.counts.bypassed += 1
        else:
            mailbox = self.mailbox
            admission = mailbox.offer((message, slot, now, trace))
            if admission is not ACCEPTED:
                return self._is_resolved(admission, (message, slot, now, trace))
            if slot is not None:
                if slot.holder is None:
                    slot.holder = mailbox
                else:
                    slot.hold(mailbox)
        if trace is not None:
            trace.send(self.path, slot)
        if self.parked:
            reschedule(self.parked.pop())
        elif self.is_idle:
            self.rouse()
        return True

    async def put(self, message: Message[object], slot: ReplySlot[Any] | None) -> None:
        """Wait for room, after `try_put` has returned False, and put the message into the mailbox.

        Raises:
            ActorStopped: the actor accepts no messages any more.
        """
        trace = Trace(message, self.now(), self.instruments) if self.instruments else None
        try:
            await self.mailbox.put((message, slot, 0.0, trace))
        except trio.ClosedResourceError:
            raise ActorStopped(self.path) from None

    def handler_of(self, message: Message[object]) -> Handler:
        """Return the handler for a message.

        Raises:
            UnhandledMessage: the actor has none.
        """
        kind = type(message)
        table = self.table
        handler = table.get(kind)
        if handler is None:
            handler = next((table[base] for base in kind.__mro__ if base in table), None)
            if handler is None:
                known = ", ".join(sorted(kind.__name__ for kind in table)) or "nothing"
                sent = kind.__name__
                if isinstance(message, type):
                    sent = f"the class {message.__name__}, only for objects of a class"
                raise UnhandledMessage(f"{self.path} has no handler for {sent}; it handles {known}")
            self.table = {**table, kind: handler}
        return handler

    def _is_resolved(self, admission: Admission, envelope: Envelope) -> bool:
        """Resolve a message that was not accepted; return False if its sender may wait."""
        if admission is Admission.REJECTED:
            raise MailboxFull(self.path, self.mailbox.capacity)
        if admission is Admission.DROPPED:
            _, slot, _, trace = envelope
            if trace is not None:
                trace.send(self.path, slot)
            self.counts.bypassed += 1  # it was never in the mailbox
            self.drop(envelope)
            return True
        return False

    def _new_mailbox(self) -> Mailbox:
        spec = self.spec
        return Mailbox(
            spec.capacity,
            spec.overflow,
            spec.priority,
            self,
            spec.key,
        )

    def skip(self, slot: ReplySlot[Any]) -> None:
        """Count a message whose caller gave up while it was queued."""
        self.counts.count_abandoned(slot.outcome)
        self.end(slot.trace, outcome_of(slot))

    def drop(self, envelope: Envelope) -> None:
        """Resolve a message that the mailbox's policy has dropped."""
        _, slot, _, trace = envelope
        self.counts.dropped += 1
        if slot is not None:
            slot.fail(Dropped(self.path))
        self.end(trace, "dropped")

    def released(self, slot: ReplySlot[Any]) -> None:  # noqa: B027  # there is nothing to do
        """See `ReplySlot.hold`; an urgent or redelivered message is skipped when it is taken."""

    @property
    def is_drained(self) -> bool:
        """Whether no message can arrive any more, and none waits."""
        return not (self.is_open or self.has_work)

    @property
    def has_work(self) -> bool:
        """Whether a message waits."""
        return bool(self.urgent or self.redeliveries or len(self.mailbox))

    def open(self) -> None:
        """Accept messages again after `close`; existing refs become valid again."""
        if not self.is_open:
            self.is_open = True
            self.failure = self.ended = None
            self.counts.accepted += self.mailbox.accepted
            self.mailbox = self._new_mailbox()
            self.states.value = State.STARTING

    def close(self) -> None:
        """Stop accepting messages, fail those that wait (R3), and report the actor as stopped."""
        if self.state is State.STOPPED:
            return
        self.is_open = False
        self.mailbox.close()
        waiting = [envelope for envelope, *_ in self.redeliveries] + list(self.urgent)
        self.redeliveries.clear()
        self.urgent.clear()
        keyed = self.mailbox.keyed
        if keyed is not None:
            keyed.release_all()
        while (envelope := self.mailbox.take()) is not None:
            waiting.append(envelope)
            if keyed is not None:
                keyed.release(keyed.taken)
        for _, slot, _, trace in waiting:
            if slot is not None and slot.outcome is not None:
                self.counts.count_abandoned(slot.outcome)
                self.end(trace, outcome_of(slot))
                continue
            self.counts.dead_lettered += 1
            if slot is not None:
                slot.holder = None  # it has left the mailbox
                slot.fail(ActorStopped(self.path, slot.verdict))
            self.end(trace, "stopped")
        self.states.value = State.STOPPED
        for instrument in self.instruments:
            instrument.actor_stopped(ActorEvent(self.path, self.incarnation))
        ended = self.ended = Ended(self.path, end_reason(self.failure), self.failure)
        watches, self._watches = self._watches, None
        for watch in watches or ():
            watch(ended)

    def on_ended(self, watch: Callable[[Ended], None]) -> None:
        """Call back when the actor is stopped; at once if it is stopped already."""
        if self.ended is not None:
            watch(self.ended)
        elif self._watches is None:
            self._watches = {watch: None}
        else:
            self._watches[watch] = None

    def forget_watch(self, watch: Callable[[Ended], None]) -> None:
        """Do not call back any more."""
        if self._watches is not None:
            self._watches.pop(watch, None)

    def end(
        self, trace: Trace | None, outcome: MessageOutcome, error: BaseException | None = None
    ) -> None:
        """Report the end of a message to the instruments, if there are any; see `Trace.end`."""
        if trace is not None:
            trace.end(self.path, self.now(), outcome, error)


def end_reason(failure: Exception | None) -> EndReason:
    """Return the reason of an actor's end.

    Args:
        failure: the exception that ended the actor or a supervisor above; None if it was stopped.
    """
    if failure is None:
        return "stopped"
    return "gave up" if isinstance(failure, RestartIntensityExceeded) else "crashed"
