"""A reference to an actor's place: how to send to it, whatever incarnation is there."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from math import inf
from typing import TYPE_CHECKING, Any, TypeVar, final

import trio
from trio import current_effective_deadline
from trio.lowlevel import current_task, wait_task_rescheduled

from ..errors import Deadlock, MailboxFull
from .reply import Message, ReplySlot, current_slot
from .snapshot import State
from .stream import AskStream, StreamOf, StreamSink
from .worker import Worker, check_circle, current_worker, find_circle, waiting_worker

if TYPE_CHECKING:
    from .cell import Cell

__all__ = [
    "Ref",
]


R = TypeVar("R")
T = TypeVar("T")


@final
class Ref:
    """Stays valid as long as its runtime; compares equal to another one of the same place."""

    __slots__ = ("_cell",)

    def __init__(self, cell: "Cell") -> None:
        self._cell = cell

    @property
    def path(self) -> str:
        """Where in the tree the actor stands, such as ``blog/limiter``."""
        return self._cell.path

    @property
    def load(self) -> int:
        """Messages that wait there or are in hand."""
        return self._cell.load

    @property
    def has_room(self) -> bool:
        """Whether a message would be taken in at once."""
        mailbox = self._cell.mailbox
        return len(mailbox) < mailbox.capacity

    def when_room(self, callback: Callable[[], None]) -> None:
        """Call back, once, when the next message is taken out of the mailbox.

        The callback runs at once in the actor's own task; it must not raise or wait. Asked for
        twice before that, it is called once.
        """
        self._cell.mailbox.when_room(callback)

    def __repr__(self) -> str:
        cell = self._cell
        return f"<Ref {cell.path} {cell.state.value}, {len(cell.mailbox)} waiting>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ref) and other._cell is self._cell

    def __hash__(self) -> int:
        return hash(self._cell)

    def tell_nowait(self, message: Message[object]) -> None:
        """Send and do not wait, neither for room nor for an answer.

        Raises:
            MailboxFull: there is no room.
            ActorStopped: the actor takes no messages any more.
            UnhandledMessage: it has no handler for this type.
        """
        if not self._cell.try_put(message, None, self._cell.now()):
            raise MailboxFull(self._cell.path, self._cell.mailbox.capacity)

    async def tell(self, message: Message[object]) -> None:
        """Send; wait for room, but not for an answer.

        A checkpoint always. A message that is told has no deadline: nobody waits for it.

        Raises:
            MailboxFull: there is no room, and the mailbox is one that rejects (R5).
            ActorStopped: the actor takes no messages any more.
            Deadlock: the actor waits, in the end, for whoever tells.
            UnhandledMessage: it has no handler for this type.
        """
        await self.deliver(message, None)

    async def ask(self, message: Message[R], *, timeout: float = inf) -> R:
        """Send and wait for the answer.

        The answer is due within `timeout`, by the deadline of the message that the caller is
        itself handling, and by the deadline of the cancel scopes around it, whichever is first
        (R4). When it is due, or the caller is cancelled, work that waits is skipped and work
        that runs is cancelled.

        Args:
            message: what to ask; its type argument is the type of the answer.
            timeout: seconds, waiting for room in the mailbox included.

        Raises:
            AskTimedOut: the answer did not come in time. A cancel scope of the caller's own that
                expires raises its own error instead.
            ActorCrashed: the actor crashed with the message in its hands.
            ActorStopped: the actor is stopped, or was before it got to the message.
            MailboxFull: there is no room, and the mailbox is one that rejects (R5).
            Dropped: the mailbox dropped the message (R5).
            Deadlock: the actor waits, in the end, for whoever asks.
            UnhandledMessage: it has no handler for this type.
            Exception: any error that the handler declares (R8).
        """
        cell = self._cell
        now = cell.now()
        slot: ReplySlot[R] = ReplySlot()
        due = self._prepare(message, slot, timeout, now)
        try:
            if not cell.try_put(message, slot, now):
                with trio.CancelScope(deadline=due) as wait:
                    await self._wait_for_room(message, slot)
                if wait.cancelled_caught:
                    slot.expire()  # at the very end of the runtime nobody else would do it
            worker = current_worker.get()
            task = current_task()
            if worker is None or worker.task is not task:
                # What `slot.wait` does, without a coroutine more for each ask.
                if slot.outcome is None:
                    slot.task = task
                    await wait_task_rescheduled(slot.abort)
                else:
                    await trio.lowlevel.checkpoint()
                return slot.result()
            worker.waits_for = slot
            slot.asker = worker
            try:
                check_circle(worker)
                return await slot.wait()
            finally:
                worker.waits_for = None
        except BaseException:
            slot.cancel()
            raise

    async def submit(self, message: Message[R], *, deadline: float = inf) -> ReplySlot[R]:
        """Send, wait for room only, and get the slot that the answer will go into.

        This is an ask without a task that waits: ``slot.on_settled`` tells of the answer and
        ``slot.cancel`` gives up on it.

        Args:
            message: what to ask.
            deadline: on Trio's clock; waiting for room in the mailbox ends then, too.

        Raises:
            MailboxFull, ActorStopped, Deadlock, UnhandledMessage: as for `tell`.
        """
        slot: ReplySlot[R] = ReplySlot()
        slot.deadline = deadline
        slot.message, slot.asked, slot.cause = message, self._cell, current_slot.get()
        if deadline == inf:
            await self.deliver(message, slot)
            return slot
        slot.watch(self._cell.deadlines, deadline)
        with trio.CancelScope(deadline=deadline) as wait:
            await self.deliver(message, slot)
        if wait.cancelled_caught:
            slot.expire()  # at the very end of the runtime nobody else would do it
        return slot

    @asynccontextmanager
    async def stream(
        self, message: StreamOf[T], *, buffer: int = 16, timeout: float = inf
    ) -> AsyncGenerator[AskStream[T]]:
        """Ask for a stream of items; leaving the block cancels what is left of it.

            async with ref.stream(Tail("log")) as lines:
                async for line in lines:
                    ...

        Args:
            message: what to ask.
            buffer: items that may wait for the consumer; then the handler waits.
            timeout: seconds for all of it.

        Raises:
            MailboxFull, ActorStopped, Deadlock, UnhandledMessage: as for `tell`. What else an
                ask may raise, iterating raises.
        """
        sending, receiving = trio.open_memory_channel[T](buffer)
        slot: ReplySlot[None] = ReplySlot()
        slot.sink = StreamSink(sending)
        slot.on_settled(lambda _: sending.close())
        try:
            due = self._prepare(message, slot, timeout, trio.current_time())
            with trio.CancelScope(deadline=due) as wait:
                await self.deliver(message, slot)
            if wait.cancelled_caught:
                slot.expire()  # at the very end of the runtime nobody else would do it
            yield AskStream(receiving, slot)
        finally:
            slot.cancel()
            receiving.close()

    async def wait_stopped(self) -> None:
        """Wait until the actor has ended for good, or rests."""
        await self._cell.states.wait_for(State.STOPPED)

    async def deliver(self, message: Message[object], slot: ReplySlot[Any] | None) -> None:
        """The runtime's: send a message with the slot it has; always a checkpoint."""
        has_room = self._cell.try_put(message, slot, trio.current_time())
        if slot is not None and slot.asker is not None:
            _break_circle(slot, slot.asker)
        if has_room or (slot is not None and slot.done):
            await trio.lowlevel.checkpoint()
        else:
            await self._wait_for_room(message, slot)

    async def _wait_for_room(self, message: Message[object], slot: ReplySlot[Any] | None) -> None:
        worker = waiting_worker()
        if worker is None:
            await self._cell.put(message, slot)
            return
        worker.waits_for = self._cell
        try:
            check_circle(worker)
            await self._cell.put(message, slot)
        finally:
            worker.waits_for = None

    def _prepare(
        self, message: Message[object], slot: ReplySlot[R], timeout: float, now: float
    ) -> float:
        """Give a slot its deadline and its cause; returns when the runtime lets it expire."""
        due = now + timeout
        slot.message = message
        slot.asked = self._cell
        around = current_effective_deadline()
        cause = current_slot.get()
        if cause is not None:
            slot.cause = cause
            if cause.deadline < due and cause.outcome is None:
                if cause.deadline <= around:
                    slot.deadline = cause.deadline
                    slot.watch(self._cell.deadlines, cause.deadline)
                else:
                    slot.deadline = around
                return slot.deadline
        if due > around:
            slot.deadline = around  # it is cancelled then by Trio itself
        elif due < inf:
            slot.deadline = due
            slot.watch_after(self._cell.deadlines, timeout, due)
        return due


def _break_circle(slot: ReplySlot[Any], asker: Worker) -> None:
    """A message has been forwarded: to where its asker, by waiting, keeps it from being done?"""
    if asker.waits_for is slot or isinstance(asker.waits_for, AskStream):
        circle = find_circle(asker)
        if circle is not None:
            slot.fail(Deadlock(circle))
