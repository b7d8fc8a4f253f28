"""A bounded mailbox: a queue, and a policy for messages that find it full (R5).

Queue and policy are a state machine without await (R14). Senders that wait for room wait at an
unbuffered Trio memory channel, which keeps their order and removes a cancelled one; taking a
message admits the next sender. A mailbox belongs to the actor's place, not to an incarnation (R2),
and only its sending end is ever closed: closing the receiving end would lose the messages of the
senders that wait.
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

# A tuple, not a class: one is made for every message. The float is the time of arrival.
Envelope = tuple[Message[object], ReplySlot[Any] | None, float]


class Queue(Protocol):
    """Messages in the order in which they are taken."""

    def __len__(self) -> int:
        """Return the number of messages."""
        ...

    def __iter__(self) -> Iterator[Envelope]:
        """Iterate over the messages, in no particular order."""
        ...

    def push(self, envelope: Envelope) -> Envelope | None:
        """Add a message; return the message that it replaces, if any."""
        ...

    def pop(self) -> Envelope:
        """Remove and return the next message of a queue that is not empty."""
        ...

    def pop_oldest(self) -> Envelope:
        """Remove and return the message to drop for a newer one; the queue is not empty."""
        ...

    def retain(self, is_retained: Callable[[Envelope], bool]) -> list[Envelope]:
        """Keep the messages for which `is_retained` is true; remove and return the others."""
        ...


class Fifo:
    """A queue that is first in, first out."""

    def __init__(self) -> None:
        self.items: deque[Envelope] = deque()

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Envelope]:
        return iter(self.items)

    def push(self, envelope: Envelope) -> Envelope | None:
        """Add a message at the end."""
        self.items.append(envelope)
        return None

    def pop(self) -> Envelope:
        """Remove and return the first message."""
        return self.items.popleft()

    def pop_oldest(self) -> Envelope:
        """Remove and return the first message."""
        return self.items.popleft()

    def retain(self, is_retained: Callable[[Envelope], bool]) -> list[Envelope]:
        """Keep the messages for which `is_retained` is true; remove and return the others."""
        gone = [envelope for envelope in self.items if not is_retained(envelope)]
        kept = [envelope for envelope in self.items if is_retained(envelope)]
        self.items.clear()
        self.items.extend(kept)
        return gone


class ByPriority:
    """A queue that takes the smallest priority first; equal ones are first in, first out.

    Args:
        priority: returns the priority of a message.
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
        """Add a message after all others of its priority."""
        heapq.heappush(self._heap, (self._priority(envelope[0]), next(self._order), envelope))
        return None

    def pop(self) -> Envelope:
        """Remove and return the first message with the smallest priority."""
        return heapq.heappop(self._heap)[2]

    def pop_oldest(self) -> Envelope:
        """Remove and return the first message with the largest priority."""
        last = max(entry[0] for entry in self._heap)
        entry = min(entry for entry in self._heap if entry[0] == last)
        self._heap.remove(entry)
        heapq.heapify(self._heap)
        return entry[2]

    def retain(self, is_retained: Callable[[Envelope], bool]) -> list[Envelope]:
        """Keep the messages for which `is_retained` is true; remove and return the others."""
        gone = [entry[2] for entry in self._heap if not is_retained(entry[2])]
        self._heap = [entry for entry in self._heap if is_retained(entry[2])]
        heapq.heapify(self._heap)
        return gone


