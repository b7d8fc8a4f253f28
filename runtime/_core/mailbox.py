"""A bounded mailbox: a queue, and a policy for messages that find it full (R5).

Queue, policy and the line of waiting senders are a state machine without await (R14); `Mailbox.put`
is the only method that sleeps. A mailbox belongs to the actor's place, not to an incarnation (R2).

A message whose caller has given up stays in the queue until it would be taken, but no longer counts
against the capacity. So the expiry of n asks costs O(n), however many senders wait.

Functions of the user (priorities and keys) run once for each message, in the sender's task, before
the mailbox changes. An error that they raise reaches that sender only (R17).
"""

from collections import deque
from collections.abc import Callable, Sequence
from math import inf
from typing import TYPE_CHECKING, Any, Protocol

import trio
from trio.lowlevel import Abort, reschedule, wait_task_rescheduled

from ..errors import MailboxFunctionFailed
from .keyed import Keyed, KeyFunction, Line
from .log import log_callback_error
from .queues import (
    ACCEPTED,
    Admission,
    ByKey,
    ByPriority,
    Coalesce,
    Envelope,
    Fifo,
    Overflow,
    Priority,
    Queue,
    place_of,
)
from .reply import Message, ReplySlot
from .senders import MailboxSender, SenderLine
from .snapshot import MailboxStatistics
from .tracing import outcome_of

if TYPE_CHECKING:
    from .worker import Worker


_NO_SLOTS: set[ReplySlot[Any] | None] = set()  # of all mailboxes before the first, as below
_EMPTY = Fifo()  # of all mailboxes before their first message: a deque takes 760 bytes


class MailboxOwner(Protocol):
    """The actor's place, as its mailbox needs it."""

    @property
    def path(self) -> str:
        """The path of the actor."""
        ...

    @property
    def blockers(self) -> "Sequence[Worker]":
        """The workers that take messages from here; see `find_cycle`."""
        ...

    def workers_with(self, line: Line) -> "Sequence[Worker]":
        """The workers that have a message of a key in hand."""
        ...

    def drop(self, envelope: Envelope) -> None:
        """Act on a message that is dropped for a newer one."""
        ...

    def skip(self, slot: ReplySlot[Any]) -> None:
        """Act on a queued message whose caller has given up."""
        ...


