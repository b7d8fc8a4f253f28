"""A task that runs handlers one after another, and the message in its hands."""

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, final

import attrs
import trio

from .message import Message
from .reply import ReplySlot, Settlement

if TYPE_CHECKING:
    from .cell import Cell
    from .stream import Items

__all__ = ["Worker", "current_worker"]

_GIVEN_UP = (Settlement.CANCELLED, Settlement.EXPIRED)


@final
@attrs.define(eq=False)
class Worker:
    """One cancel scope serves it for a stretch of messages.

    It is renewed only after it was used, because a scope for each message would cost more than most
    messages do.

    Attributes:
        path: the actor's.
        task: the task that it is.
        message: what it handles now; None if it is idle.
        slot: where the answer goes, if anybody asked.
        since: since when, on Trio's clock.
        tries: how often the message was delivered before.
        uninterruptible: its handler runs to its end even if nobody waits any more.
        interrupted: its scope was used.
        waits_for: what it waits for: an answer, room in a mailbox, an item (see `waiting`).
    """

    path: str
    task: trio.lowlevel.Task | None = None
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    message: Message[object] | None = None
    slot: ReplySlot[Any] | None = None
    since: float = 0.0
    tries: int = 0
    uninterruptible: bool = False
    interrupted: bool = False
    waits_for: "ReplySlot[Any] | Cell | Items[Any] | None" = None

    @property
    def blockers(self) -> "tuple[Worker, ...]":
        """Who has to go on before a message in its hands is done; see `waiting`."""
        return (self,)

    def released(self, slot: ReplySlot[Any]) -> None:
        """The slot of the message in hand is filled: if it was given up, so is the work (R4)."""
        if slot.settlement in _GIVEN_UP and not self.uninterruptible:
            self.interrupted = True
            self.scope.cancel()


current_worker: ContextVar[Worker | None] = ContextVar("current_worker", default=None)
"""The worker that the current task is, or was started by."""
