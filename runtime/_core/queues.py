"""The orders in which a mailbox gives its messages out, and what it does when full; pure (R14)."""

import enum
import heapq
import itertools
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator
from math import isnan
from typing import Any, Literal, Protocol, final

import attrs

from .reply import Message, ReplySlot
from .tracing import Trace

# A tuple, not a class: one is made for every message. The float is the time of arrival; there is no
# trace if there are no instruments.
Envelope = tuple[Message[object], ReplySlot[Any] | None, float, Trace | None]


@attrs.frozen
class Coalesce:
    """An overflow policy that keeps only the latest message of each key, in the place of the first.

    A message with a new key waits for room, as with "block".

    Args:
        key: returns the key of a message; messages with equal keys replace each other. What it
            raises reaches the sender as `MailboxFunctionFailed`.
    """

    key: Callable[[Message[object]], Hashable]


Overflow = Literal["block", "reject", "drop_newest", "drop_oldest"] | Coalesce
"""What happens to a message that finds the mailbox full (R5). "block": its sender waits for room.
"reject": its sender gets `MailboxFull`. "drop_newest": the message is dropped. "drop_oldest": the
oldest queued message is dropped; with priorities, the oldest of the least urgent ones, or the new
message if it is less urgent than all of them. `Coalesce`: whether or not there is room, the message
replaces the one with the same key. Every drop resolves its ask and is counted."""

POLICIES = ("block", "reject", "drop_newest", "drop_oldest")

Priority = Callable[[Message[object]], float]
"""Returns the priority of a message; the smallest is taken first, equal ones in their order. What
it raises reaches the sender as `MailboxFunctionFailed`."""


def place_of(
    message: Message[object],
    priority: Priority | None,
    key: Callable[[Message[object]], Hashable] | None,
    overflow: Overflow,
) -> Any:  # noqa: ANN401  # see Queue
    """Return what a queue orders a message by: a priority, a key, or both.

    Args:
        message: the message that is sent.
        priority: returns its priority; None if the mailbox has none.
        key: returns its key; None if messages have none.
        overflow: the policy, which may coalesce by a key of its own.

    Raises:
        Exception: a function of the user failed, or returned what cannot be a priority or a key.
    """
    if key is None and isinstance(overflow, Coalesce):
        coalesced_by = overflow.key(message)
        hash(coalesced_by)
        return coalesced_by
    rank = 0.0
    if priority is not None:
        rank = priority(message)
        if isnan(rank):
            raise ValueError("a priority must be a number, not nan")
    if key is None:
        return rank
    found = key(message)
    hash(found)
    return rank, found


class Admission(enum.Enum):
    """What a mailbox does with a message that is offered."""

    ACCEPTED = "accepted"
    FULL = "full"  # the sender may wait for room
    REJECTED = "rejected"
    DROPPED = "dropped"


ACCEPTED = Admission.ACCEPTED


class Queue(Protocol):
    """Messages in the order in which they are taken.

    `key` is the priority of the message, or what it is coalesced by, or None.
    """

    def __len__(self) -> int:
        """Return the number of messages."""
        ...

    def __iter__(self) -> Iterator[Envelope]:
        """Iterate over the messages, in no particular order."""
        ...

    def push(self, envelope: Envelope, key: Any) -> Envelope | None:  # noqa: ANN401  # a number or a hashable
        """Add a message; return the message that it replaces, if any."""
        ...

    def pop(self) -> Envelope | None:
        """Remove and return the next message, if one may be taken; the queue is not empty."""
        ...

    def evict(self, key: Any) -> Envelope | None:  # noqa: ANN401  # as above
        """Remove and return the message to drop for a newer one; None to drop the newer one.

        Args:
            key: the newer one's.
        """
        ...

    def retain(self, is_retained: Callable[[Envelope], bool]) -> list[Envelope]:
        """Remove all other messages and return them."""
        ...


