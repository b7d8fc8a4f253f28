"""Send messages from threads that do not run Trio."""

from collections.abc import Awaitable, Callable
from concurrent.futures import Future, InvalidStateError
from contextvars import copy_context
from functools import partial
from math import inf
from threading import Lock
from typing import Any, TypeVar, final

import trio

from ._core import Askable, Message, Ref, check_seconds
from .errors import PortalClosed

M = TypeVar("M", bound=Message[object])
R = TypeVar("R")


@final
class Portal:
    """Sends messages to actors from any thread but the one that runs the runtime.

        portal = runtime.portal()  # in the runtime's thread
        total = portal.ask(counter, Add(1), timeout=5)  # in another one

    The calls run in the runtime's own nursery (R1). A call that is in flight when the runtime ends
    fails; none waits for ever. Each has the context variables of the thread that makes it, so in a
    thread that a handler has started, it inherits the deadline of the handler's message (R4). Made
    by `Runtime.portal`.

    Args:
        nursery: the nursery in which the calls run; it ends with the runtime.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._token = trio.lowlevel.current_trio_token()
        self._lock = Lock()
        self._pending: set[Future[Any]] | None = set()  # None after `close`

    def tell(self, ref: Ref[M], message: Askable[Ref[M], object]) -> None:
        """Send a message; block until there is room for it.

        Args:
            ref: the actor to which the message is sent.
            message: the message to send.

        Raises:
            PortalClosed: the runtime has ended.
            RuntimeError: the current thread is the one that runs Trio.
            Exception: as `Ref.tell`.
        """
        self._refuse_own_thread()

        async def tell() -> None:
            await ref.tell(message)

        self._wait(self._begin(tell))

    def ask(self, ref: Ref[M], message: Askable[Ref[M], R], *, timeout: float = inf) -> R:
        """Send a message and block until the reply is there.

        Args:
            ref: the actor to which the message is sent.
            message: the message to send; its type argument is the type of the reply.
            timeout: seconds until the reply is due, the wait for room in the mailbox included.

        Returns:
            The reply.

        Raises:
            PortalClosed: the runtime has ended.
            RuntimeError: the current thread is the one that runs Trio.
            Exception: as `Ref.ask`.
        """
        self._refuse_own_thread()
        return self._wait(self.submit(ref, message, timeout=timeout))

    def submit(
        self, ref: Ref[M], message: Askable[Ref[M], R], *, timeout: float = inf
    ) -> "Future[R]":
        """Send a message and return a future of the reply, without blocking.

        Args:
            ref: the actor to which the message is sent.
            message: the message to send; its type argument is the type of the reply.
            timeout: seconds until the reply is due, the wait for room in the mailbox included.

        Returns:
            The future. ``future.cancel()`` gives up on the reply: a queued message is skipped, a
            running handler is cancelled (R4).

        Raises:
            PortalClosed: the runtime has ended.
            TypeError: the timeout is not a number.
            ValueError: the timeout is nan.
        """
        check_seconds("timeout", timeout)

        async def ask() -> R:
            return await ref.ask(message, timeout=timeout)

        return self._begin(ask)

    def close(self) -> None:
        """Fail the calls in flight, and refuse further ones; for the runtime itself."""
        with self._lock:
            pending, self._pending = self._pending or set(), None
        for future in pending:
            _settle(partial(future.set_exception, _closed()))

    def _begin(self, call: Callable[[], Awaitable[R]]) -> "Future[R]":
        future: Future[R] = Future()
        scope = trio.CancelScope()
        context = copy_context()  # of the other thread: what it works for, and its trace
        with self._lock:
            if self._pending is None:
                raise _closed()
            self._pending.add(future)

        async def run() -> None:
            with scope:
                try:
                    value = await call()
                except Exception as error:  # noqa: BLE001  # the other thread gets it
                    _settle(partial(future.set_exception, error))
                except BaseException:  # the runtime is cancelled, and may wait for this thread
                    _settle(partial(future.set_exception, _closed()))
                    raise
                else:
                    _settle(partial(future.set_result, value))

        def start() -> None:
            if self._pending is None or future.cancelled():
                return
            try:
                context.run(self._nursery.start_soon, run)
            except RuntimeError:  # the nursery has closed, and the end of the runtime is near
                _settle(partial(future.set_exception, _closed()))

        def settled(_: object) -> None:
            with self._lock:
                if self._pending is not None:
                    self._pending.discard(future)
            if future.cancelled():
                self._soon(scope.cancel)

        future.add_done_callback(settled)
        self._soon(start)
        return future

    def _soon(self, call: Callable[[], None]) -> None:
        try:
            self._token.run_sync_soon(call)
        except trio.RunFinishedError:
            self.close()

    def _wait(self, future: "Future[R]") -> R:
        try:
            return future.result()
        except BaseException:
            future.cancel()  # for example at a KeyboardInterrupt; else it is done already
            raise

    def _refuse_own_thread(self) -> None:
        if trio.lowlevel.in_trio_run():
            raise RuntimeError(
                "a portal call would block the thread that runs Trio; call the ref itself there"
            )


def _closed() -> PortalClosed:
    return PortalClosed("the runtime of this portal has ended")


def _settle(settle: Callable[[], None]) -> None:
    """Fill a future, unless it was cancelled or filled before."""
    try:
        settle()
    except InvalidStateError:
        return
