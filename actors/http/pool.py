"""Which connection a request gets: the decisions, without any I/O (R14).

A pool has a number of places. A connection occupies one from before it is opened until it is
closed. Every step costs the same however many connections there are; closing what has expired
costs one step for each connection, once.
"""

from collections import OrderedDict
from enum import Enum
from typing import Final, Generic, Literal, TypeVar, final

import attrs

__all__ = [
    "NEW",
    "ConnectionGrant",
    "ConnectionPool",
    "PoolStatistics",
]


C = TypeVar("C")  # a connection
W = TypeVar("W")  # somebody who waits
Origin = tuple[str, str, int]  # scheme, host, port


class _New(Enum):
    NEW = "new"


NEW: Final = _New.NEW
"""Instead of a connection: there is a place, open one."""

New = Literal[_New.NEW]


@attrs.frozen
class PoolStatistics:
    """What a pool holds at a moment.

    Args:
        max_connections: its places.
        open: the places that are taken: connections that are being opened, in use, or idle.
        idle: connections that wait for a request.
        waiting: requests that wait for a place.
        opened: connections opened, or begun to be, since the start.
        reused: requests that got a connection which was there, since the start.
    """

    max_connections: int
    open: int
    idle: int
    waiting: int
    opened: int
    reused: int

    @property
    def in_use(self) -> int:
        """Connections that are being opened, or carry a request."""
        return self.open - self.idle


@final
@attrs.frozen
class ConnectionGrant(Generic[C, W]):
    """Somebody need wait no longer.

    Args:
        waiter: who.
        lease: the connection he gets, or NEW.
    """

    waiter: W
    lease: C | New


@final
class ConnectionPool(Generic[C, W]):
    """The places, the idle connections and the queue.

    Who waits is served first come, first served, whatever the origin. Somebody waits only if no
    connection is idle. Of an origin's idle connections the one that was used last is taken, so
    that those which are not needed expire; to make place for another origin, the one that was
    idle longest is closed.

    Args:
        max_connections: places, over all origins.
        max_idle_s: seconds after which an idle connection is not used any more.

    Attributes:
        doomed: connections that have lost their place. Whoever took a step closes and clears them.
    """

    def __init__(self, max_connections: int, max_idle_s: float) -> None:
        self._max_connections = max_connections
        self._max_idle_s = max_idle_s
        self._open = 0
        self._opened = 0
        self._reused = 0
        self._idle: OrderedDict[C, tuple[Origin, float]] = OrderedDict()  # since when; oldest first
        self._stacks: dict[Origin, OrderedDict[C, None]] = {}  # the same; none is empty
        self._queue: OrderedDict[W, Origin] = OrderedDict()
        self._is_closed = False
        self.doomed: list[C] = []

    @property
    def is_closed(self) -> bool:
        """Whether it takes no requests any more."""
        return self._is_closed

    def statistics(self) -> PoolStatistics:
        """What it holds now."""
        return PoolStatistics(
            max_connections=self._max_connections,
            open=self._open,
            idle=len(self._idle),
            waiting=len(self._queue),
            opened=self._opened,
            reused=self._reused,
        )

    def take(self, origin: Origin, now: float) -> C | New | None:
        """A connection to use, or NEW, or None if there is neither: then `wait`."""
        self._expire(now)
        stack = self._stacks.get(origin)
        if stack is not None:
            connection, _ = stack.popitem()
            if not stack:
                del self._stacks[origin]
            del self._idle[connection]
            self._reused += 1
            return connection
        if self._open == self._max_connections:
            if not self._idle:
                return None
            self._close_oldest()
        self._open += 1
        self._opened += 1
        return NEW

    def wait(self, waiter: W, origin: Origin) -> None:
        """Stand in the queue, until a step returns a grant or one withdraws."""
        self._queue[waiter] = origin

    def withdraw(self, waiter: W) -> None:
        """Leave the queue without having been served."""
        del self._queue[waiter]

    def put_back(self, connection: C, origin: Origin, now: float) -> ConnectionGrant[C, W] | None:
        """A connection can carry another request."""
        if self._is_closed:
            self.doomed.append(connection)
            return self.free()
        if self._queue:
            waiter, wanted = self._queue.popitem(last=False)
            if wanted == origin:
                self._reused += 1
                return ConnectionGrant(waiter, connection)
            self.doomed.append(connection)
            self._opened += 1
            return ConnectionGrant(waiter, NEW)
        self._idle[connection] = (origin, now)
        stack = self._stacks.get(origin)
        if stack is None:
            stack = self._stacks[origin] = OrderedDict()
        stack[connection] = None
        self._expire(now)
        return None

    def free(self) -> ConnectionGrant[C, W] | None:
        """A connection was closed, or not opened after all."""
        if self._queue:
            waiter, _ = self._queue.popitem(last=False)
            self._opened += 1
            return ConnectionGrant(waiter, NEW)
        self._open -= 1
        return None

    def close(self) -> list[W]:
        """Take no more requests, and keep no connection; returns who waited in vain."""
        self._is_closed = True
        while self._idle:
            self._close_oldest()
        waiters = list(self._queue)
        self._queue.clear()
        return waiters

    def _expire(self, now: float) -> None:
        idle = self._idle
        while idle:
            _, since = idle[next(iter(idle))]
            if now - since < self._max_idle_s:
                return
            self._close_oldest()

    def _close_oldest(self) -> None:
        connection, (origin, _) = self._idle.popitem(last=False)
        stack = self._stacks[origin]
        del stack[connection]
        if not stack:
            del self._stacks[origin]
        self._open -= 1
        self.doomed.append(connection)
