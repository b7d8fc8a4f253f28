"""A reference to an actor's place: how to send to it, whatever incarnation is there."""

from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, TypeVar, cast, final

import trio

from .errors import MailboxFull
from .message import Message
from .reply import ReplySlot, current_slot

if TYPE_CHECKING:
    from .cell import Cell

__all__ = ["Ref"]

R = TypeVar("R")


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
        if not self._cell.try_put((message, None)):
            raise MailboxFull(self._cell.path, self._cell.mailbox.capacity)

    async def tell(self, message: Message[object]) -> None:
        """Send; wait for room, but not for an answer.

        A checkpoint always. A message that is told has no deadline of its own: nobody waits for it.

        Raises:
            ActorStopped: the actor takes no messages any more.
            UnhandledMessage: it has no handler for this type.
        """
        await self._cell.put((message, None))

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
            UnhandledMessage: it has no handler for this type.
            Exception: any error that the handler declares (R8).
        """
        cell = self._cell
        slot: ReplySlot[R] = ReplySlot()
        due = _inherited(trio.current_time() + timeout)
        slot.deadline = min(due, trio.current_effective_deadline())
        if slot.deadline == due < inf:
            slot.watch(cell.deadlines, due)
        envelope = (message, cast("ReplySlot[object]", slot))
        try:
            if not cell.try_put(envelope):
                with trio.CancelScope(deadline=due):
                    await cell.put(envelope)
        except BaseException:
            slot.cancel()
            raise
        return await slot.wait()

    async def submit(self, message: Message[R], *, deadline: float = inf) -> ReplySlot[R]:
        """Send, wait for room only, and get the slot that the answer will go into.

        This is an ask without a task that waits: ``slot.on_settled`` tells of the answer and
        ``slot.cancel`` gives up on it.

        Args:
            message: what to ask.
            deadline: on Trio's clock.

        Raises:
            ActorStopped: the actor takes no messages any more.
            UnhandledMessage: it has no handler for this type.
        """
        slot: ReplySlot[R] = ReplySlot(deadline)
        if deadline < inf:
            slot.watch(self._cell.deadlines, deadline)
        await self._cell.put((message, cast("ReplySlot[object]", slot)))
        return slot


def _inherited(due: float) -> float:
    """`due`, or the deadline of the message that this task works for if that is earlier."""
    slot = current_slot.get()
    return due if slot is None or slot.done else min(due, slot.deadline)
