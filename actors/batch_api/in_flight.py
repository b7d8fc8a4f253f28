"""What is in flight: waiters, lines and batches, and the results that no caller has claimed."""

import heapq
import itertools
from collections import Counter, defaultdict, deque
from collections.abc import Mapping
from contextlib import suppress
from copy import copy
from functools import partial
from math import inf
from typing import final

import attrs
import trio

from ...runtime import (
    ActorStopped,
    Deadlock,
    MailboxFull,
    Outcome,
    Ref,
    ReplySlot,
    Timer,
    on_behalf_of,
)
from ..calls import Complete
from ..errors import CallFailed
from ..events import CallEvent, Observer, stages_of
from ..responses import Response
from .job import BatchJob
from .plan import BatchGroup, LineSize


@attrs.define(eq=False)
class BatchWaiter:
    """A request that waits for its response.

    Args:
        message: the request and its context.
        slot: the reply slot.
        key: its content key.
        group: the path and model of the batches that it may be in.
        size: its size in a batch.
        due: the request's deadline on Trio's clock.
        margin_s: seconds before its deadline at which it is sent live.
        line: the line of a batch whose result answers it.
        maybe_billed: how many lines may have been billed for it, besides the call that answers it.
        is_out: whether it no longer waits for a batch.
        is_paid: whether its line is reserved for in the account of the call.
    """

    message: Complete
    slot: ReplySlot[Response]
    key: str
    group: BatchGroup
    size: LineSize
    due: float = inf
    margin_s: float = 0.0
    line: "BatchLine | None" = None
    maybe_billed: int = 0
    is_out: bool = False
    is_paid: bool = False

    def hold(self) -> None:
        """Note in the account of the call that nothing was sent for it yet (L3)."""
        if self.message.account is not None:
            self.message.account.hold()

    async def pay(self) -> None:
        """Reserve for its line, which is about to be sent and may be billed (L3)."""
        account = self.message.account
        if account is None or self.is_paid:
            return
        with suppress(CallFailed):  # the call has ended meanwhile
            await account.take()
            self.is_paid = True

    def resume(self, line: str, observer: Observer) -> None:
        """Note in the account of the call that it has the line of an earlier call (L3)."""
        if self.message.account is not None:
            self.message.account.note_line(line, is_resumed=True)
        if "resumed" in stages_of(observer):
            observer(
                CallEvent(
                    stage="resumed",
                    at=trio.current_time(),
                    context=self.message.context,
                    model=self.message.request.model,
                    route="batch",
                    batch=line.rpartition("-")[0],
                )
            )

    def refund(self) -> None:
        """Refund its line, which has certainly cost nothing."""
        if self.is_paid and self.message.account is not None:
            self.is_paid = False
            self.message.account.refund()

    def billed(self, error: CallFailed) -> CallFailed:
        """Return an error that says whether lines of the request may have been billed (L3)."""
        if self.maybe_billed:
            error = copy(error)  # other requests may fail with it as well
            error.billed = "maybe"
        return error

    @property
    def live_at(self) -> float:
        """When it is sent live, on Trio's clock. A deadline may change (R4)."""
        return min(self.due, self.slot.deadline) - self.margin_s


@attrs.define(eq=False)
class BatchLine:
    """One line of a batch.

    Args:
        custom_id: identifies its result.
        key: its content key.
        batch: the batch that it is part of.
        message: the request; None when the content of the batch is written.
        waiter: the request that waits for it, if any.
        is_over: whether it has a result, or will have none.
    """

    custom_id: str
    key: str
    batch: "BatchInFlight" = attrs.field(repr=False)
    message: Complete | None = attrs.field(default=None, repr=False)
    waiter: BatchWaiter | None = None
    is_over: bool = False


