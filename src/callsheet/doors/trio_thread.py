"""The thread under a door, which runs Trio and what the door has opened there."""

import atexit
import contextvars
import os
import threading
from collections import deque
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from copy import copy
from types import FunctionType
from typing import Any, Generic, TypeVar, final
from weakref import WeakSet

import trio
from trio.lowlevel import Abort, Task, current_task, reschedule, wait_task_rescheduled

from ..runtime import ActorStopped, open_collapsing_nursery, text_of
from .call import DoorCall
from .open_calls import OpenCalls

ResourceT = TypeVar("ResourceT")
ErrorT = TypeVar("ErrorT", bound=BaseException)

_ORPHANS_S = 0.25  # between two looks for calls whose event loop was closed
_EXIT_S = 30.0  # at the exit of the interpreter, which a thread that hangs must not prevent


class DoorClosed(Exception):
    """The door is closed, or closes: its block was left, its Trio side failed, or this is a fork.

    A call that was in flight may have reached the provider. The `__cause__` is the error that has
    ended the thread or, if a call fails before that, the `ActorStopped` with which it failed.
    """


@final
class Milestone:
    """Something that happens once, such as the end of a thread. Any thread may reach it or wait."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reached = threading.Event()
        self._callbacks: list[Callable[[], None]] = []

    @property
    def is_reached(self) -> bool:
        """Whether it has happened."""
        return self._reached.is_set()

    def reach(self) -> None:
        """Record that it has happened, and call back; later calls do nothing."""
        with self._lock:
            self._reached.set()
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def when_reached(self, callback: Callable[[], None]) -> None:
        """Call back once, in the thread that reaches it, or at once if that is past.

        Args:
            callback: must neither raise nor block.
        """
        with self._lock:
            if not self._reached.is_set():
                self._callbacks.append(callback)
                return
        callback()

    def wait(self, timeout: float | None = None) -> bool:
        """Block the current thread until it has happened.

        Args:
            timeout: seconds to wait at most; None for no limit.

        Returns:
            Whether it has happened.
        """
        return self._reached.wait(timeout)


@final
class TrioThread(Generic[ResourceT]):
    """A thread that runs Trio, opens one thing there, and runs the calls of a door with it.

    Commands reach Trio in batches: those that are posted before Trio's thread gets to them cost
    one wake-up. What goes back is collected until the end of a round of Trio's loop; see
    `at_end_of_round`.

    The thread is a daemon, since Python joins others at its exit before anything could stop them.
    So that no file is left half written, it is stopped and joined by `atexit`.

    Args:
        opening: opens in Trio what the calls use, such as a troupe.
        name: what is opened, for the name of the thread and for errors.

    Attributes:
        started: reached when the thing is open, or the thread has ended.
        ended: reached when everything is closed, and each call is settled.
        error: what ended the thread; None if it was stopped.
        resource: the thing that was opened.
    """

    resource: ResourceT

    def __init__(
        self, opening: Callable[[], AbstractAsyncContextManager[ResourceT]], name: str
    ) -> None:
        self.started, self.ended = Milestone(), Milestone()
        self.error: BaseException | None = None
        self.name = name
        self._opening = opening
        self._calls: OpenCalls[DoorCall[ResourceT, Any]] = OpenCalls()
        self._commands: deque[Callable[[], None]] = deque()
        self._is_awake = False  # whether Trio's thread will look at the commands
        self._token: trio.lowlevel.TrioToken | None = None
        self._is_stopping = self._is_forked = False
        # The others belong to Trio's thread.
        self._scope = trio.CancelScope()
        self._stopping = trio.Event()
        self._nursery: trio.Nursery | None = None
        self._flushes: list[Callable[[], None]] = []
        self._flusher: Task | None = None
        self._watcher: Task | None = None

    def __repr__(self) -> str:
        state = "ended" if self.ended.is_reached else "open"
        return f"<TrioThread {self.name} {state}, {len(self._calls)} calls>"

    # ------------------------------------------------------------- from any thread

    def start(self) -> None:
        """Start the thread. It has the context variables of the caller."""
        context = contextvars.copy_context()
        self._thread = threading.Thread(
            target=context.run, args=(self._main,), name=f"callsheet {self.name}", daemon=True
        )
        self._thread.start()
        atexit.register(self._stop_at_exit)
        _threads.add(self)

    def add(self, call: DoorCall[ResourceT, Any]) -> None:
        """Let a call begin; `wake` sends it.

        Args:
            call: the call, which is settled once from here on.

        Raises:
            DoorClosed: the thread takes no calls any more.
        """
        if self._is_stopping or not self._calls.add(call):
            raise self._closed()
        self._commands.append(lambda: self._begin(call))

    def give_up(self, call: DoorCall[ResourceT, Any]) -> None:
        """Cancel a call whose caller does not wait any more; nothing, if it is settled.

        Args:
            call: a call that was added.
        """
        if self._calls.take(call):
            self.post(call.scope.cancel)

    def post(self, command: Callable[[], None]) -> None:
        """Run a function in Trio's thread; nothing, if that has ended.

        Args:
            command: must neither raise nor block.
        """
        self._commands.append(command)
        self.wake()

    def wake(self) -> None:
        """Let Trio's thread look at its commands."""
        if not self._is_awake and self._token is not None:
            self._is_awake = True
            try:
                self._token.run_sync_soon(self._obey)
            except trio.RunFinishedError:
                return  # each call that is open is settled at the end of the thread

    def stop(self, *, at_once: bool) -> None:
        """Refuse further calls and let the thread end; `ended` is reached then.

        Args:
            at_once: whether to cancel the calls in flight, as an exception in the block does.
                Otherwise they are drained, as at the normal end of the block.
        """
        self._is_stopping = True
        self.post(self._scope.cancel if at_once else self._stopping.set)

    def check_opened(self) -> None:
        """Raise what has ended the thread, if it could not open the thing.

        Raises:
            BaseException: what the opening raised.
        """
        if self.error is not None:
            self.join()

    def join(self) -> None:
        """Wait for the last moment of the thread, after `ended`.

        Raises:
            BaseException: what has ended the thread, if that was an error.
        """
        self._thread.join()
        if self.error is not None:
            raise copy_of(self.error)

    def end_in_fork(self) -> None:
        """Settle what is open, in a process that has everything of this thread but the thread.

        Nothing is written there: the sockets are shared with the process that has the thread.
        """
        self._is_forked = True
        self._token = self._flusher = None
        self.started, self.ended = Milestone(), Milestone()  # the locks may be held, for ever
        self._settle_rest()
        self.started.reach()
        self.ended.reach()

    def _closed(self) -> DoorClosed:
        if self._is_forked:
            return DoorClosed(
                f"this {self.name} was opened in another process; open one after the fork"
            )
        error = self.error
        reason = "" if error is None else f" after {type(error).__name__}: {text_of(error)}"
        closed = DoorClosed(f"the {self.name} is closed{reason}")
        closed.__cause__ = error
        return closed

    def _settle_rest(self) -> None:
        for call in self._calls.close():
            call.settle(None, self._closed())

    def _stop_at_exit(self) -> None:
        self.stop(at_once=True)
        self.ended.wait(_EXIT_S)

    # ------------------------------------------------------------- in Trio's thread

    def at_end_of_round(self, flush: Callable[[], None]) -> None:
        """Call a function when the tasks that are ready now have run.

        What a whole round of Trio's loop has for an event loop then wakes that loop once.

        Args:
            flush: must neither raise nor block.
        """
        self._flushes.append(flush)
        if self._flusher is not None:
            task, self._flusher = self._flusher, None
            reschedule(task)

    def _main(self) -> None:
        try:
            trio.run(self._run)
        except BaseException as error:  # noqa: BLE001  # `join` raises it
            self.error = error
        finally:
            self._settle_rest()
            self._flush()
            self.started.reach()
            self.ended.reach()
            atexit.unregister(self._stop_at_exit)

    async def _run(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self.wake()  # for what was posted before
        with self._scope:
            async with open_collapsing_nursery() as nursery:
                nursery.start_soon(self._flush_rounds)
                nursery.start_soon(self._watch_orphans)
                async with self._opening() as self.resource:
                    self._nursery = nursery
                    self.started.reach()
                    await self._stopping.wait()
                nursery.cancel_scope.cancel()

    def _obey(self) -> None:
        """Run the commands. What this does not see makes another wake-up."""
        self._is_awake = False
        commands = self._commands
        while commands:
            commands.popleft()()

    def _begin(self, call: DoorCall[ResourceT, Any]) -> None:
        if self._nursery is None:
            return  # it is settled at the end of the thread
        try:
            call.context.run(self._nursery.start_soon, self._work, call)
        except RuntimeError:  # the nursery has closed, so the end of the thread is near
            return
        if self._watcher is not None:
            task, self._watcher = self._watcher, None
            reschedule(task)

    async def _work(self, call: DoorCall[ResourceT, Any]) -> None:
        """Do the work of one call. Cancelled by the end of the thread, it is settled there."""
        with call.scope:
            try:
                value = await call.work(self.resource)
            except ActorStopped as error:  # what the calls use ends, and the thread after it
                if self._calls.take(call):
                    closed = DoorClosed(f"the {self.name} closes: {error}")
                    closed.__cause__ = copy_of(error)
                    call.settle(None, closed)
                error.__traceback__ = None  # as below
            except Exception as error:  # noqa: BLE001  # the caller gets it
                if self._calls.take(call):
                    call.settle(None, copy_of(error))
                error.__traceback__ = None  # another call may get the same error
            else:
                if self._calls.take(call):
                    call.settle(value, None)
            return
        if self._calls.take(call):  # cancelled by its caller, who waits for that
            call.settle(None, None)

    async def _flush_rounds(self) -> None:
        while True:
            self._flush()
            self._flusher = current_task()
            await wait_task_rescheduled(self._forget_flusher)

    def _forget_flusher(self, _: object) -> Abort:
        self._flusher = None  # at once: it is rescheduled by its cancellation
        return Abort.SUCCEEDED

    def _flush(self) -> None:
        flushes, self._flushes = self._flushes, []
        for flush in flushes:
            flush()

    async def _watch_orphans(self) -> None:
        """Cancel the calls of event loops that were closed, which asyncio does not report."""
        while True:
            if not self._calls:
                self._watcher = current_task()
                await wait_task_rescheduled(self._forget_watcher)
            await trio.sleep(_ORPHANS_S)
            for call in self._calls:
                if call.is_orphaned and self._calls.take(call):
                    call.scope.cancel()

    def _forget_watcher(self, _: object) -> Abort:
        self._watcher = None  # as the flusher
        return Abort.SUCCEEDED


_threads: "WeakSet[TrioThread[Any]]" = WeakSet()


def _end_in_fork() -> None:
    for thread in list(_threads):
        thread.end_in_fork()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_end_in_fork)


def copy_of(error: ErrorT) -> ErrorT:
    """Return a copy of an error, with its cause, its notes and its traceback.

    The runtime may give one error to several callers. Each `raise` adds to the traceback of the
    object that it raises, so that each caller raises an object of its own.

    Args:
        error: the error as Trio's side has it.
    """
    kind = type(error)
    if any(vars(base).get("__slots__") for base in kind.__mro__):
        return error  # its members may be in slots, which only the class knows to copy
    try:
        if isinstance(kind.__init__, FunctionType):  # whose arguments may differ from `args`
            copied = kind.__new__(kind, *error.args)
            copied.__dict__.update(error.__dict__)
        else:
            copied = copy(error)
    except Exception:  # noqa: BLE001  # a class with rules of its own: the error itself will do
        return error
    copied.args = error.args
    if hasattr(error, "__notes__"):
        copied.__notes__ = [*error.__notes__]
    copied.__cause__ = error.__cause__
    copied.__context__ = error.__context__
    copied.__suppress_context__ = error.__suppress_context__
    return copied.with_traceback(error.__traceback__)
