"""Decide which connection a request gets. Pure (R14).

A pool has a fixed number of places. A connection occupies a place from before it is opened until it
is closed. The cost of a step does not depend on the number of connections; closing expired
connections costs one step for each.
"""

from collections import OrderedDict
from enum import Enum
from typing import Final, Generic, Literal, TypeVar, final

import attrs

C = TypeVar("C")  # a connection
W = TypeVar("W")  # a waiting request
Origin = tuple[str, str, int]  # scheme, host, port


class _New(Enum):
    NEW = "new"


NEW: Final = _New.NEW
"""In place of a connection: open a new one."""

New = Literal[_New.NEW]


@attrs.frozen
class PoolStatistics:
    """The state of a pool.

    Args:
        max_connections: the number of places.
        open: connections that are being opened, in use, or idle.
        idle: connections that wait for a request.
        waiting: requests that wait for a connection.
        opened: connections opened since the start, those being opened included.
        reused: requests since the start that got an open connection.
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
    """Ends the wait of a request.

    Args:
        waiter: the request that waited.
        lease: its connection, or NEW.
    """

    waiter: W
    lease: C | New


@final
class ConnectionPool(Generic[C, W]):
    """The places, the idle connections, and the queue of waiting requests.

    Requests are served in order of arrival, whatever their origin, and wait only while no
    connection is idle. Of the idle connections to an origin, the one used last is taken, so that
    superfluous ones expire. To make room for another origin, the connection that has been idle
    longest is closed.

    Args:
        max_connections: the number of places, over all origins.
        max_idle_s: the age at which an idle connection expires, in seconds.

    Attributes:
        doomed: connections that have lost their place. The caller of a step closes them.
    """

    def __init__(self, max_connections: int, max_idle_s: float) -> None:
        self._max_connections = max_connections
        self._max_idle_s = max_idle_s
        self._open = 0
        self._opened = 0
        self._reused = 0
        self._idle: OrderedDict[C, tuple[Origin, float]] = OrderedDict()  # idle since; oldest first
        self._stacks: dict[Origin, OrderedDict[C, None]] = {}  # by origin; none is empty
        self._queue: OrderedDict[W, Origin] = OrderedDict()
        self._is_closed = False
        self.doomed: list[C] = []

    @property
    def is_closed(self) -> bool:
        """Whether the pool is closed, and takes no more requests."""
        return self._is_closed

    def statistics(self) -> PoolStatistics:
        """Return the state of the pool."""
        return PoolStatistics(
            max_connections=self._max_connections,
            open=self._open,
            idle=len(self._idle),
            waiting=len(self._queue),
            opened=self._opened,
            reused=self._reused,
        )

    def take(self, origin: Origin, now: float) -> C | New | None:
        """Return an idle connection, or NEW to open one, or None to `wait`.

        Args:
            origin: scheme, host and port.
            now: the present, in seconds of a clock that never goes back.
        """
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
        """Join the queue, until a step returns a grant for the request, or it withdraws.

        Args:
            waiter: the request that needs a connection.
            origin: scheme, host and port.
        """
        self._queue[waiter] = origin

    def withdraw(self, waiter: W) -> None:
        """Leave the queue without a connection.

        Args:
            waiter: the request that no longer waits.
        """
        del self._queue[waiter]

    def put_back(self, connection: C, origin: Origin, now: float) -> ConnectionGrant[C, W] | None:
        """Put back a connection that can carry another request; return whose wait that ends.

        Args:
            connection: the connection that is free again.
            origin: its scheme, host and port.
            now: the present, in seconds of a clock that never goes back.
        """
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
        """Free the place of a closed or failed connection; return whose wait that ends."""
        if self._queue:
            waiter, _ = self._queue.popitem(last=False)
            self._opened += 1
            return ConnectionGrant(waiter, NEW)
        self._open -= 1
        return None

    def close(self) -> list[W]:
        """Close the pool; return the requests that were waiting."""
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