@attrs.define(eq=False)
class BatchInFlight:
    """A batch in flight.

    Args:
        job: its state at the provider.
        group: the path and model of its lines.
        tokens: the estimated tokens of its prompts.
        began_at: when it was planned, on Trio's clock.
        lines: its lines by custom id.
        content: the encoded lines; empty when they are sent.
        waiting: the requests that wait for it.
        is_intended: whether the journal contains it.
        is_left: whether a caller that waited for it was cancelled, and may return.
        is_late: whether it has ended, and results that are missing are waited for.
        failures: the number of control calls that failed in a row.
        pause_s: seconds from the last poll to the next.
        error: the error of the last control call that failed.
        timer: wakes the actor for its next step.
        is_busy: whether a step is running.
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
    is_late: bool = False
    failures: int = 0
    pause_s: float = 0.0
    error: CallFailed | None = None
    timer: Timer | None = None
    is_busy: bool = False

    def add(self, waiters: Mapping[str, BatchWaiter]) -> None:
        """Make a line for each request, which waits for it.

        Args:
            waiters: the requests by the custom ids of their lines.
        """
        self.waiting.update(waiters.values())
        for custom_id, waiter in waiters.items():
            line = BatchLine(custom_id, waiter.key, self, waiter.message, waiter)
            waiter.line = self.lines[custom_id] = line


@final
class InFlightTable:
    """The lines without a waiter and the unclaimed results, by content key.

    Each line answers one request. Equal requests get different lines, the oldest first.
    """

    def __init__(self) -> None:
        self._lines: defaultdict[str, deque[BatchLine]] = defaultdict(deque)
        self._results: defaultdict[str, deque[str]] = defaultdict(deque)
        self._lost: Counter[str] = Counter()
        self._unrun: list[str] = []
        self.unclaimed = 0  # the number of results

    def offer_line(self, line: BatchLine) -> None:
        """Add a line that no request waits for."""
        self._lines[line.key].append(line)

    def withdraw_line(self, line: BatchLine) -> None:
        """Remove a line that is over."""
        lines = self._lines.get(line.key)
        if lines is not None and line in lines:
            lines.remove(line)
            if not lines:
                del self._lines[line.key]

    def take_line(self, key: str) -> BatchLine | None:
        """Take a line for a request; return None if there is none."""
        lines = self._lines.get(key)
        if lines is None:
            return None
        line = lines.popleft()
        if not lines:
            del self._lines[key]
        return line

    def lose_line(self, line: BatchLine) -> None:
        """Note that a line without a waiter may have been billed and has no result."""
        self._lost[line.key] += 1

    def drop_line(self, custom_id: str) -> None:
        """Note that a line without a waiter has certainly not been billed."""
        self._unrun.append(custom_id)

    def take_unrun(self) -> list[str]:
        """Return, once, the lines that have certainly not been billed."""
        unrun, self._unrun = self._unrun, []
        return unrun

    def take_lost(self, key: str) -> int:
        """Return how many lines were lost that may have been billed for a request (L3)."""
        return self._lost.pop(key, 0)

    def offer_result(self, key: str, custom_id: str) -> None:
        """Add a result that no caller has claimed."""
        self._results[key].append(custom_id)
        self.unclaimed += 1

    def take_result(self, key: str) -> str | None:
        """Take the custom id of a result for a request; return None if there is none."""
        found = self._results.get(key)
        if found is None:
            return None
        self.unclaimed -= 1
        custom_id = found.popleft()
        if not found:
            del self._results[key]
        return custom_id


_MIN_TIDIED = 1000


@final
class DeadlineFallback:
    """Sends requests live before their deadline.

    Args:
        to: the stage that sends requests live.
        counts: the counter of "live".
        observer: receives an event for each request that is sent live.
    """

    def __init__(self, to: Ref, counts: Counter[str], observer: Observer) -> None:
        self._to = to
        self._counts = counts
        self._observer = observer
        self._near: list[tuple[float, int, BatchWaiter]] = []  # a heap
        self._numbers = itertools.count()
        self._tidy_at = _MIN_TIDIED

    @property
    def due_at(self) -> float:
        """When the next request is due, on Trio's clock; infinity if none is."""
        while self._near and self._is_idle(self._near[0][2]):
            heapq.heappop(self._near)
        return self._near[0][0] if self._near else inf

    def watch(self, waiter: BatchWaiter) -> None:
        """Watch the deadline of a request that waits for a batch."""
        if len(self._near) >= self._tidy_at:  # most have a response long before their deadline
            self._near = [entry for entry in self._near if not self._is_idle(entry[2])]
            heapq.heapify(self._near)
            self._tidy_at = max(_MIN_TIDIED, 2 * len(self._near))
        if waiter.live_at < inf:
            heapq.heappush(self._near, (waiter.live_at, next(self._numbers), waiter))

    def take(self, now: float) -> BatchWaiter | None:
        """Return a request that is due; None if none is."""
        while self._near and self._near[0][0] <= now:
            _, _, waiter = heapq.heappop(self._near)
            if self._is_idle(waiter):
                continue
            if waiter.live_at <= now:
                return waiter
            self.watch(waiter)  # its deadline has moved
        return None

    async def send(self, waiter: BatchWaiter, why: str) -> None:
        """Send a request live. The response reports what may have been billed besides it (L3).

        Args:
            waiter: the request that waits for a batch.
            why: the reason, for the observer.
        """
        if waiter.is_out:
            return
        waiter.is_out = True
        self._counts["live"] += 1
        message = waiter.message
        self._observer(
            CallEvent(
                stage="rerouted",
                at=trio.current_time(),
                context=message.context,
                model=message.request.model,
                error=why,
            )
        )
        if waiter.maybe_billed:
            await self._relay(waiter, waiter.maybe_billed)
        else:
            await waiter.slot.forward(self._to, waiter.message)

    async def _relay(self, waiter: BatchWaiter, maybe_billed: int) -> None:
        """Send the request on its behalf: the response to a forwarded one could not be changed."""
        slot = waiter.slot
        if slot.done:
            return
        try:
            with on_behalf_of([slot]):
                call = await self._to.submit(waiter.message, deadline=slot.deadline)
        except (ActorStopped, MailboxFull, Deadlock) as error:  # as for `forward`
            slot.fail(error)
            return
        slot.start(call)
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
            call.error.maybe_billed += maybe_billed
        slot.fail(call.error)
