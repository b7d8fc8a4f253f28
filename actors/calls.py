"""What goes along with a call to be told of its attempts."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, final

import attrs
import trio

from ..runtime import Message, StreamOf
from .errors import CallFailed
from .messages import Delta, Request, Response

if TYPE_CHECKING:
    from .permit import Permit

__all__ = [
    "CallAccount",
    "CallContext",
    "Complete",
    "Stream",
]


@attrs.frozen
class CallContext:
    """Whom a call is for: the ids that let one follow a post through every actor (L9).

    Args:
        call: of the call.
        post: of the post that it is for, if any.
        step: of the post's.
        lane: in which it waits for its turn: a tenant, a purpose; see `Limits.lanes`.
        shared_by: whom it is for if it is made for several, who share its cost evenly.
    """

    call: str
    post: str | None = None
    step: str | None = None
    lane: str = ""
    shared_by: tuple["CallContext", ...] = ()


@attrs.frozen
class Complete(Message[Response]):
    """Ask for one completion. Every stage hands it on with reply slot and deadline (R4).

    Args:
        request: what to ask the provider.
        context: whom it is for.
        permit: set by the limiter; without one, attempts are not limited.
        account: set by the ledger; without one, attempts are not paid for from a budget.
    """

    request: Request
    context: CallContext
    permit: "Permit | None" = None
    account: "CallAccount | None" = None


@attrs.frozen
class Stream(StreamOf[Delta | Response]):
    """Ask for one response piece by piece; its last item is the `Response` as a whole.

    Args:
        request: what to ask the provider.
        context: whom it is for.
        permit: set by the limiter; without one, attempts are not limited.
        account: set by the ledger; without one, attempts are not paid for from a budget.
    """

    request: Request
    context: CallContext
    permit: "Permit | None" = None
    account: "CallAccount | None" = None


@final
class CallAccount:
    """The running account of one call.

    The ledger puts it on the message. Whoever sends an attempt takes one from it beforehand, and
    spares it when the provider has surely charged nothing. So what was taken and neither spared nor
    answered may have been billed, even if nobody comes back to say so (L3). It belongs to no
    incarnation of any actor, and outlives their crashes.

    Args:
        key: of the call's reservation.
        extend: reserves for one attempt more.

    Attributes:
        taken: attempts that were sent and not spared.
        answer: the call's, once it is known.
    """

    __slots__ = ("_extend", "_is_closed", "_paid", "answer", "key", "taken")

    def __init__(self, key: str, extend: Callable[[str], Awaitable[None]]) -> None:
        self.key = key
        self.taken = 0
        self.answer: Response | None = None
        self._paid = 1  # attempts that are reserved for
        self._extend = extend
        self._is_closed = False

    def __repr__(self) -> str:
        return f"<CallAccount {self.key}: {self.taken} of {self._paid} attempts taken>"

    async def take(self) -> None:
        """An attempt is about to be sent. Waits, and checkpoints, only to reserve for it.

        Raises:
            BudgetExceeded: a budget has not so much left; do not send it.
            LedgerUnavailable: it cannot be written down; do not send it.
            CallFailed: the call has ended; do not send it.
        """
        if self.taken >= self._paid and not self._is_closed:
            await self._extend(self.key)
            self._paid += 1
        if self._is_closed:
            await trio.lowlevel.checkpoint()  # whoever works for nobody is cancelled here
            raise CallFailed("nothing was sent: nobody waits for the answer any more")
        self.taken += 1

    def refund(self) -> None:
        """An attempt that was taken has surely cost nothing: the next one may have its place."""
        self.taken -= 1

    def close(self) -> None:
        """The ledger's: the call has ended, and no attempt may follow."""
        self._is_closed = True
