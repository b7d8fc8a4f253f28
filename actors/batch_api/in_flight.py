"""What an actor has in hand: who asks, the lines of batches, and the batches."""

from collections import defaultdict, deque
from contextlib import suppress
from math import inf
from typing import final

import attrs

from ...runtime import ReplySlot, Timer
from ..calls import Complete
from ..errors import CallFailed
from ..messages import Response
from .job import BatchJob
from .plan import BatchGroup, LineSize

__all__ = [
    "BatchInFlight",
    "BatchLine",
    "BatchWaiter",
    "InFlightTable",
]


@attrs.define(eq=False)
class BatchWaiter:
    """Somebody who waits for an answer.

    Args:
        message: what was asked.
        slot: where the answer goes.
        key: of its content.
        group: of the batches that it may be in.
        size: what it takes in a batch.
        due: by when the answer is wanted, at the latest, on Trio's clock.
        margin_s: how long before that it is sent live, in seconds.
        line: of a batch, that will answer.
        is_out: it does not count on a batch any more.
        is_paid: its line is on the tab of the call.
    """

    message: Complete
    slot: ReplySlot[Response]
    key: str
    group: BatchGroup
    size: LineSize
    due: float = inf
    margin_s: float = 0.0
    line: "BatchLine | None" = None
    is_out: bool = False
    is_paid: bool = False

    async def pay(self) -> None:
        """Its line is about to be sent, and may be billed from now on (L3)."""
        account = self.message.account
        if account is None or self.is_paid:
            return
        with suppress(CallFailed):  # it has gone meanwhile
            await account.take()
            self.is_paid = True

    def refund(self) -> None:
        """Its line has surely cost nothing."""
        if self.is_paid and self.message.account is not None:
            self.is_paid = False
            self.message.account.refund()

    @property
    def live_at(self) -> float:
        """When it is sent live, on Trio's clock; its deadline may be moved (R4)."""
        return min(self.due, self.slot.deadline) - self.margin_s


@attrs.define(eq=False)
class BatchLine:
    """One line of a batch.

    Args:
        custom_id: what its result is known by.
        key: of its content.
        batch: the batch.
        message: what was asked; None once the batch is written.
        waiter: who waits for it; None if nobody does.
        is_over: it has its end.
    """

    custom_id: str
    key: str
    batch: "BatchInFlight" = attrs.field(repr=False)
    message: Complete | None = attrs.field(default=None, repr=False)
    waiter: BatchWaiter | None = None
    is_over: bool = False


@attrs.define(eq=False)
class BatchInFlight:
    """A batch in hand.

    Args:
        job: how far it is.
        group: what its lines have in common.
        tokens: of its prompts.
        began_at: when it was begun, on Trio's clock.
        lines: by custom id.
        content: what is sent; empty once it was.
        waiting: those who count on it.
        is_intended: the journal knows of it.
        is_left: somebody who counted on it has gone, and may come back.
        failures: control calls in a row that failed.
        pause_s: from one question how it stands to the next.
        error: the latest that a control call failed with.
        timer: when it is looked at.
        is_busy: it is being looked at.
    """

    job: BatchJob
    group: BatchGroup
    tokens: int
    began_at: float
    lines: dict[str, BatchLine] = attrs.field(factory=dict[str, BatchLine], repr=False)
    content: bytes = attrs.field(default=b"", repr=False)
    waiting: set[BatchWaiter] = attrs.field(factory=set[BatchWaiter], repr=False)
    is_intended: bool = False
    is_left: bool = False
    failures: int = 0
    pause_s: float = 0.0
    error: CallFailed | None = None
    timer: Timer | None = None
    is_busy: bool = False


@final
class InFlightTable:
    """Where an answer may be that somebody asks for: in a batch, or in the journal already.

    A line answers one who asks. Those who ask the same get different lines, in the order in which
    these came to be without an waiter.
    """

    def __init__(self) -> None:
        self._lines: defaultdict[str, deque[BatchLine]] = defaultdict(deque)
        self._results: defaultdict[str, deque[str]] = defaultdict(deque)
        self.unclaimed = 0  # that nobody has got

    def offer_line(self, line: BatchLine) -> None:
        """A line of a batch has nobody who waits for it."""
        self._lines[line.key].append(line)

    def withdraw_line(self, line: BatchLine) -> None:
        """It has its end."""
        lines = self._lines.get(line.key)
        if lines is not None and line in lines:
            lines.remove(line)
            if not lines:
                del self._lines[line.key]

    def take_line(self, key: str) -> BatchLine | None:
        """Such a line for one who asks; None if there is none."""
        lines = self._lines.get(key)
        if lines is None:
            return None
        line = lines.popleft()
        if not lines:
            del self._lines[key]
        return line

    def offer_result(self, key: str, custom_id: str) -> None:
        """The journal has an answer that nobody has got."""
        self._results[key].append(custom_id)
        self.unclaimed += 1

    def take_result(self, key: str) -> str | None:
        """The custom id of such an answer for one who asks; None if there is none."""
        found = self._results.get(key)
        if found is None:
            return None
        self.unclaimed -= 1
        custom_id = found.popleft()
        if not found:
            del self._results[key]
        return custom_id
