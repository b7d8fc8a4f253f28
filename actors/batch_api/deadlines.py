"""The safety net: who cannot wait for a batch any longer is sent live."""

import heapq
import itertools
from collections import Counter
from functools import partial
from math import inf
from typing import final

import attrs

from ...runtime import ActorStopped, Deadlock, MailboxFull, Outcome, Ref, ReplySlot
from ..errors import CallFailed
from ..messages import Response
from .in_flight import BatchWaiter

__all__ = [
    "DeadlineFallback",
]


_LEAST_TIDIED = 1000


@final
class DeadlineFallback:
    """Sends those live who cannot wait any longer.

    Args:
        to: the live way.
        counts: of "live".
    """

    def __init__(self, to: Ref, counts: Counter[str]) -> None:
        self._to = to
        self._counts = counts
        self._near: list[tuple[float, int, BatchWaiter]] = []  # a heap
        self._numbers = itertools.count()
        self._tidy_at = _LEAST_TIDIED

    @property
    def due_at(self) -> float:
        """When to look at who is near his deadline; infinity if never."""
        while self._near and self._is_idle(self._near[0][2]):
            heapq.heappop(self._near)
        return self._near[0][0] if self._near else inf

    def watch(self, waiter: BatchWaiter) -> None:
        """One counts on a batch."""
        if len(self._near) >= self._tidy_at:  # most have their answer long before their deadline
            self._near = [entry for entry in self._near if not self._is_idle(entry[2])]
            heapq.heapify(self._near)
            self._tidy_at = max(_LEAST_TIDIED, 2 * len(self._near))
        if waiter.live_at < inf:
            heapq.heappush(self._near, (waiter.live_at, next(self._numbers), waiter))

    def take(self, now: float) -> BatchWaiter | None:
        """One whose deadline is near; None if there is none."""
        while self._near and self._near[0][0] <= now:
            _, _, waiter = heapq.heappop(self._near)
            if self._is_idle(waiter):
                continue
            if waiter.live_at <= now:
                return waiter
            self.watch(waiter)  # it was given more time meanwhile
        return None

    async def send(self, waiter: BatchWaiter, *, maybe_billed: int) -> None:
        """Send one live.

        Args:
            waiter: who.
            maybe_billed: how often the provider may have charged for it in a batch, or will; the
                answer tells of it (L3).
        """
        if waiter.is_out:
            return
        waiter.is_out = True
        self._counts["live"] += 1
        if maybe_billed:
            await self._relay(waiter, maybe_billed)
        else:
            await waiter.slot.forward(self._to, waiter.message)

    async def _relay(self, waiter: BatchWaiter, maybe_billed: int) -> None:
        """Ask in his stead: what is forwarded could not be added to."""
        slot = waiter.slot
        if slot.done:
            return
        try:
            call = await self._to.submit(waiter.message, deadline=slot.deadline)
        except (ActorStopped, MailboxFull, Deadlock) as error:  # as for `forward`
            slot.fail(error)
            return
        slot.on_settled(partial(_give_up, call))
        call.on_settled(partial(_pass_back, slot, maybe_billed))

    def _is_idle(self, waiter: BatchWaiter) -> bool:
        return waiter.is_out or waiter.slot.done


def _give_up(call: ReplySlot[Response], _: object) -> None:
    call.cancel()


def _pass_back(slot: ReplySlot[Response], maybe_billed: int, call: ReplySlot[Response]) -> None:
    if call.outcome is Outcome.REPLIED and call.value is not None:
        billed = call.value.maybe_billed + maybe_billed
        slot.reply(attrs.evolve(call.value, maybe_billed=billed))
    elif call.error is not None:
        if isinstance(call.error, CallFailed):
            call.error.billed = "maybe"
        slot.fail(call.error)
