"""A queue that gives out the messages of one key in order, one at a time; pure (R14).

The messages of each key stand in a line of their own, by priority and order of arrival. The first
of a line may be taken unless a message of its key is in hand. All such first messages are in one
heap. A message that has left, or is no longer the first of its line, stays in that heap until it
comes to the top. So each operation costs O(log n), amortized.
"""

import heapq
import itertools
from collections.abc import Callable, Hashable, Iterator
from contextlib import suppress
from typing import Any, Final, TypeAlias, final

import attrs

from .queues import Envelope
from .reply import Message, ReplySlot

KeyFunction = Callable[[Message[object]], Hashable]
"""Returns the key of a message; None: its order does not matter. Messages with equal keys are
handled one at a time, in their order. What it raises reaches the sender as
`MailboxFunctionFailed`."""

KeyedOrder = tuple[float, Hashable]
"""The priority and the key of a message."""


@final
class Line:
    """The messages of one key. Once it is found, the user's key is not compared any more (R17)."""

    __slots__ = ("in_hand", "items", "key")

    def __init__(self, key: Hashable) -> None:
        self.key = key
        self.items: _Heap = []
        self.in_hand = False


@attrs.define(eq=False, slots=True)
class _Item:
    """A message in a `Keyed` queue; the heaps hold it, and skip it once it is gone."""

    envelope: Envelope
    rank: float
    arrival: int
    line: Line | None
    is_gone: bool = False


_Heap: TypeAlias = "list[tuple[float, int, _Item]]"
_SLACK: Final = 64  # the heaps may hold this many items that are gone beyond those that are not


@final
class Keyed:
    """A queue whose messages of one key are taken one at a time, in their order.

    Attributes:
        taken: the line of the message that was taken last; it is in hand until `release`. None if
            that message has no key.
    """

    def __init__(self) -> None:
        self.taken: Line | None = None
        self._lines: dict[Hashable, Line] = {}
        self._firsts: _Heap = []
        self._worst: _Heap = []  # (-priority, arrival, message), of all messages
        self._in_hand: set[Line] = set()
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
        """Add a message after all others of its priority and key.

        Raises:
            Exception: the key cannot be compared with another one; then nothing is added.
        """
        rank, line_key = key
        line = None
        if line_key is not None:
            line = self._lines.get(line_key)
            if line is None:
                line = self._lines[line_key] = Line(line_key)
        item = _Item(envelope, rank, next(self._arrivals), line)
        heapq.heappush(self._worst, (-rank, item.arrival, item))
        self._length += 1
        entry = (rank, item.arrival, item)
        if line is None:
            heapq.heappush(self._firsts, entry)
            return None
        heapq.heappush(line.items, entry)
        if line.items[0] is entry:
            self._expose(line)
        return None

    def pop(self) -> Envelope | None:
        """Remove and return the next message whose key is not in hand; its key is then in hand."""
        item = self._first()
        if item is None:
            return None
        self.taken = item.line
        if item.line is not None:
            item.line.in_hand = True
            self._in_hand.add(item.line)
        return self._remove(item).envelope

    def line_in_hand(self, slot: ReplySlot[Any]) -> Line | None:
        """Return the line of a slot's message if its key is in hand; O(n), for deadlocks."""
        for *_, item in self._worst:
            if item.envelope[1] is slot and not item.is_gone:
                return item.line if item.line is not None and item.line.in_hand else None
        return None

    def release(self, line: Line | None) -> None:
        """Let the next message of a key be taken, since the one in hand is done."""
        if line is None:
            return
        line.in_hand = False
        self._in_hand.discard(line)
        self._expose(line)

    def release_all(self) -> None:
        """Let all messages be taken, since no message is in hand any more."""
        for line in list(self._in_hand):
            self.release(line)

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
            if not item.is_gone and (item.line is None or _is_first(item, item.line)):
                return item
            heapq.heappop(firsts)
        return None

    def _expose(self, line: Line) -> None:
        """Put the first message of a line into the heap, if its key is not in hand."""
        items = line.items
        while items and items[0][2].is_gone:
            heapq.heappop(items)
        if line.in_hand:
            return
        if items:
            heapq.heappush(self._firsts, items[0])
        else:
            self._forget(line)

    def _forget(self, line: Line) -> None:
        with suppress(Exception):  # a key that cannot be compared (R17): an empty line stays
            if self._lines.get(line.key) is line:
                del self._lines[line.key]

    def _remove(self, item: _Item) -> _Item:
        item.is_gone = True
        self._length -= 1
        if item.line is not None:
            self._expose(item.line)
        self._gone += 1
        if self._gone > self._length + _SLACK:  # more than half of what the heaps hold
            self._rebuild()
        return item

    def _rebuild(self) -> None:
        """Remove what is gone from all heaps; O(n), after at least n other operations."""
        self._gone = 0
        self._worst = [entry for entry in self._worst if not entry[2].is_gone]
        heapq.heapify(self._worst)
        self._firsts = [
            (item.rank, item.arrival, item) for *_, item in self._worst if item.line is None
        ]
        for line in list(self._lines.values()):
            line.items = [entry for entry in line.items if not entry[2].is_gone]
            heapq.heapify(line.items)
            if not line.in_hand:
                if line.items:
                    self._firsts.append(line.items[0])
                else:
                    self._forget(line)
        heapq.heapify(self._firsts)


def _is_first(item: _Item, line: Line) -> bool:
    return not line.in_hand and line.items[0][2] is item
