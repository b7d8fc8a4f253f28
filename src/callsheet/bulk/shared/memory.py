"""The queue of a shared run in memory: for tests, and for programs that run in one process."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar, final

import trio

from ...actors import ServerAway
from .core import RunQueue
from .queue import (
    MOST_DELIVERIES,
    BeatReply,
    HoldReply,
    QueueAnswer,
    QueuedRow,
    RowAnswer,
    RunCard,
    RunState,
    TakenRow,
    TakeReply,
)

T = TypeVar("T")

_LEAST_S = 0.001  # a wait of less may end before it has begun, again and again
_POLL_S = 1.0  # a lease may end while a worker waits


@final
class _SharedRun:
    """What the connections to one queue have in common."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.queue = RunQueue(name)
        self.changed = trio.Event()
        self.epochs = 0
        self.sessions = 0


@final
class MemoryQueue:
    """A connection to a queue in memory; `another` makes a further one, as of another process.

    Args:
        name: the name of the run.
        clock: returns the time in seconds.

    Attributes:
        away: whether every call fails, and does nothing, as if there were no server.
        loses_replies: whether every call fails after it has been done.
        calls: how many calls were made.
    """

    def __init__(
        self, name: str = "run", *, clock: Callable[[], float] = trio.current_time
    ) -> None:
        self.away = False
        self.loses_replies = False
        self.calls = 0
        self._clock = clock
        self._attach(_SharedRun(name))

    def _attach(self, run: _SharedRun) -> None:
        self._run = run
        run.sessions += 1
        self._session = str(run.sessions)
        self._puts = 0
        self._putting = trio.Lock()

    def __repr__(self) -> str:
        return f"<MemoryQueue {self._run.queue.card(self._now())}>"

    def another(self) -> "MemoryQueue":
        """Return a further connection to the same queue, with faults of its own."""
        other = MemoryQueue(clock=self._clock)
        other._attach(self._run)  # of the same class
        return other

    def lose_data(self) -> None:
        """Lose everything, as a server without a log does when it is killed."""
        self._run.queue = RunQueue(self._run.name)
        self._changed()

    @property
    def name(self) -> str:
        """See `WorkQueue`."""
        return f"the shared run {self._run.name} in memory"

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """See `WorkQueue`."""
        yield

    async def check(self) -> None:
        """See `WorkQueue`."""
        await self._do(lambda _: None)

    # ---------------------------------------------------------------- the holder

    async def hold(
        self,
        holder: str,
        settings: bytes,
        *,
        lease_s: float,
        most_deliveries: int = MOST_DELIVERIES,
    ) -> HoldReply:
        """See `WorkQueue`."""
        self._run.epochs += 1
        fresh, lease_ms = f"epoch{self._run.epochs}", round(1000 * lease_s)
        queue, most = self._run, most_deliveries
        return await self._do(
            lambda now: queue.queue.hold(
                now, holder, settings, lease_ms, fresh, most_deliveries=most
            )
        )

    async def put(self, holder: str, rows: Sequence[QueuedRow]) -> bool:
        """See `WorkQueue`."""
        async with self._putting:
            self._puts += 1
            number, session = self._puts, self._session
            return await self._do(
                lambda now: self._run.queue.put(now, holder, session, number, rows)
            )

    async def left(self, after: str, count: int) -> Sequence[TakenRow]:
        """See `WorkQueue`."""
        return await self._do(lambda _: self._run.queue.left(after, count), changes=False)

    async def withdraw(self, holder: str, keys: Sequence[str]) -> Sequence[str]:
        """See `WorkQueue`."""
        return await self._do(lambda now: self._run.queue.withdraw(now, holder, keys))

    async def answers(self, after: str, count: int, *, wait_s: float) -> Sequence[QueueAnswer]:
        """See `WorkQueue`."""
        return await self._wait(
            lambda: self._do(lambda _: self._run.queue.answers(after, count), changes=False),
            bool,
            wait_s,
        )

    async def stored(self, holder: str, entries: Sequence[str]) -> bool:
        """See `WorkQueue`."""
        return await self._do(lambda now: self._run.queue.stored(now, holder, entries))

    async def change_state(self, holder: str, state: RunState) -> bool:
        """See `WorkQueue`."""
        return await self._do(lambda now: self._run.queue.change_state(now, holder, state))

    async def end(self, holder: str, *, forget: bool) -> bool:
        """See `WorkQueue`."""
        return await self._do(lambda now: self._run.queue.end(now, holder, forget=forget))

    # ---------------------------------------------------------------- workers

    async def take(self, worker: str, count: int, *, wait_s: float) -> TakeReply:
        """See `WorkQueue`."""
        state: list[RunState | None] = []

        def is_over(reply: TakeReply) -> bool:
            state.append(reply.state)
            return bool(reply.rows) or state[0] != reply.state

        return await self._wait(
            lambda: self._do(lambda now: self._run.queue.take(now, worker, count), changes=False),
            is_over,
            wait_s,
        )

    async def own(self, worker: str) -> TakeReply:
        """See `WorkQueue`."""
        return await self._do(lambda now: self._run.queue.own(now, worker), changes=False)

    async def beat(self, worker: str, report: bytes, entries: Sequence[str]) -> BeatReply:
        """See `WorkQueue`."""
        return await self._do(
            lambda now: self._run.queue.beat(now, worker, report, entries), changes=False
        )

    async def answer(self, worker: str, answers: Sequence[RowAnswer]) -> Sequence[str] | None:
        """See `WorkQueue`."""
        return await self._do(lambda now: self._run.queue.answer(now, worker, answers))

    async def give_back(self, worker: str, entries: Sequence[str]) -> None:
        """See `WorkQueue`."""
        await self._do(lambda now: self._run.queue.give_back(now, worker, entries))

    async def leave(self, worker: str) -> None:
        """See `WorkQueue`."""
        await self._do(lambda now: self._run.queue.leave(now, worker))

    # ---------------------------------------------------------------- anyone

    async def card(self) -> RunCard | None:
        """See `WorkQueue`."""
        return await self._do(self._run.queue.card, changes=False)

    # ---------------------------------------------------------------- parts

    def _now(self) -> int:
        return round(1000 * self._clock())

    async def _do(self, what: Callable[[int], T], *, changes: bool = True) -> T:
        """Do something, unless the queue is away; wake those who wait."""
        await trio.lowlevel.checkpoint()
        self.calls += 1
        if self.away:
            raise ServerAway(self.name, "it was taken away")
        reply = what(self._now())
        if changes:
            self._changed()
        if self.loses_replies:
            raise ServerAway(self.name, "the reply was lost")
        return reply

    def _changed(self) -> None:
        event, self._run.changed = self._run.changed, trio.Event()
        event.set()

    async def _wait(
        self,
        ask: Callable[[], Awaitable[T]],
        is_over: Callable[[T], bool],
        wait_s: float,
    ) -> T:
        """Ask again at each change, and each second, until there is something or time is over."""
        ends_at = trio.current_time() + wait_s
        while True:
            changed = self._run.changed
            reply = await ask()
            left_s = ends_at - trio.current_time()
            if is_over(reply) or left_s < _LEAST_S:
                return reply
            with trio.move_on_after(min(_POLL_S, left_s)):
                await changed.wait()
