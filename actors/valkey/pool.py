"""The connections of one client, which no cancelled or timed-out command can use up.

The pools of coredis lose a place for each task that is cancelled while its connection is opened,
and for each blocking command that is cancelled; and the login on a new connection has no time
limit. This one has no places: ordinary commands share one connection, and each command that blocks
takes one, which is opened if there is none.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from math import inf
from typing import TYPE_CHECKING, Generic, TypeVar, final

import trio
from anyio.abc import TaskStatus
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from coredis.connection import BaseConnection
from coredis.exceptions import ConnectionError as NoConnection
from coredis.pool import BaseConnectionPool
from coredis.typing import RedisError

if TYPE_CHECKING:
    from coredis._telemetry import TelemetryProvider

_OPEN_S = 2.0  # for a connection, the login included

ConnectionT = TypeVar("ConnectionT", bound=BaseConnection)


@final
class _Opening(TaskStatus[None], Generic[ConnectionT]):
    """A connection that is being opened, for a task that may be cancelled meanwhile.

    Args:
        connection: not open yet, and held until it ends.
        pool: takes it if no task waits for it any more.
    """

    def __init__(self, connection: ConnectionT, pool: "SteadyPool[ConnectionT]") -> None:
        self.connection = connection
        self.limit = trio.CancelScope(deadline=trio.current_time() + _OPEN_S)
        self.error: RedisError | None = NoConnection("the client is closed")
        self.ended = trio.Event()
        self.is_wanted = True
        self._pool = pool

    def started(self, value: None = None) -> None:  # noqa: ARG002  # there is none
        """Report that the connection is open; coredis calls it."""
        self.limit.deadline = inf
        self.error = None
        self.ended.set()
        if not self.is_wanted:
            self._pool.release(self.connection)

    def give_up(self) -> None:
        """Leave the connection to the next task."""
        if self.ended.is_set() and self.error is None:
            self._pool.release(self.connection)
        self.is_wanted = False


@final
class SteadyPool(BaseConnectionPool[ConnectionT]):
    """Opens one connection at a time, and gives it to all tasks that wait for one.

    Its arguments are those of `BaseConnectionPool`.
    """

    cache = None
    """The client of coredis asks for it; no response is kept in the process."""

    async def get_connection(self, **_: object) -> ConnectionT:
        """Return a connection that is idle, or a new one.

        Raises:
            NoConnection: none can be opened, or not in time.
        """
        async with self._turn:
            while self._idle:
                connection = self._idle.pop()
                if connection.reusable:
                    return connection
                connection.invalidate()
            if self._is_closed:
                raise NoConnection("the client is closed")
            return await self._new()

    @asynccontextmanager
    async def acquire(self, **_: object) -> AsyncGenerator[ConnectionT]:
        """Hold a connection that no other task uses."""
        connection = await self.get_connection()
        try:
            yield connection
        finally:
            self.release(connection)

    def release(self, connection: ConnectionT) -> None:
        """Give a connection to the next task, if it can still be used."""
        if connection.usable:
            self._idle.append(connection)

    def disconnect(self) -> None:
        """End all connections, because nothing is heard on one. All their commands fail."""
        for connection in self._open:
            connection.invalidate()

    def telemetry_attributes(
        self,
        telemetry_provider: "TelemetryProvider",  # noqa: ARG002  # as coredis calls it
    ) -> dict[str, str | int]:
        """Return what coredis names a pool by in its own metrics, which are off."""
        return {}

    async def _initialize(self) -> None:
        self._turn = trio.Lock()  # of the task that takes or opens a connection
        self._idle: list[ConnectionT] = []  # the one that was used last is the next
        self._open = set[ConnectionT]()
        self._is_closed = False

    def _reset(self) -> None:
        self._is_closed = True
        self._idle.clear()

    async def _new(self) -> ConnectionT:
        location = self.location
        assert location is not None  # noqa: S101  # for the type: the client gives one
        connection = self.connection_class(location, **self.connection_kwargs)
        opening = _Opening(connection, self)
        self.task_group.start_soon(self._hold, opening)
        try:
            await opening.ended.wait()
        except trio.Cancelled:
            opening.give_up()
            raise
        if opening.error is not None:
            raise opening.error
        return connection

    async def _hold(self, opening: _Opening[ConnectionT]) -> None:
        """Open a connection, and read from it until it ends."""
        connection = opening.connection
        self._open.add(connection)
        try:
            with opening.limit:
                await connection.run(task_status=opening)
            if opening.limit.cancelled_caught:
                opening.error = NoConnection(f"no answer in {_OPEN_S:g} s")
        except RedisError as error:
            opening.error = error
        finally:
            self._open.discard(connection)
            opening.ended.set()
            for part in vars(connection).values():  # coredis leaves its channels open
                if isinstance(part, MemoryObjectReceiveStream | MemoryObjectSendStream):
                    part.close()
