"""Refs: how to send messages to an actor's place, whichever incarnation runs there (R2)."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from math import inf
from threading import get_ident
from typing import TYPE_CHECKING, Any, Generic, Never, Protocol, Self, TypeAlias, TypeVar

import trio
from trio import current_effective_deadline
from trio.lowlevel import current_task, wait_task_rescheduled

from ..errors import Deadlock, MailboxFull
from .checks import check_seconds, check_thread
from .reply import Message, ReplySlot, current_slot
from .snapshot import Ended
from .stream import AskStream, StreamSink
from .worker import (
    Room,
    Worker,
    check_deadlock,
    current_worker,
    find_cycle,
    waiting,
    waiting_worker,
)

if TYPE_CHECKING:
    from typing_extensions import TypeVar as TypeVarWithDefault

    from .inbox import Inbox

    # For type checkers, `Ref` alone means a ref that takes every message.
    M_contra = TypeVarWithDefault(
        "M_contra", bound=Message[object], contravariant=True, default=Message[object]
    )
else:
    M_contra = TypeVar("M_contra", contravariant=True)

R = TypeVar("R")
T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)
RefT = TypeVar("RefT", bound="Ref[Never]")
_LONG_S = 1e15  # beyond this, a timeout is checked: it may be too large for a float, or nan
RefT_contra = TypeVar("RefT_contra", contravariant=True)


class Askable(Protocol[RefT_contra, R_co]):
    """What can be asked at a ref of a type, with the type of the reply: a `Message`."""

    def _to(self, ref: RefT_contra, /) -> R_co: ...


class Streamable(Protocol[RefT_contra, R_co]):
    """What can be streamed at a ref of a type, with the type of the items: a `StreamOf`."""

    def _items_to(self, ref: RefT_contra, /) -> R_co: ...


class Ref(Generic[M_contra]):
    """A reference to an actor, valid as long as its runtime; refs to the same actor are equal.

    The type argument is the messages that the actor takes, such as ``Ref[Add | Get]``. A type
    checker then refuses other messages. A ref that takes more messages may stand where one that
    takes fewer is expected, and a bare ``Ref`` takes all. ``AnyRef`` is a ref to any actor, which
    can be stopped or watched, but takes no message.
    """

    __slots__ = ("_cell",)

    def __init__(self, cell: "Inbox") -> None:
        self._cell = cell

    @property
    def path(self) -> str:
        """The names from the root down to the actor, such as ``blog/limiter``."""
        return self._cell.path

    @property
    def load(self) -> int:
        """The number of messages that wait at the actor or are in progress."""
        return self._cell.load

    @property
    def has_room(self) -> bool:
        """Whether the mailbox has room for another message."""
        return self._cell.mailbox.has_room

    def when_room(self, callback: Callable[[], None]) -> None:
        """Call back once, when the next message is taken out of the mailbox.

        Args:
            callback: called in the actor's own task; it must not raise or block. If it is passed
                again before the call, it is still called once.

        Raises:
            RuntimeError: the current thread does not run the runtime.
        """
        check_thread(self._cell)
        self._cell.mailbox.when_room(callback)

    def __repr__(self) -> str:
        cell = self._cell
        return f"<Ref {cell.path} {cell.state.value}, {len(cell.mailbox)} waiting>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ref) and other._cell is self._cell

    def __hash__(self) -> int:
        return hash(self._cell)

    def tell_nowait(self, message: Askable[Self, object]) -> None:
        """Send a message without waiting for room or for a reply.

        Args:
            message: the message to send.

        Raises:
            RuntimeError: the current thread does not run the runtime; use `Runtime.portal` there.
            MailboxFull: the mailbox is full.
            ActorStopped: the actor accepts no messages any more.
            UnhandledMessage: the actor has no handler for this type of message.
        """
        cell = self._cell
        # In Trio's guest mode the thread alone does not show that the run may be changed now.
        if get_ident() != cell.thread or cell.parked or cell.is_idle:
            check_thread(cell)
        if not cell.try_put(message, None, cell.now()):  # type: ignore[arg-type]  # only messages are `Askable`
            raise MailboxFull(cell.path, cell.mailbox.capacity)

    async def tell(self, message: Askable[Self, object]) -> None:
        """Send a message; wait for room, but not for a reply.

        Always a checkpoint. The message has no deadline, since no caller waits for a
        reply.

        Args:
            message: the message to send.

        Raises:
            MailboxFull: the mailbox is full, and its policy is "reject" (R5).
            ActorStopped: the actor accepts no messages any more.
            Deadlock: the actor itself waits, directly or indirectly, for the sender.
            UnhandledMessage: the actor has no handler for this type of message.
        """
        if get_ident() != self._cell.thread:
            check_thread(self._cell)
        await self.deliver(message, None)  # type: ignore[arg-type]  # as above

    async def ask(self, message: Askable[Self, R], *, timeout: float = inf) -> R:
        """Send a message and wait for the reply.

        The reply is due after `timeout`, at the deadline of the message that the caller itself
        handles, or at the deadline of the enclosing cancel scopes, whichever is first (R4). At that
        time, or when the caller is cancelled, a queued message is skipped and a running handler is
        cancelled.

        Args:
            message: the message to send; its type argument is the type of the reply.
            timeout: seconds until the reply is due, the wait for room in the mailbox included.

        Returns:
            The reply.

        Raises:
            AskTimedOut: the reply did not arrive in time. If a cancel scope of the caller expires,
                that scope cancels the ask instead.
            ActorCrashed: the actor crashed while it handled the message.
            ActorStopped: the actor is stopped, or was stopped before it replied.
            MailboxFull: the mailbox is full, and its policy is "reject" (R5).
            Dropped: the mailbox dropped the message (R5).
            Deadlock: the actor itself waits, directly or indirectly, for the caller.
            UnhandledMessage: the actor has no handler for this type of message.
            Exception: any error that the handler declares (R8).
        """
        cell = self._cell
        if get_ident() != cell.thread:  # faster than `check_thread`, and made for each ask
            check_thread(cell)
        now = cell.now()
        slot: ReplySlot[R] = ReplySlot()
        due = self._prepare(message, slot, timeout, now)  # type: ignore[arg-type]  # as above
        try:
            if not cell.try_put(message, slot, now):  # type: ignore[arg-type]  # as above
                scopes = current_effective_deadline()
                with trio.CancelScope(deadline=due) as wait:
                    await self.wait_for_room(message, slot, scopes)  # type: ignore[arg-type]  # as above
                if wait.cancelled_caught:
                    slot.expire()  # the deadline task may have ended with the runtime
            worker = current_worker.get()
            task = current_task()
            if worker is None or worker.task is not task:
                # As `slot.wait`, without a further coroutine for each ask.
                if slot.outcome is None:
                    slot.task = task
                    await wait_task_rescheduled(slot.abort)
                else:
                    await trio.lowlevel.checkpoint()
                return slot.result()
            worker.waits_for = slot
            worker.is_limited = timeout < inf or current_effective_deadline() < worker.task_limit
            slot.caller = worker
            try:
                check_deadlock(worker)
                return await slot.wait()
            finally:
                worker.waits_for = None
                worker.is_limited = False
        except BaseException:
            slot.cancel()
            slot.error = None  # a handler's frame in its traceback may have the slot
            raise
        finally:
            del slot  # else an error, its traceback and the slot are a reference cycle

    async def submit(self, message: Askable[Self, R], *, deadline: float = inf) -> ReplySlot[R]:
        """Send a message, wait for room only, and return the slot for the reply.

        This is an ask without a waiting task: ``slot.on_settled`` reports the reply, and
        ``slot.cancel`` gives up on it.

        Args:
            message: the message to send; its type argument is the type of the reply.
            deadline: when the reply is due, in seconds on Trio's clock. The wait for room ends
                then, too.

        Returns:
            The slot; it is filled already if the deadline passed while the message waited for room.

        Raises:
            MailboxFull: the mailbox is full, and its policy is "reject" (R5).
            ActorStopped: the actor accepts no messages any more.
            Deadlock: the actor itself waits, directly or indirectly, for the sender.
            UnhandledMessage: the actor has no handler for this type of message.
        """
        slot = self._submitted(message, deadline)
        if deadline == inf:
            await self.deliver(message, slot)  # type: ignore[arg-type]  # as above
            return slot
        with trio.CancelScope(deadline=deadline) as wait:
            await self.deliver(message, slot)  # type: ignore[arg-type]  # as above
        if wait.cancelled_caught:
            slot.expire()  # the deadline task may have ended with the runtime
        return slot

    def submit_nowait(self, message: Askable[Self, R], *, deadline: float = inf) -> ReplySlot[R]:
        """Send a message without waiting for room, and return the slot for the reply.

        It is no checkpoint, so that a burst of messages wakes the actor once.

        Args:
            message: the message to send; its type argument is the type of the reply.
            deadline: when the reply is due, in seconds on Trio's clock.

        Returns:
            The slot, as `submit` does.

        Raises:
            MailboxFull: the mailbox is full.
            ActorStopped: the actor accepts no messages any more.
            UnhandledMessage: the actor has no handler for this type of message.
        """
        slot = self._submitted(message, deadline)
        if not self.try_deliver(message, slot):  # type: ignore[arg-type]  # as above
            slot.cancel()
            raise MailboxFull(self._cell.path, self._cell.mailbox.capacity)
        return slot

    def _submitted(self, message: Askable[Self, R], deadline: float) -> ReplySlot[R]:
        """Return the slot of a message that is submitted."""
        check_thread(self._cell)
        check_seconds("deadline", deadline)
        slot: ReplySlot[R] = ReplySlot()
        slot.is_submitted = True
        slot.deadline = slot.limit = deadline
        slot.message = message  # type: ignore[assignment]  # as above
        slot.receiver, cause = self._cell, current_slot.get()
        if cause is not None and _is_of_run(cause, self._cell):
            slot.cause = cause
        if deadline < inf:
            slot.watch(self._cell.deadlines, deadline)
        return slot

    @asynccontextmanager
    async def stream(
        self, message: Streamable[Self, T], *, buffer: int = 16, timeout: float = inf
    ) -> AsyncGenerator[AskStream[T]]:
        """Ask for a stream of items; leaving the block cancels the rest of it.

            async with ref.stream(Tail("log")) as lines:
                async for line in lines:
                    ...

        Args:
            message: the message to send; its type argument is the type of the items.
            buffer: number of items that may wait for the consumer; beyond that the handler waits.
            timeout: seconds for the whole stream, the wait for room in the mailbox included.

        Raises:
            MailboxFull: the mailbox is full, and its policy is "reject" (R5).
            ActorStopped: the actor accepts no messages any more.
            Deadlock: the actor itself waits, directly or indirectly, for the caller.
            UnhandledMessage: the actor has no handler for this type of message.
            Exception: the iteration raises the other errors of `ask`.
        """
        if type(buffer) is not int or buffer < 0:
            raise ValueError(f"buffer must be a whole number of at least 0, not {buffer!r}")
        check_thread(self._cell)
        sending, receiving = trio.open_memory_channel[T](buffer)
        slot: ReplySlot[None] = ReplySlot()
        sink = slot.sink = StreamSink(sending, slot)
        slot.on_settled(lambda _: sending.close())
        try:
            due = self._prepare(message, slot, timeout, self._cell.now())  # type: ignore[arg-type]  # as above
            with trio.CancelScope(deadline=due) as wait:
                await self.deliver(message, slot)  # type: ignore[arg-type]  # as above
            if wait.cancelled_caught:
                slot.expire()  # the deadline task may have ended with the runtime
            yield AskStream(receiving, slot)
        finally:
            slot.cancel()
            receiving.close()
            sink.detach()
            slot.error = None  # it was raised, and its traceback has the slot

    async def wait_stopped(self) -> Ended:
        """Wait until the actor is stopped, for good or until it is started again.

        Returns:
            The reason.

        Raises:
            Deadlock: the actor cannot stop, since it waits, directly or indirectly, for the caller.
        """
        check_thread(self._cell)
        if self._cell.ended is not None:
            await trio.lowlevel.checkpoint()
            return self._cell.ended
        endings: list[Ended] = []
        stopped = trio.Event()

        def note(ended: Ended) -> None:
            endings.append(ended)
            stopped.set()

        self._cell.on_ended(note)
        try:
            with waiting(lambda: self._cell.working, self._cell.spec.stop_s):
                await stopped.wait()
        finally:
            self._cell.forget_watch(note)
        return endings[0]

    async def deliver(self, message: Message[object], slot: ReplySlot[Any] | None) -> None:
        """Send a message with its slot; for the runtime itself. Always a checkpoint."""
        if self.try_deliver(message, slot):
            await trio.lowlevel.checkpoint()
        else:
            await self.wait_for_room(message, slot, current_effective_deadline())

    def try_deliver(self, message: Message[object], slot: ReplySlot[Any] | None) -> bool:
        """Send a message with its slot; return False if the sender may wait for room."""
        has_room = self._cell.try_put(message, slot, self._cell.now())
        if slot is not None and slot.caller is not None:
            _fail_if_cycle(slot, slot.caller)
        return has_room or (slot is not None and slot.done)

    async def wait_for_room(
        self, message: Message[object], slot: ReplySlot[Any] | None, scopes: float
    ) -> None:
        """Wait for room; `scopes` is when the sender's own cancel scopes end the wait."""
        worker = waiting_worker()
        if worker is None:
            await self._cell.put(message, slot)
            return
        worker.waits_for = Room(self._cell, current_task())
        worker.ends_by = current_effective_deadline()
        worker.is_limited = scopes < worker.task_limit or (slot is not None and slot.limit < inf)
        try:
            check_deadlock(worker)
            await self._cell.put(message, slot)
        finally:
            worker.waits_for = None
            worker.ends_by = inf
            worker.is_limited = False

    def _prepare(
        self, message: Message[object], slot: ReplySlot[R], timeout: float, now: float
    ) -> float:
        """Set a slot's limit, deadline and cause; return when the ask expires by them."""
        slot.message = message
        slot.receiver = self._cell
        if timeout == inf:
            due = limit = inf
        else:
            kind = timeout.__class__
            if (kind is not float and kind is not int) or not timeout < _LONG_S:
                check_seconds("timeout", timeout)  # only then: it takes 2 % of an ask
            due = limit = slot.limit = now + timeout
        deadline = current_effective_deadline()
        cause = current_slot.get()
        if cause is not None and _is_of_run(cause, self._cell):
            slot.cause = cause
            if cause.outcome is None:
                limit = min(limit, cause.inherited_limit)
                deadline = min(deadline, cause.deadline)
        slot.deadline = limit if limit < deadline else deadline  # noqa: FURB136  # faster than `min`
        # Not at the deadline of the scopes: they cancel the ask, and may be moved before that.
        if limit < inf:
            if limit == due:
                slot.watch_after(self._cell.deadlines, timeout, due)
            else:
                slot.watch(self._cell.deadlines, limit)
        return limit


AnyRef: TypeAlias = Ref[Never]
"""A ref to any actor. It can be stopped or watched, but accepts no messages."""


def cell_of(ref: AnyRef) -> "Inbox":
    """Return where the messages for an actor arrive.

    Raises:
        TypeError: `ref` is no ref, such as the name of an actor.
    """
    if not isinstance(ref, Ref):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
        raise TypeError(
            f"a ref is needed, as `spawn` returns it or `runtime.ref(path)` finds it, not {ref!r}"
        )
    return ref._cell  # noqa: SLF001  # its own module


def _is_of_run(cause: ReplySlot[Any], cell: "Inbox") -> bool:
    """Return whether the slot that a task works for belongs to the Trio run of an actor.

    Context variables go along to other threads, and from there to another run, whose clock has
    nothing in common with that of the slot's deadline.
    """
    return cause.receiver is None or cause.receiver.thread == cell.thread


def _fail_if_cycle(slot: ReplySlot[Any], caller: Worker) -> None:
    """Fail a forwarded message that can never be handled because its caller waits for it."""
    if caller.waits_for is slot or isinstance(caller.waits_for, AskStream):
        cycle = find_cycle(caller)
        if cycle is not None:
            slot.fail(Deadlock(cycle))