@final
class Fifo:
    """A queue that is first in, first out."""

    def __init__(self) -> None:
        self.items: deque[Envelope] = deque()

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Envelope]:
        return iter(self.items)

    def push(self, envelope: Envelope, key: None = None) -> Envelope | None:  # noqa: ARG002  # no order by key
        """Add a message at the end."""
        self.items.append(envelope)
        return None

    def pop(self) -> Envelope:
        """Remove and return the first message."""
        return self.items.popleft()

    def evict(self, key: None = None) -> Envelope:  # noqa: ARG002  # as above
        """Remove and return the first message."""
        return self.items.popleft()

    def retain(self, is_retained: Callable[[Envelope], bool]) -> list[Envelope]:
        """Remove all other messages and return them."""
        gone = [envelope for envelope in self.items if not is_retained(envelope)]
        if gone:
            kept = [envelope for envelope in self.items if is_retained(envelope)]
            self.items.clear()
            self.items.extend(kept)
        return gone


@attrs.define(eq=False, slots=True)
class _Ranked:
    """A message in a `ByPriority` queue; its two heaps hold it, and skip it once it is gone."""

    envelope: Envelope
    rank: float
    is_gone: bool = False


@final
class ByPriority:
    """A queue that takes the smallest priority first; equal ones are first in, first out."""

    def __init__(self) -> None:
        self._first: list[tuple[float, int, _Ranked]] = []  # (priority, arrival, message)
        self._worst: list[tuple[float, int, _Ranked]] = []  # (-priority, arrival, message)
        self._arrivals = itertools.count()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Envelope]:
        return (entry[2].envelope for entry in self._first if not entry[2].is_gone)

    def push(self, envelope: Envelope, key: float) -> Envelope | None:
        """Add a message after all others of its priority."""
        arrival, ranked = next(self._arrivals), _Ranked(envelope, key)
        heapq.heappush(self._first, (key, arrival, ranked))
        heapq.heappush(self._worst, (-key, arrival, ranked))
        self._length += 1
        return None

    def pop(self) -> Envelope:
        """Remove and return the first message with the smallest priority."""
        return self._remove(_peek(self._first)).envelope

    def evict(self, key: float) -> Envelope | None:
        """Remove and return the oldest of the least urgent; None if `key` is less urgent still."""
        worst = _peek(self._worst)
        return self._remove(worst).envelope if worst.rank >= key else None

    def retain(self, is_retained: Callable[[Envelope], bool]) -> list[Envelope]:
        """Remove all other messages and return them."""
        gone = [
            entry[2]
            for entry in self._first
            if not entry[2].is_gone and not is_retained(entry[2].envelope)
        ]
        for ranked in gone:
            self._remove(ranked)
        return [ranked.envelope for ranked in gone]

    def _remove(self, ranked: _Ranked) -> _Ranked:
        ranked.is_gone = True
        self._length -= 1
        for heap in (self._first, self._worst):
            if len(heap) > 2 * self._length + 8:  # more than half of it is gone
                heap[:] = [entry for entry in heap if not entry[2].is_gone]
                heapq.heapify(heap)
        return ranked


def _peek(heap: list[tuple[float, int, _Ranked]]) -> _Ranked:
    while heap[0][2].is_gone:
        heapq.heappop(heap)
    return heap[0][2]


@final
class ByKey:
    """A queue with one message per key; a newer message takes the place of the older one."""

    def __init__(self) -> None:
        # In the order of the places; a plain dict takes ever longer to find its first item.
        self._items: OrderedDict[Hashable, Envelope] = OrderedDict()

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Envelope]:
        return iter(self._items.values())

    def get(self, key: Hashable) -> Envelope | None:
        """Return the message with a key, if there is one."""
        return self._items.get(key)

    def push(self, envelope: Envelope, key: Hashable) -> Envelope | None:
        """Replace the message with the same key and return it, or add a message at the end."""
        earlier = self._items.get(key)
        self._items[key] = envelope
        return earlier

    def move_to_end(self, key: Hashable) -> None:
        """Give the message with a key the last place."""
        self._items.move_to_end(key)

    def pop(self) -> Envelope:
        """Remove and return the first message."""
        return self._items.popitem(last=False)[1]

    def evict(self, key: Hashable) -> Envelope:  # noqa: ARG002  # never called: it waits for room
        """Remove and return the first message."""
        return self.pop()

    def retain(self, is_retained: Callable[[Envelope], bool]) -> list[Envelope]:
        """Remove all other messages and return them."""
        gone = [envelope for envelope in self._items.values() if not is_retained(envelope)]
        self._items = OrderedDict(one for one in self._items.items() if is_retained(one[1]))
        return gone