class ByKey:
    """A queue with one message per key; a newer message takes the place of the older one.

    Args:
        key: returns the key of a message.
    """

    def __init__(self, key: Callable[[Message[object]], Hashable]) -> None:
        self._key = key
        self._items: dict[Hashable, Envelope] = {}  # in the order of the places

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Envelope]:
        return iter(self._items.values())

    def push(self, envelope: Envelope) -> Envelope | None:
        """Replace the message with the same key and return it, or add a message at the end."""
        key = self._key(envelope[0])
        earlier = self._items.get(key)
        self._items[key] = envelope
        return earlier

    def has_key_of(self, message: Message[object]) -> bool:
        """Whether a message with the same key is in the queue."""
        return self._key(message) in self._items

    def pop(self) -> Envelope:
        """Remove and return the first message."""
        return self._items.pop(next(iter(self._items)))

    def pop_oldest(self) -> Envelope:
        """Remove and return the first message."""
        return self.pop()

    def retain(self, is_retained: Callable[[Envelope], bool]) -> list[Envelope]:
        """Keep the messages for which `is_retained` is true; remove and return the others."""
        gone = [envelope for envelope in self._items.values() if not is_retained(envelope)]
        self._items = {key: item for key, item in self._items.items() if is_retained(item)}
        return gone


@attrs.frozen
class Coalesce:
    """An overflow policy that keeps only the latest message of each key, in the place of the first.

    A message with a new key waits for room, as with "block".

    Args:
        key: returns the key of a message; messages with equal keys replace each other.
    """

    key: Callable[[Message[object]], Hashable]


Overflow = Literal["block", "reject", "drop_newest", "drop_oldest"] | Coalesce
"""What happens to a message that finds the mailbox full (R5). "block": its sender waits for room.
"reject": its sender gets `MailboxFull`. "drop_newest": the message is dropped. "drop_oldest": the
oldest queued message is dropped. `Coalesce`: whether or not there is room, the message replaces the
one with the same key. Every drop resolves its ask and is counted."""

POLICIES = ("block", "reject", "drop_newest", "drop_oldest")

Priority = Callable[[Message[object]], float]
"""Returns the priority of a message; the smallest is taken first, equal ones in their order."""


_Channel = tuple[trio.MemorySendChannel[Envelope], trio.MemoryReceiveChannel[Envelope]]


def _ignore(envelope: Envelope) -> None:
    """Default for `Mailbox.dropped`."""


class Admission(enum.Enum):
    """What a mailbox does with a message that is offered."""

    ACCEPTED = "accepted"
    FULL = "full"  # the sender may wait for room
    REJECTED = "rejected"
    DROPPED = "dropped"


@attrs.frozen
class MailboxStatistics:
    """The state of a mailbox at one moment, named as in Trio's channel statistics.

    Args:
        depth: number of messages that wait, those whose caller has given up included.
        capacity: how many messages may wait.
        senders_waiting: number of tasks that wait for room.
        accepted: number of messages accepted since the mailbox was made.
        peak: the largest depth so far.
        oldest_at: when the oldest waiting message was accepted, in seconds on Trio's clock; None if
            no message waits.
    """

    depth: int
    capacity: int
    senders_waiting: int
    accepted: int
    peak: int
    oldest_at: float | None


ACCEPTED = Admission.ACCEPTED

_EMPTY = Fifo()  # of all mailboxes before their first message: a deque takes 760 bytes


