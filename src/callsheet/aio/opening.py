"""Open something in a Trio thread for the block of an asyncio program, and close it at its end."""

import asyncio
import warnings
import weakref
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar, final

from ..doors import TrioThread
from .bridge import AsyncioDoor, running_loop, wait_for

ResourceT = TypeVar("ResourceT")
HandleT = TypeVar("HandleT")


@final
class AsyncioOpening(AbstractAsyncContextManager[HandleT], Generic[ResourceT, HandleT]):
    """Opens something in a Trio thread of its own, and provides a handle for asyncio.

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
        make_handle: Callable[[AsyncioDoor[ResourceT]], HandleT],
    ) -> None:
        self._opening = opening
        self._name = name
        self._make_handle = make_handle
        self._is_open = False

    async def __aenter__(self) -> HandleT:
        running_loop(self._name)
        if self._is_open:
            raise RuntimeError(f"this {self._name} is open already; make another one")
        self._thread = thread = TrioThread(self._opening, self._name)
        thread.start()
        try:
            await wait_for(thread.started)
        except BaseException:
            await _close(thread, at_once=True)
            raise
        thread.check_opened()
        self._handle = handle = self._make_handle(AsyncioDoor(thread))
        # A loop that is closed inside the block never leaves it.
        self._finalizer = weakref.finalize(handle, _abandon, thread)
        self._finalizer.atexit = False
        self._is_open = True
        return handle

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_open = False
        self._finalizer.detach()
        if kind is GeneratorExit:  # the coroutine of the block is thrown away: it may not wait
            self._thread.stop(at_once=True)
            return
        await _close(self._thread, at_once=kind is not None)
        self._thread.join()

    if not TYPE_CHECKING:  # type checkers refuse `with` by themselves

        def __enter__(self) -> NoReturn:
            raise RuntimeError(
                f"the {self._name} of callsheet.aio needs `async with`; for `with`, import it from "
                "callsheet.sync"
            )

        def __exit__(self, *_: object) -> None:
            """Do nothing: the block is never entered."""

        def __getattr__(self, name: str) -> NoReturn:
            lacks = f"{type(self).__name__!r} object has no attribute {name!r}"
            if not name.startswith("_"):  # an SDK's client is used without a block
                lacks += f": the {self._name} is what `async with ... as` provides"
            raise AttributeError(lacks, name=name, obj=self)


async def _close(thread: TrioThread[Any], *, at_once: bool) -> None:
    """Stop a thread and wait for its end. The first cancellation makes it stop at once."""
    cancelled: asyncio.CancelledError | None = None
    thread.stop(at_once=at_once)
    while not thread.ended.is_reached:
        try:
            await wait_for(thread.ended)
        except asyncio.CancelledError as error:
            cancelled = error
            thread.stop(at_once=True)
    if cancelled is not None:
        raise cancelled


def _abandon(thread: TrioThread[Any]) -> None:
    thread.stop(at_once=True)  # first: a program may turn the warning into an error
    warnings.warn(
        f"the {thread.name} was not closed: leave its block before the event loop is closed",
        ResourceWarning,
        stacklevel=2,
    )
