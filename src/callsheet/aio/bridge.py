"""The way from asyncio's loops to the Trio thread of a door, and back."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar, final

import trio

from ..doors import DoorCall, Milestone, TrioThread

T = TypeVar("T")
ResourceT = TypeVar("ResourceT")


@final
class LoopBridge(Generic[ResourceT]):
    """The way between one event loop and a Trio thread.

    Both ways are batched: what the tasks of a round of one loop have for the other costs one
    wake-up there.

    Args:
        loop: the event loop.
        thread: the Trio thread.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, thread: TrioThread[ResourceT]) -> None:
        self.loop = loop
        self.thread = thread
        self._is_waking = False  # of the loop's thread
        self._ready: deque[AsyncioCall[ResourceT, Any]] = deque()
        self._is_flushing = False  # of Trio's thread

    # ------------------------------------------------------------- in the loop's thread

    def begin(self, call: "AsyncioCall[ResourceT, T]") -> None:
        """Let a call begin at the end of this round of the loop.

        Args:
            call: the call, which nothing has begun yet.

        Raises:
            DoorClosed: the thread takes no calls any more.
        """
        self.thread.add(call)
        if not self._is_waking:
            self._is_waking = True
            self.loop.call_soon(self._wake_thread)

    def _wake_thread(self) -> None:
        self._is_waking = False
        self.thread.wake()

    def _wake_callers(self) -> None:
        ready = self._ready
        while ready:
            ready.popleft().wake()

    # ------------------------------------------------------------- in Trio's thread

    def report(self, call: "AsyncioCall[ResourceT, Any]") -> None:
        """Wake the caller of a call, with all others of this round of Trio's loop.

        Args:
            call: the call that is settled, or has more pieces.
        """
        self._ready.append(call)
        if not self._is_flushing:
            self._is_flushing = True
            self.thread.at_end_of_round(self._flush)

    def _flush(self) -> None:
        self._is_flushing = False
        try:
            self.loop.call_soon_threadsafe(self._wake_callers)
        except RuntimeError:  # the loop is closed, and so are its tasks
            self._ready.clear()


class AsyncioCall(DoorCall[ResourceT, T]):
    """A call of a task of asyncio.

    Args:
        work: as for `DoorCall`.
        bridge: the way to the loop of that task.
    """

    __slots__ = ("_bridge", "_is_reported", "_waiter")

    def __init__(
        self, work: Callable[[ResourceT], Awaitable[T]], bridge: LoopBridge[ResourceT]
    ) -> None:
        super().__init__(work)
        self._bridge = bridge
        self._waiter: asyncio.Future[None] | None = None
        self._is_reported = False

    @property
    def is_orphaned(self) -> bool:
        """Whether its event loop is closed."""
        return self._bridge.loop.is_closed()

    def report(self) -> None:
        """Wake the caller: the call is settled, or has more pieces. Called in Trio's thread."""
        if not self._is_reported:
            self._is_reported = True
            self._bridge.report(self)

    def wake(self) -> None:
        """Wake the task that waits, if there is one; called in its thread."""
        self._is_reported = False
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait_for_news(self) -> None:
        """Wait until the call is settled, or there are more pieces.

        Raises:
            RuntimeError: another task waits for them, or this is another event loop.
        """
        loop = self._bridge.loop
        if asyncio.get_running_loop() is not loop:
            raise RuntimeError("another event loop has opened this stream; read it there")
        if self._waiter is not None:
            raise RuntimeError("another task reads this stream")
        self._waiter = loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None


@final
class AsyncioDoor(Generic[ResourceT]):
    """The calls from any number of event loops to one Trio thread.

    Args:
        thread: the Trio thread.
    """

    def __init__(self, thread: TrioThread[ResourceT]) -> None:
        self.thread = thread
        self._bridges: dict[asyncio.AbstractEventLoop, LoopBridge[ResourceT]] = {}

    def bridge(self) -> LoopBridge[ResourceT]:
        """Return the way from the loop of the current task."""
        loop = running_loop(self.thread.name)
        found = self._bridges.get(loop)
        return self._new_bridge(loop) if found is None else found

    def _new_bridge(self, loop: asyncio.AbstractEventLoop) -> LoopBridge[ResourceT]:
        for other in list(self._bridges):
            if other.is_closed():
                self._bridges.pop(other, None)
        bridge = self._bridges[loop] = LoopBridge(loop, self.thread)
        return bridge

    async def call(self, work: Callable[[ResourceT], Awaitable[T]]) -> T:
        """Run some work in a task of Trio, and return its result.

        If the current task is cancelled, the work is cancelled, too, and not waited for.

        Args:
            work: gets what the thread has opened.

        Raises:
            DoorClosed: the door is closed.
            Exception: what the work raises.
        """
        bridge = self.bridge()
        call = AsyncioCall(work, bridge)
        bridge.begin(call)
        try:
            await call.wait_for_news()
        except BaseException:
            bridge.thread.give_up(call)
            raise
        return call.result()


def running_loop(name: str) -> asyncio.AbstractEventLoop:
    """Return the event loop of the current task.

    Args:
        name: what the caller uses, for the error.

    Raises:
        RuntimeError: the thread runs no loop of asyncio; the message says what to use.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        place = (
            "under Trio, import it from callsheet"
            if trio.lowlevel.in_trio_run()
            else "in a plain program, use callsheet.sync"
        )
        raise RuntimeError(f"the {name} of callsheet.aio needs asyncio; {place}") from None


async def wait_for(milestone: Milestone) -> None:
    """Wait until something has happened in another thread.

    Args:
        milestone: what is waited for.
    """
    loop = asyncio.get_running_loop()
    waiter = loop.create_future()

    def reached() -> None:
        if not waiter.done():
            waiter.set_result(None)

    def wake() -> None:
        try:
            loop.call_soon_threadsafe(reached)
        except RuntimeError:  # the loop is closed
            return

    milestone.when_reached(wake)
    await waiter
