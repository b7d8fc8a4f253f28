"""In which order messages that wait are taken. Pure (R14)."""

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from typing import Any, Protocol

from .message import Message
from .reply import ReplySlot

__all__ = ["ByKey", "ByPriority", "Envelope", "Fifo", "Queue"]

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
    """The smallest rank first; equals first in, first out.

    Args:
        rank: of a message.
    """

    def __init__(self, rank: Callable[[Message[object]], float]) -> None:
        self._rank = rank
        self._heap: list[tuple[float, int, Envelope]] = []  # (rank, order of arrival, message)
        self._order = itertools.count()

    def __len__(self) -> int:
        return len(self._heap)

    def __iter__(self) -> Iterator[Envelope]:
        return (entry[2] for entry in self._heap)

    def push(self, envelope: Envelope) -> Envelope | None:
        """Among its equals, last in line."""
        heapq.heappush(self._heap, (self._rank(envelope[0]), next(self._order), envelope))
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
