"""A queue that gives out the messages of one key in order, one at a time; pure (R14).

The messages of each key stand in a line of their own, by priority and order of arrival. The first
of a line may be taken unless a message of its key is in hand. All such first messages are in one
heap. A message that has left, or is no longer the first of its line, stays in that heap until it
comes to the top. So each operation costs O(log n), amortized.
"""

import heapq
import itertools
from collections.abc import Callable, Hashable, Iterator
from typing import Final, final

import attrs

from .queues import Envelope
from .reply import Message

KeyFunction = Callable[[Message[object]], Hashable]
"""Returns the key of a message; None: its order does not matter. Messages with equal keys are
handled one at a time, in their order. What it raises reaches the sender as
`MailboxFunctionFailed`."""

KeyedOrder = tuple[float, Hashable]
"""The priority and the key of a message."""


@attrs.define(eq=False, slots=True)
class _Item:
    """A message in a `Keyed` queue; the heaps hold it, and skip it once it is gone."""

    envelope: Envelope
    rank: float
    arrival: int
    key: Hashable
    is_gone: bool = False


_Heap = list[tuple[float, int, _Item]]
_SLACK: Final = 64  # the heaps may hold this many items that are gone beyond those that are not


@final
class Keyed:
    """A queue whose messages of one key are taken one at a time, in their order.

    Attributes:
        taken: the key of the message that was taken last; it is in hand until `release`. None if
            that message has no key.
    """

    def __init__(self) -> None:
        self.taken: Hashable = None
        self._lines: dict[Hashable, _Heap] = {}
        self._firsts: _Heap = []
        self._worst: _Heap = []  # (-priority, arrival, message), of all messages
        self._in_hand: set[Hashable] = set()
        self._arrivals = itertools.count()
        self._length = 0
        self._gone = 0  # since the heaps were cleaned

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Envelope]:
        return (entry[2].envelope for entry in self._worst if not entry[2].is_gone)

    @property
    def can_pop(self) -> bool:
        """Whether a message may be taken."""
        return self._first() is not None

    def push(self, envelope: Envelope, key: KeyedOrder) -> Envelope | None:
        """Add a message after all others of its priority and key."""
        rank, line_key = key
        item = _Item(envelope, rank, next(self._arrivals), line_key)
        heapq.heappush(self._worst, (-rank, item.arrival, item))
        self._length += 1
        entry = (rank, item.arrival, item)
        if line_key is None:
            heapq.heappush(self._firsts, entry)
            return None
        line = self._lines.setdefault(line_key, [])
        heapq.heappush(line, entry)
        if line[0] is entry:
            self._expose(line_key)
        return None

    def pop(self) -> Envelope | None:
        """Remove and return the next message whose key is not in hand; its key is then in hand."""
        item = self._first()
        if item is None:
            return None
        self.taken = item.key
        if item.key is not None:
            self._in_hand.add(item.key)
        return self._remove(item).envelope

    def release(self, key: Hashable) -> None:
        """Let the next message of a key be taken, since the one in hand is done."""
        self._in_hand.discard(key)
        self._expose(key)

    def release_all(self) -> None:
        """Let all messages be taken, since no message is in hand any more."""
        for key in list(self._in_hand):
            self.release(key)

    def evict(self, key: KeyedOrder) -> Envelope | None:
        """Remove and return the oldest of the least urgent; None if `key` is less urgent still."""
        while self._worst and self._worst[0][2].is_gone:
            heapq.heappop(self._worst)
        if not self._worst or self._worst[0][2].rank < key[0]:
            return None
        return self._remove(self._worst[0][2]).envelope

    def retain(self, is_retained: Callable[[Envelope], bool]) -> list[Envelope]:
        """Remove all other messages and return them."""
        gone = [
            entry[2]
            for entry in self._worst
            if not entry[2].is_gone and not is_retained(entry[2].envelope)
        ]
        for item in gone:
            item.is_gone = True
        self._length -= len(gone)
        self._rebuild()
        return [item.envelope for item in gone]

    # ---------------------------------------------------------------- inside

    def _first(self) -> _Item | None:
        firsts = self._firsts
        while firsts:
            item = firsts[0][2]
            if not item.is_gone and (item.key is None or self._is_first(item)):
                return item
            heapq.heappop(firsts)
        return None

    def _is_first(self, item: _Item) -> bool:
        return item.key not in self._in_hand and self._lines[item.key][0][2] is item

    def _expose(self, key: Hashable) -> None:
        """Put the first message of a line into the heap, if its key is not in hand."""
        line = self._lines.get(key)
        if line is None:
            return
        while line and line[0][2].is_gone:
            heapq.heappop(line)
        if not line:
            del self._lines[key]
        elif key not in self._in_hand:
            heapq.heappush(self._firsts, line[0])

    def _remove(self, item: _Item) -> _Item:
        item.is_gone = True
        self._length -= 1
        if item.key is not None:
            self._expose(item.key)
        self._gone += 1
        if self._gone > self._length + _SLACK:  # more than half of what the heaps hold
            self._rebuild()
        return item

    def _rebuild(self) -> None:
        """Remove what is gone from all heaps; O(n), after at least n other operations."""
        self._gone = 0
        self._worst = [entry for entry in self._worst if not entry[2].is_gone]
        heapq.heapify(self._worst)
        lines = self._lines
        self._lines = {}
        self._firsts = [
            (item.rank, item.arrival, item) for *_, item in self._worst if item.key is None
        ]
        for key, line in lines.items():
            left = [entry for entry in line if not entry[2].is_gone]
            if left:
                heapq.heapify(left)
                self._lines[key] = left
                if key not in self._in_hand:
                    self._firsts.append(left[0])
        heapq.heapify(self._firsts)
