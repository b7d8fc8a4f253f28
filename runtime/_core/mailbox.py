"""A bounded mailbox (R5): a pure queue, a policy for when it is full, and a door to wait at.

Queue and policy are a state machine without await (R14). Senders who wait for room wait at a Trio
memory channel without a buffer, which keeps their order and takes a cancelled one out; whoever
takes a message lets the next one in. All of it belongs to the actor's place, not to one incarnation
(R2), and only the sending end is ever closed: closing the receiving end would lose who waits there.

In which order messages that wait are taken. Pure (R14).
"""

import enum
import heapq
import itertools
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from typing import Any, Literal, Protocol

import attrs
import trio

from .reply import Message, ReplySlot

__all__ = [
    "ByKey",
    "ByPriority",
    "Coalesce",
    "Envelope",
    "Fate",
    "Fifo",
    "Mailbox",
    "MailboxStatistics",
    "Overflow",
    "Priority",
    "Queue",
]


# A tuple rather than a class: one is made for every message. The float is when it came in.
Envelope = tuple[Message[object], ReplySlot[Any] | None, float]


class Queue(Protocol):
    """Messages in the order in which they will be taken."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def __iter__(self) -> Iterator[Envelope]:
        """All of them, in no particular order."""
        ...

    def push(self, envelope: Envelope) -> Envelope | None:
        """One more; the one whose place it takes, if it takes one."""
        ...

    def pop(self) -> Envelope:
        """The next one; there is one."""
        ...

    def pop_oldest(self) -> Envelope:
        """The one that is dropped for another one; there is one."""
        ...

    def keep(self, is_kept: Callable[[Envelope], bool]) -> list[Envelope]:
        """Remove all others, and return them."""
        ...


class Fifo:
    """First in, first out."""

    def __init__(self) -> None:
        self.items: deque[Envelope] = deque()

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Envelope]:
        return iter(self.items)

    def push(self, envelope: Envelope) -> Envelope | None:
        """Last in line."""
        self.items.append(envelope)
        return None

    def pop(self) -> Envelope:
        """The first in line."""
        return self.items.popleft()

    def pop_oldest(self) -> Envelope:
        """The first in line."""
        return self.items.popleft()

    def keep(self, is_kept: Callable[[Envelope], bool]) -> list[Envelope]:
        """Remove all others, and return them."""
        gone = [envelope for envelope in self.items if not is_kept(envelope)]
        kept = [envelope for envelope in self.items if is_kept(envelope)]
        self.items.clear()
        self.items.extend(kept)
        return gone


class ByPriority:
    """The smallest priority first; equals first in, first out.

    Args:
        priority: of a message.
    """

    def __init__(self, priority: Callable[[Message[object]], float]) -> None:
        self._priority = priority
        self._heap: list[tuple[float, int, Envelope]] = []  # (priority, order of arrival, message)
        self._order = itertools.count()

    def __len__(self) -> int:
        return len(self._heap)

    def __iter__(self) -> Iterator[Envelope]:
        return (entry[2] for entry in self._heap)

    def push(self, envelope: Envelope) -> Envelope | None:
        """Among its equals, last in line."""
        heapq.heappush(self._heap, (self._priority(envelope[0]), next(self._order), envelope))
        return None

    def pop(self) -> Envelope:
        """The most urgent one."""
        return heapq.heappop(self._heap)[2]

    def pop_oldest(self) -> Envelope:
        """The oldest of the least urgent."""
        last = max(entry[0] for entry in self._heap)
        entry = min(entry for entry in self._heap if entry[0] == last)
        self._heap.remove(entry)
        heapq.heapify(self._heap)
        return entry[2]

    def keep(self, is_kept: Callable[[Envelope], bool]) -> list[Envelope]:
        """Remove all others, and return them."""
        gone = [entry[2] for entry in self._heap if not is_kept(entry[2])]
        self._heap = [entry for entry in self._heap if is_kept(entry[2])]
        heapq.heapify(self._heap)
        return gone


class ByKey:
    """First in, first out, with one message of each key: a later one takes the earlier's place.

    Args:
        key: of a message.
    """

    def __init__(self, key: Callable[[Message[object]], Hashable]) -> None:
        self._key = key
        self._items: dict[Hashable, Envelope] = {}  # in the order of the places

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Envelope]:
        return iter(self._items.values())

    def push(self, envelope: Envelope) -> Envelope | None:
        """In the place of the one of its key, which comes back; else last in line."""
        key = self._key(envelope[0])
        earlier = self._items.get(key)
        self._items[key] = envelope
        return earlier

    def has_place_for(self, message: Message[object]) -> bool:
        """Whether there is one of its key already."""
        return self._key(message) in self._items

    def pop(self) -> Envelope:
        """The first in line."""
        return self._items.pop(next(iter(self._items)))

    def pop_oldest(self) -> Envelope:
        """The first in line."""
        return self.pop()

    def keep(self, is_kept: Callable[[Envelope], bool]) -> list[Envelope]:
        """Remove all others, and return them."""
        gone = [envelope for envelope in self._items.values() if not is_kept(envelope)]
        self._items = {key: item for key, item in self._items.items() if is_kept(item)}
        return gone


@attrs.frozen
class Coalesce:
    """Keep only the latest message of each key; for one more key than there is room, block.

    Args:
        key: what messages must have in common for a later one to take the place of an earlier.
    """

    key: Callable[[Message[object]], Hashable]


Overflow = Literal["block", "reject", "drop_newest", "drop_oldest"] | Coalesce
"""What happens to a message for which there is no room: its sender waits; its sender is told
`MailboxFull`; it is dropped; the oldest one is dropped for it; or, room or not, it takes the place
of the one of its key. Every drop resolves its ask and is counted (R5)."""

POLICIES = ("block", "reject", "drop_newest", "drop_oldest")

Priority = Callable[[Message[object]], float]
"""The smaller, the sooner a message is taken; equals are taken first in, first out."""


_Door = tuple[trio.MemorySendChannel[Envelope], trio.MemoryReceiveChannel[Envelope]]


def _forget(envelope: Envelope) -> None:
    """Nobody counts what is dropped."""


class Fate(enum.Enum):
    """What becomes of a message that is offered."""

    TAKEN = "taken"
    FULL = "full"  # its sender may wait at the door
    REJECTED = "rejected"
    DROPPED = "dropped"


@attrs.frozen
class MailboxStatistics:
    """A mailbox at one moment, much as Trio's own channels tell of themselves.

    Args:
        depth: messages that wait, those nobody waits for any more included.
        capacity: how many may wait.
        senders_waiting: tasks that wait for room.
        accepted: messages taken in since the mailbox was made.
        peak: the most messages that ever waited at a time.
        oldest_at: when the oldest one that waits came in, on Trio's clock; None if none waits.
    """

    depth: int
    capacity: int
    senders_waiting: int
    accepted: int
    peak: int
    oldest_at: float | None


TAKEN = Fate.TAKEN

_EMPTY = Fifo()  # of every mailbox that no message has come to yet: a deque takes 760 bytes


class Mailbox:
    """At most `capacity` messages, in the order of their `priority`, or else as they came.

    Args:
        capacity: how many may wait.
        overflow: what happens to one more.
        priority: the priorities; None if all are equal.
        dropped: is given every message that is dropped for a later one.

    Raises:
        ValueError: `priority` and `Coalesce` do not go together.
    """

    def __init__(
        self,
        capacity: int,
        overflow: Overflow = "block",
        priority: Priority | None = None,
        dropped: Callable[[Envelope], None] = _forget,
    ) -> None:
        if priority is not None and isinstance(overflow, Coalesce):
            raise ValueError("priority does not go together with overflow=Coalesce(...)")
        self.capacity = capacity
        self.accepted = 0
        self.is_closed = False
        self._room = capacity  # 0 once it is closed
        self._overflow = overflow
        self._dropped = dropped
        self._queue: Queue = _EMPTY
        self._items: deque[Envelope] | None = None  # the queue itself, if that is all it is
        self._by_key: ByKey | None = None
        if priority is not None:
            self._queue = ByPriority(priority)
        elif isinstance(overflow, Coalesce):
            self._queue = self._by_key = ByKey(overflow.key)
        self._peak = 0
        self._door: _Door | None = None  # hung when the first sender has to wait
        self._senders_waiting = 0
        self._wants_room: list[Callable[[], None]] | None = None

    def __len__(self) -> int:
        return len(self._queue)

    def __repr__(self) -> str:
        return f"<Mailbox {len(self)} of {self.capacity}, {self._senders_waiting} senders wait>"

    @property
    def has_senders_waiting(self) -> bool:
        """Whether somebody waits for room."""
        return self._senders_waiting > 0

    def offer(self, envelope: Envelope) -> Fate:
        """Take a message in if the policy has it so; what becomes of it.

        Raises:
            trio.ClosedResourceError: it is closed.
        """
        items = self._items
        if items is not None and (depth := len(items)) < self._room:  # the usual way, made short
            items.append(envelope)
            self.accepted += 1
            if depth >= self._peak:
                self._peak = depth + 1
            return TAKEN
        if self.is_closed:
            raise trio.ClosedResourceError
        has_place = self._by_key is not None and self._by_key.has_place_for(envelope[0])
        if has_place or len(self._queue) < self.capacity:
            self._push(envelope)
            return TAKEN
        match self._overflow:
            case "reject":
                return Fate.REJECTED
            case "drop_newest":
                return Fate.DROPPED
            case "drop_oldest":
                oldest = self._queue.pop_oldest()
                self._push(envelope)
                self._dropped(oldest)
                return TAKEN
            case _:
                return Fate.FULL

    def take(self) -> Envelope | None:
        """The next message, or None if it is empty; a sender who waits gets the room."""
        items = self._items
        if items is not None:
            if not items:
                return None
            envelope = items.popleft()
        elif len(self._queue):
            envelope = self._queue.pop()
        else:
            return None
        if self._senders_waiting:
            self._let_in()
        if self._wants_room:
            self._tell_room()
        return envelope

    def purge(self) -> list[Envelope]:
        """Take out all that nobody waits for any more, so that it takes no room from others."""
        gone = self._queue.keep(_is_open)
        self._let_in()
        self._tell_room()
        return gone

    def when_room(self, callback: Callable[[], None]) -> None:
        """See `Ref.when_room`."""
        if self._wants_room is None:
            self._wants_room = [callback]
        elif callback not in self._wants_room:
            self._wants_room.append(callback)

    def _tell_room(self) -> None:
        callbacks, self._wants_room = self._wants_room, None
        for callback in callbacks or ():
            callback()

    async def put(self, envelope: Envelope) -> None:
        """Wait at the door, since there is no room. Cancelled, nothing was taken in.

        Raises:
            trio.ClosedResourceError: it is, or was meanwhile, closed.
        """
        # Counted are only those who are at the door: `send` would let others run before it raised.
        await trio.lowlevel.checkpoint_if_cancelled()
        self._senders_waiting += 1
        try:
            if self._door is None:
                self._door = trio.open_memory_channel[Envelope](0)
                if self.is_closed:
                    self._door[0].close()
            await self._door[0].send(envelope)
        except BaseException:
            self._senders_waiting -= 1
            raise

    def close(self) -> None:
        """Refuse from now on, and tell the senders that wait; what is inside can still be taken."""
        self.is_closed = True
        self._room = 0
        if self._door is not None:
            self._door[0].close()

    def statistics(self) -> MailboxStatistics:
        """What it holds now."""
        return MailboxStatistics(
            depth=len(self._queue),
            capacity=self.capacity,
            senders_waiting=0
            if self._door is None
            else self._door[0].statistics().tasks_waiting_send,
            accepted=self.accepted,
            peak=self._peak,
            oldest_at=min((arrived for _, _, arrived in self._queue), default=None),
        )

    def _push(self, envelope: Envelope) -> None:
        if self._queue is _EMPTY:
            fifo = Fifo()
            self._queue, self._items = fifo, fifo.items
        earlier = self._queue.push(envelope)
        self.accepted += 1
        depth = len(self._queue)
        self._peak = max(self._peak, depth)
        if earlier is not None:
            self._dropped(earlier)

    def _let_in(self) -> None:
        # More than one, if one takes the place of an earlier one of its key.
        while self._senders_waiting and self._door and len(self._queue) < self.capacity:
            try:
                message, slot, _ = self._door[1].receive_nowait()
            except (trio.WouldBlock, trio.EndOfChannel):
                return  # whoever was cancelled, or told of the close, has not run yet to say so
            self._senders_waiting -= 1
            self._push((message, slot, trio.current_time()))


def _is_open(envelope: Envelope) -> bool:
    slot = envelope[1]
    return slot is None or slot.outcome is None