class Mailbox:
    """At most `capacity` messages, by priority or first in, first out.

    Args:
        capacity: how many messages may wait.
        overflow: what happens to a message that finds the mailbox full.
        priority: returns the priority of a message; None: first in, first out.
        owner: the actor's place; None in tests of the mailbox alone.
        key: returns the key of a message; None: no order by key.

    Raises:
        ValueError: a `Coalesce` was given together with `priority` or `key`.
    """

    def __init__(  # the first three are positional in tests
        self,
        capacity: int,
        overflow: Overflow = "block",
        priority: Priority | None = None,
        owner: MailboxOwner | None = None,
        key: KeyFunction | None = None,
    ) -> None:
        if key is not None and isinstance(overflow, Coalesce):
            raise ValueError("key does not go together with overflow=Coalesce(...)")
        if priority is not None and isinstance(overflow, Coalesce):
            raise ValueError("priority does not go together with overflow=Coalesce(...)")
        self.capacity = capacity
        self.accepted = 0
        self.is_closed = False
        self._room = capacity  # of the queue, which also has the abandoned ones; 0 when closed
        # The slots of messages in the queue whose caller has given up.
        self._abandoned: set[ReplySlot[Any] | None] = _NO_SLOTS
        self._overflow = overflow
        self._owner = owner
        self._queue: Queue = _EMPTY
        self._items: deque[Envelope] | None = None  # the queue's own deque, if it is a `Fifo`
        self._by_key: ByKey | None = None
        self.keyed: Keyed | None = None  # the queue, if it gives out one message of each key
        self._key = key
        self._priority = priority
        if key is not None:
            self._queue = self.keyed = Keyed()
        elif priority is not None:
            self._queue = ByPriority()
        elif isinstance(overflow, Coalesce):
            self._queue = self._by_key = ByKey()
        self._peak = 0
        self._refused: tuple[Message[object], Any] | None = None  # what was full last, and its key
        self._senders: SenderLine | None = None  # if any wait
        self._room_callbacks: list[Callable[[], None]] | None = None

    def __len__(self) -> int:
        return len(self._queue) - len(self._abandoned)

    def __repr__(self) -> str:
        return f"<Mailbox {len(self)} of {self.capacity}, {self._senders_waiting} senders wait>"

    @property
    def path(self) -> str:
        """The path of the actor."""
        return "the actor" if self._owner is None else self._owner.path

    @property
    def blockers(self) -> "Sequence[Worker]":
        """The workers of which one must take a message first; see `find_cycle`."""
        return () if self._owner is None else self._owner.blockers

    def blockers_of(self, slot: ReplySlot[Any]) -> "Sequence[Worker]":
        """The workers of which one must continue before the message of a slot does."""
        if self.keyed is not None and self._owner is not None:
            line = self.keyed.line_in_hand(slot)
            if line is not None and (workers := self._owner.workers_with(line)):
                return workers
        return self.blockers

    @property
    def can_take(self) -> bool:
        """Whether a worker would get a message: one waits, and its key is not in hand."""
        return len(self) > 0 and (self.keyed is None or self.keyed.can_pop)

    @property
    def deadline(self) -> float:
        """When the first queued message expires, on Trio's clock; infinity if none does."""
        slots = [one[1] for one in self._queue if one[1] is not None]
        return min((slot.deadline for slot in slots), default=inf)

    def room_at(self, task: trio.lowlevel.Task) -> float:
        """Return when expiries alone let a task's message in, on Trio's clock; infinity if never.

        Args:
            task: a task that waits for room, or is about to.
        """
        if self._priority is not None:
            return self.deadline  # at the earliest; its place in the line is not known yet
        slots = [one[1] for one in self._queue if one[1] not in self._abandoned]
        for sender in self._senders or ():
            if sender.task is task:
                break
            slots.append(sender.envelope[1])
        deadlines = sorted(inf if slot is None else slot.deadline for slot in slots)
        return deadlines[len(deadlines) - self.capacity] if len(deadlines) >= self.capacity else 0.0

    @property
    def _senders_waiting(self) -> int:
        return 0 if self._senders is None else len(self._senders)

    @property
    def has_room(self) -> bool:
        """Whether a message would be accepted at once."""
        return len(self._queue) < self._room

    # ---------------------------------------------------------------- messages in and out

    def offer(self, envelope: Envelope) -> Admission:
        """Accept a message if the policy allows it, and return what was done with it.

        Raises:
            trio.ClosedResourceError: the mailbox is closed.
            MailboxFunctionFailed: the priority or the key of the message failed.
        """
        items = self._items
        if items is not None and (depth := len(items)) < self._room:  # the most frequent case
            items.append(envelope)
            self.accepted += 1
            if depth >= self._peak:
                self._peak = depth + 1
            return ACCEPTED
        if self.is_closed:
            raise trio.ClosedResourceError
        message = envelope[0]
        key = self._key_of(message)
        try:
            if self._replaces(key):
                self._admit_rivals(key)
            elif len(self._queue) >= self._room:
                return self._overflowed(envelope, key)
            self._push(envelope, key)
        except Exception as error:  # of keys that cannot be compared
            raise MailboxFunctionFailed(self.path, type(message).__name__, error) from error
        return ACCEPTED

    def _overflowed(self, envelope: Envelope, key: Any) -> Admission:  # noqa: ANN401  # see Queue
        match self._overflow:
            case "reject":
                return Admission.REJECTED
            case "drop_newest":
                return Admission.DROPPED
            case "drop_oldest":
                return self._displace(envelope, key)
            case _:
                if key is not None:
                    self._refused = (envelope[0], key)
                return Admission.FULL

    def _replaces(self, key: Any) -> bool:  # noqa: ANN401  # see Queue
        """Whether a message with this key takes the place of one that counts against the room."""
        earlier = None if self._by_key is None else self._by_key.get(key)
        return earlier is not None and earlier[1] not in self._abandoned

    def take(self) -> Envelope | None:
        """Remove and return the next message, if there is one; admit a waiting sender."""
        items = self._items
        while True:
            if items is not None:
                if not items:
                    return None
                envelope = items.popleft()
            elif len(self._queue) and (next_ := self._queue.pop()) is not None:
                envelope = next_
            else:
                return None
            if self._abandoned and envelope[1] in self._abandoned:
                self._forget(envelope[1])
                if self.keyed is not None:
                    self.keyed.release(self.keyed.taken)
                continue
            if self._senders is not None:
                self._admit_senders()
            if self._room_callbacks:
                self._notify_room()
            return envelope

    def released(self, slot: ReplySlot[Any]) -> None:
        """Give the room of a message away whose slot is filled; see `ReplySlot.hold`."""
        if slot.outcome is None:
            return  # it has moved on
        if self._abandoned is _NO_SLOTS:
            self._abandoned = set()
        self._abandoned.add(slot)
        if self._owner is not None:
            self._owner.skip(slot)
        if self.is_closed:
            return
        self._room += 1
        if len(self._abandoned) > self.capacity:  # so that it takes twice the memory at most
            self._queue.retain(self._is_wanted)
            self._room -= len(self._abandoned)
            self._abandoned.clear()
        self._admit_senders()
        self._notify_room()

    def _is_wanted(self, envelope: Envelope) -> bool:
        return envelope[1] not in self._abandoned

    def _forget(self, slot: ReplySlot[Any] | None) -> None:
        """Take the room back that an abandoned message had until it left the queue."""
        if slot is not None:
            self._abandoned.discard(slot)
            if not self.is_closed:
                self._room -= 1

    def close(self) -> None:
        """Accept no more messages and fail waiting senders; messages inside can still be taken."""
        self.is_closed = True
        self._room = 0
        senders, self._senders = self._senders, None
        for sender in senders or ():
            sender.error = trio.ClosedResourceError()
            sender.is_waiting = False
            sender.end("stopped")
            reschedule(sender.task)

    def when_room(self, callback: Callable[[], None]) -> None:
        """See `Ref.when_room`."""
        if self._room_callbacks is None:
            self._room_callbacks = [callback]
        elif callback not in self._room_callbacks:
            self._room_callbacks.append(callback)

    def statistics(self) -> MailboxStatistics:
        """Return the state at this moment."""
        return MailboxStatistics(
            depth=len(self),
            capacity=self.capacity,
            senders_waiting=self._senders_waiting,
            accepted=self.accepted,
            peak=min(self._peak, self.capacity),
            oldest_at=min(
                (one[2] for one in self._queue if one[1] not in self._abandoned), default=None
            ),
        )

    # ---------------------------------------------------------------- senders that wait

    async def put(self, envelope: Envelope) -> None:
        """Wait for room. If it is cancelled, or the caller gives up, nothing was accepted.

        Raises:
            trio.ClosedResourceError: the mailbox is closed, or was closed meanwhile.
            MailboxFunctionFailed: the priority or the key of the message failed.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if self.is_closed:
            await trio.lowlevel.cancel_shielded_checkpoint()
            raise trio.ClosedResourceError
        refused, self._refused = self._refused, None
        is_known = refused is not None and refused[0] is envelope[0]
        key = refused[1] if refused and is_known else self._key_of(envelope[0])
        sender = MailboxSender(self, envelope, key)
        is_ranked = self._priority is not None
        if self._senders is None:
            self._senders = SenderLine(is_ranked=is_ranked)
        rank = (key if self.keyed is None else key[0]) if is_ranked else 0.0
        self._senders.add(sender, rank)
        _, slot, _, trace = envelope
        if slot is not None:
            slot.hold(sender)
        if trace is not None:
            trace.send(self.path, slot)

        def abort(_: object) -> Abort:
            self._leave(sender)
            is_due = slot is not None and slot.deadline <= trio.current_time()
            sender.end("expired" if is_due else "cancelled")
            return Abort.SUCCEEDED

        sender.task.custom_sleep_data = sender  # Trio clears it when the task is woken
        await wait_task_rescheduled(abort)
        if sender.error is not None:
            try:
                raise sender.error
            finally:
                sender.error = None  # else the error, its traceback and the sender are a cycle

    def withdraw(self, sender: MailboxSender) -> None:
        """Let a sender go whose caller has given up."""
        if sender.is_waiting:
            self._leave(sender)
            slot = sender.envelope[1]
            if slot is not None:
                sender.end(outcome_of(slot))
            reschedule(sender.task)

    def _leave(self, sender: MailboxSender) -> None:
        if self._senders is not None:
            self._senders.remove(sender)
            if not self._senders:
                self._senders = None

    def _admit_senders(self) -> None:
        # More than one if a message replaces an earlier one with its key.
        while self._senders is not None and len(self._queue) < self._room:
            self._admit(self._senders.first())

    def _admit_rivals(self, key: Any) -> None:  # noqa: ANN401  # see Queue
        """Admit the senders that wait with a key in the queue, so that the newest message stays."""
        for sender in [one for one in self._senders or () if one.key == key]:
            if sender.is_waiting:
                self._admit(sender)

    def _admit(self, sender: MailboxSender) -> None:
        self._leave(sender)
        reschedule(sender.task)
        message, slot, _, trace = sender.envelope
        if slot is not None:
            slot.holder = self
        try:
            self._push((message, slot, trio.current_time(), trace), sender.key)
        except Exception as error:  # noqa: BLE001  # keys that cannot be compared (R17)
            if slot is not None:
                slot.holder = None
            sender.error = MailboxFunctionFailed(self.path, type(message).__name__, error)
            sender.end("dropped", sender.error)

    # ---------------------------------------------------------------- inside

    def _key_of(self, message: Message[object]) -> Any:  # noqa: ANN401  # see Queue
        if self._priority is None and self._by_key is None and self._key is None:
            return None
        try:
            return place_of(message, self._priority, self._key, self._overflow)
        except Exception as error:
            raise MailboxFunctionFailed(self.path, type(message).__name__, error) from error

    def _push(self, envelope: Envelope, key: Any) -> None:  # noqa: ANN401  # see Queue
        if self._queue is _EMPTY:
            fifo = Fifo()
            self._queue, self._items = fifo, fifo.items
        earlier = self._queue.push(envelope, key)
        self.accepted += 1
        self._peak = max(self._peak, len(self))
        if earlier is None:
            return
        if earlier[1] in self._abandoned:
            self._forget(earlier[1])
            if self._by_key is not None:
                self._by_key.move_to_end(key)  # an abandoned message has no place
        else:
            self._drop(earlier)

    def _displace(self, envelope: Envelope, key: Any) -> Admission:  # noqa: ANN401  # see Queue
        """Make room for a message by dropping another one; or drop the message itself."""
        while (oldest := self._queue.evict(key)) is not None:
            if oldest[1] in self._abandoned:
                self._forget(oldest[1])
                continue
            self._push(envelope, key)
            self._drop(oldest)
            return ACCEPTED
        return Admission.DROPPED

    def _drop(self, envelope: Envelope) -> None:
        slot = envelope[1]
        if slot is not None:
            slot.holder = None  # it is not in here any more when the slot is failed
        if self._owner is not None:
            self._owner.drop(envelope)

    def _notify_room(self) -> None:
        callbacks, self._room_callbacks = self._room_callbacks, None
        for callback in callbacks or ():
            try:
                callback()
            except Exception as error:  # noqa: BLE001  # it must not cost a message (R17)
                log_callback_error("when_room", error)
