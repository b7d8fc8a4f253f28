"""A stage of workers that lets each call have no more attempts than the holder has reserved for.

The holder of a shared run with a budget reserves the most that one attempt of a row can cost. An
attempt that certainly cost nothing may be made again. Where one may have been billed, the worker
gives the call up; the holder counts that attempt, reserves for another one, and puts the row into
the queue again.
"""

from typing import final

import attrs

from ...actors import BudgetExceeded, CallAccount, Complete, Response, Stream
from ...runtime import Actor, Ref, ReplySlot, defers


@final
class ReservedAttempts(Actor[Complete | Stream]):
    """Passes calls on, each with a reservation for one attempt.

    Args:
        to: the next stage.
    """

    def __init__(self, to: Ref) -> None:
        self._to = to

    @defers(Complete)
    async def pass_on(self, message: Complete, slot: ReplySlot[Response]) -> None:
        """Pass a call on."""
        await slot.forward(self._to, attrs.evolve(message, account=_account(message)))

    @defers(Stream)
    async def pass_stream_on(self, message: Stream, slot: ReplySlot[None]) -> None:
        """Pass a streamed call on."""
        await slot.forward(self._to, attrs.evolve(message, account=_account(message)))


def _account(message: Complete | Stream) -> CallAccount:
    return CallAccount(message.context.call, _refuse)


async def _refuse(key: str) -> None:  # the ledger's waits
    raise BudgetExceeded(f"only one attempt of {key} is reserved, and it may have been billed")