class Mailbox:
    """At most `capacity` messages, by priority or first in, first out.

    Args:
        capacity: how many messages may wait.
        overflow: what happens to a message that finds the mailbox full.
        priority: returns the priority of a message; None: first in, first out.
        dropped: called with every message that is dropped for a newer one.

    Raises:
        ValueError: both `priority` and a `Coalesce` were given.
    """

    def __init__(
        self,
        capacity: int,
        overflow: Overflow = "block",
        priority: Priority | None = None,
        dropped: Callable[[Envelope], None] = _ignore,
    ) -> None:
        if priority is not None and isinstance(overflow, Coalesce):
            raise ValueError("priority does not go together with overflow=Coalesce(...)")
        self.capacity = capacity
        self.accepted = 0
        self.is_closed = False
        self._room = capacity  # 0 when closed
        self._overflow = overflow
        self._dropped = dropped
        self._queue: Queue = _EMPTY
        self._items: deque[Envelope] | None = None  # the queue's own deque, if it is a `Fifo`
        self._by_key: ByKey | None = None
        if priority is not None:
            self._queue = ByPriority(priority)
        elif isinstance(overflow, Coalesce):
            self._queue = self._by_key = ByKey(overflow.key)
        self._peak = 0
        self._channel: _Channel | None = None  # made when a sender first has to wait
        self._senders_waiting = 0
        self._room_callbacks: list[Callable[[], None]] | None = None

    def __len__(self) -> int:
        return len(self._queue)

    def __repr__(self) -> str:
        return f"<Mailbox {len(self)} of {self.capacity}, {self._senders_waiting} senders wait>"

    @property
    def has_senders_waiting(self) -> bool:
        """Whether a sender waits for room."""
        return self._senders_waiting > 0

    def offer(self, envelope: Envelope) -> Admission:
        """Accept a message if the policy allows it, and return what was done with it.

        Raises:
            trio.ClosedResourceError: the mailbox is closed.
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
        has_place = self._by_key is not None and self._by_key.has_key_of(envelope[0])
        if has_place or len(self._queue) < self.capacity:
            self._push(envelope)
            return ACCEPTED
        match self._overflow:
            case "reject":
                return Admission.REJECTED
            case "drop_newest":
                return Admission.DROPPED
            case "drop_oldest":
                oldest = self._queue.pop_oldest()
                self._push(envelope)
                self._dropped(oldest)
                return ACCEPTED
            case _:
                return Admission.FULL

    def take(self) -> Envelope | None:
        """Remove and return the next message, if there is one; admit a waiting sender."""
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
            self._admit_senders()
        if self._room_callbacks:
            self._notify_room()
        return envelope

    def purge(self) -> list[Envelope]:
        """Remove and return the messages whose caller has given up; admit senders that wait."""
        gone = self._queue.retain(_is_open)
        self._admit_senders()
        self._notify_room()
        return gone

    def when_room(self, callback: Callable[[], None]) -> None:
        """See `Ref.when_room`."""
        if self._room_callbacks is None:
            self._room_callbacks = [callback]
        elif callback not in self._room_callbacks:
            self._room_callbacks.append(callback)

    def _notify_room(self) -> None:
        callbacks, self._room_callbacks = self._room_callbacks, None
        for callback in callbacks or ():
            callback()

    async def put(self, envelope: Envelope) -> None:
        """Wait for room; if cancelled, the message was not accepted.

        Raises:
            trio.ClosedResourceError: the mailbox is closed, or was closed meanwhile.
        """
        # Checked first: only senders at the channel are counted, and a cancelled `send` yields.
        await trio.lowlevel.checkpoint_if_cancelled()
        self._senders_waiting += 1
        try:
            if self._channel is None:
                self._channel = trio.open_memory_channel[Envelope](0)
                if self.is_closed:
                    self._channel[0].close()
            await self._channel[0].send(envelope)
        except BaseException:
            self._senders_waiting -= 1
            raise

    def close(self) -> None:
        """Accept no more messages and fail waiting senders; messages inside can still be taken."""
        self.is_closed = True
        self._room = 0
        if self._channel is not None:
            self._channel[0].close()

    def statistics(self) -> MailboxStatistics:
        """Return the state at this moment."""
        return MailboxStatistics(
            depth=len(self._queue),
            capacity=self.capacity,
            senders_waiting=0
            if self._channel is None
            else self._channel[0].statistics().tasks_waiting_send,
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

    def _admit_senders(self) -> None:
        # More than one if a message replaces an earlier one with its key.
        while self._senders_waiting and self._channel and len(self._queue) < self.capacity:
            try:
                message, slot, _ = self._channel[1].receive_nowait()
            except (trio.WouldBlock, trio.EndOfChannel):
                return  # a cancelled or closed sender has not run yet
            self._senders_waiting -= 1
            self._push((message, slot, trio.current_time()))


def _is_open(envelope: Envelope) -> bool:
    slot = envelope[1]
    return slot is None or slot.outcome is None
