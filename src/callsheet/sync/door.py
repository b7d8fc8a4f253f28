"""The way from plain threads to a Trio thread that is open for the length of a block."""

import threading
import warnings
import weakref
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar, final

import trio

from ..doors import DoorCall, TrioThread

T = TypeVar("T")
ResourceT = TypeVar("ResourceT")
HandleT = TypeVar("HandleT")


class BlockingCall(DoorCall[ResourceT, T]):
    """A call for which a thread waits.

    Args:
        work: as for `DoorCall`.
    """

    __slots__ = ("_news",)

    def __init__(self, work: Callable[[ResourceT], Awaitable[T]]) -> None:
        super().__init__(work)
        self._news = threading.Event()

    def report(self) -> None:
        """Wake the caller: the call is settled, or has more pieces. Called in Trio's thread."""
        self._news.set()

    def wait_for_news(self) -> None:
        """Block until the call is settled, or there are more pieces."""
        self._news.wait()

    def forget_news(self) -> None:
        """Let the next `wait_for_news` wait for what comes from here on."""
        self._news.clear()


@final
class BlockingDoor(Generic[ResourceT]):
    """The calls from any number of threads to one Trio thread.

    Args:
        thread: the Trio thread.
    """

    def __init__(self, thread: TrioThread[ResourceT]) -> None:
        self.thread = thread

    def begin(self, call: BlockingCall[ResourceT, T]) -> None:
        """Let a call begin.

        Args:
            call: the call, which nothing has begun yet.

        Raises:
            DoorClosed: the thread takes no calls any more.
            RuntimeError: the current thread runs Trio, which the call would block.
        """
        refuse_trio(self.thread.name)
        self.thread.add(call)
        self.thread.wake()

    def call(self, work: Callable[[ResourceT], Awaitable[T]]) -> T:
        """Run some work in a task of Trio, and block until it has ended.

        Args:
            work: gets what the thread has opened.

        Raises:
            DoorClosed: the door is closed.
            RuntimeError: the current thread runs Trio, which the call would block.
            Exception: what the work raises.
        """
        call = BlockingCall(work)
        self.begin(call)
        try:
            call.wait_for_news()
        except BaseException:  # such as KeyboardInterrupt
            self.thread.give_up(call)
            raise
        return call.result()


@final
class BlockingOpening(AbstractContextManager[HandleT], Generic[ResourceT, HandleT]):
    """Opens something in a Trio thread of its own, and provides a handle for plain threads.

    Left normally, the block drains the calls in flight; left by an exception, it cancels them. An
    error that ends the thread comes out of the block, as it does under Trio.

    Args:
        opening: opens the thing in Trio.
        name: what it is, for errors.
        make_handle: makes the handle from the calls to the thread.
    """

    def __init__(
        self,
        opening: Callable[[], AbstractAsyncContextManager[ResourceT]],
        name: str,
        make_handle: Callable[[BlockingDoor[ResourceT]], HandleT],
    ) -> None:
        self._opening = opening
        self._name = name
        self._make_handle = make_handle
        self._is_open = False

    def __enter__(self) -> HandleT:
        refuse_trio(self._name)
        if self._is_open:
            raise RuntimeError(f"this {self._name} is open already; make another one")
        self._thread = thread = TrioThread(self._opening, self._name)
        thread.start()
        try:
            thread.started.wait()
        except BaseException:
            _close(thread, at_once=True)
            raise
        thread.check_opened()
        self._handle = handle = self._make_handle(BlockingDoor(thread))
        self._finalizer = weakref.finalize(handle, _abandon, thread)
        self._finalizer.atexit = False
        self._is_open = True
        return handle

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_open = False
        self._finalizer.detach()
        _close(self._thread, at_once=kind is not None)
        self._thread.join()

    if not TYPE_CHECKING:  # type checkers refuse `async with` by themselves

        async def __aenter__(self) -> NoReturn:
            raise RuntimeError(
                f"the {self._name} of callsheet.sync needs `with`; for `async with`, import it "
                "from callsheet under Trio, or from callsheet.aio under asyncio"
            )

        async def __aexit__(self, *_: object) -> None:
            """Do nothing: the block is never entered."""

        def __getattr__(self, name: str) -> NoReturn:
            lacks = f"{type(self).__name__!r} object has no attribute {name!r}"
            if not name.startswith("_"):  # an SDK's client is used without a block
                lacks += f": the {self._name} is what `with ... as` provides"
            raise AttributeError(lacks, name=name, obj=self)


def refuse_trio(name: str) -> None:
    """Refuse to block a thread that runs Trio.

    Args:
        name: what the caller uses, for the error.

    Raises:
        RuntimeError: the current thread runs Trio; the message says what to use.
    """
    if trio.lowlevel.in_trio_run():
        raise RuntimeError(
            f"the {name} of callsheet.sync would block Trio; under Trio, import it from callsheet"
        )


def _close(thread: TrioThread[Any], *, at_once: bool) -> None:
    """Stop a thread and wait for its end. After an interrupt it stops at once."""
    thread.stop(at_once=at_once)
    try:
        thread.ended.wait()
    except BaseException:
        thread.stop(at_once=True)
        thread.ended.wait()
        raise


def _abandon(thread: TrioThread[Any]) -> None:
    thread.stop(at_once=True)  # first: a program may turn the warning into an error
    warnings.warn(f"the {thread.name} was not closed", ResourceWarning, stacklevel=2)
