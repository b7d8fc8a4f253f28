"""The actor of the Batch API stage: sends requests that can wait as batches, at half price."""

from collections import Counter
from functools import partial
from math import inf

import attrs
import httpx
import trio

from callsheet.runtime import get_logger

from ...runtime import Actor, Message, Outcome, Ref, ReplySlot, Timer, defers, handles
from ..calls import Complete, Stream
from ..errors import BatchUnavailable, CallFailed, MalformedResponse, RequestTooLarge
from ..events import Destination, Observer, ignore
from ..request import RetryPolicy
from ..responses import Response
from ..vendors import Endpoint, PriceBook, Timeouts, default_prices
from .control import Control
from .driver import BatchDriver
from .in_flight import BatchInFlight, BatchLine, BatchWaiter, DeadlineFallback, InFlightTable
from .intake import NEAR, TOO_LARGE, BatchIntake
from .job import BatchJob
from .journal import Journal, OpenJournal, open_journal
from .journal_file import JournalFile, KnownBatch
from .messages import AcknowledgeResponses, BatchApiStatistics, GetBatchApiStatistics
from .orphans import OrphanHandling, handle_orphans
from .plan import BatchPlan, PlannedBatch, size_limits
from .policy import BatchApiPolicy
from .results import BatchResults, Claims, LineResults

_log = get_logger("callsheet.batches")

_CLOSE_S = 5.0


@attrs.frozen
class _Gathered(Message[None]):
    """A batch may be due."""


@attrs.frozen
class _Drive(Message[None]):
    """A batch is due for its next step."""

    batch: BatchInFlight


@attrs.frozen
class _DeadlineNear(Message[None]):
    """The deadline of a request is near."""


class BatchApiActor(Actor):
    """Answers requests by batches, and sends those live that cannot wait for one.

    Requests gather by path and model. Each step of a batch, and each result, is in the journal
    first: a process that dies neither loses a batch nor sends it twice. An equal request, byte for
    byte, gets the result of what was already sent.

    A request is sent live when its deadline is near, when the provider does not accept it in a
    batch, or when its line has failed and a live call may succeed. A batch that no request waits
    for is cancelled.

    Spawn it with ``concurrency=8``, the number of control calls in flight. ``max_deferred`` is the
    number of requests that may wait here.

    Args:
        to: the stage that sends requests live.
        endpoint: the endpoint; without a Batch API, every request is sent live, or fails.
        policy: the settings of the stage.
        retry: the pauses before a failed control call is repeated. There is no limit to their
            number, since requests that cannot wait are sent live.
        timeouts: how long a control call may be silent.
        prices: the prices of models; by default those of this release.
        observer: receives an event for each call whose line is sent.
        transport: replaces the network, in tests.
        journal: makes the journal, in tests.
    """

    def __init__(
        self,
        to: Ref,
        endpoint: Endpoint,
        policy: BatchApiPolicy | None = None,
        *,
        retry: RetryPolicy | None = None,
        timeouts: Timeouts | None = None,
        prices: PriceBook | None = None,
        observer: Observer = ignore,
        transport: httpx.AsyncBaseTransport | None = None,
        journal: OpenJournal = open_journal,
    ) -> None:
        self._to = to
        self._endpoint = endpoint
        self._policy = policy = policy or BatchApiPolicy()
        self._retry = retry or RetryPolicy()
        self._timeouts = timeouts or Timeouts()
        self._prices = prices or default_prices()
        self._observer = observer
        self._transport = transport
        self._dialect = policy.dialect or endpoint.vendor.batches
        self._window_s = policy.window_s or (self._dialect.window_s if self._dialect else inf)
        self._intake = BatchIntake(endpoint, self._dialect, policy)
        self._journal: Journal = journal(policy.journal, self._intake.account, policy.keep_s)
        self._counts: Counter[str] = Counter()
        self._table = InFlightTable()
        self._deadlines = DeadlineFallback(to, self._counts, observer)
        self._plan: BatchPlan[BatchWaiter] = BatchPlan(policy, size_limits(policy, self._dialect))
        self._batches: dict[str, BatchInFlight] = {}
        self._control: Control | None = None
        self._gather_timer: Timer | None = None
        self._due_timer: Timer | None = None
        self._is_draining = False

    async def started(self) -> None:
        """Load the batches and results of earlier processes. The provider is not called yet."""
        if self._dialect is None:
            return
        file = await self._journal.open()
        self._name = f"cs{file.opened}-{self.random.getrandbits(48):012x}"
        try:
            known, unclaimed = await self._journal.do(JournalFile.load)
        except BaseException:  # `stopped` does not run if this fails
            with trio.move_on_after(_CLOSE_S, shield=True):
                await self._journal.close()
            raise
        self._control = Control(self._endpoint, self._dialect, self._timeouts, self._transport)
        self._results = BatchResults(
            endpoint=self._endpoint,
            dialect=self._dialect,
            journal=self._journal,
            prices=self._prices,
            table=self._table,
            counts=self._counts,
            claims=Claims(is_acknowledged=self._policy.is_acknowledged),
            observer=self._observer,
        )
        self._driver = BatchDriver(
            control=self._control,
            dialect=self._dialect,
            journal=self._journal,
            policy=self._policy,
            retry=self._retry,
            random=self.random,
            encode=self._intake.encode,
            deliver=self._deliver,
            known=lambda: {batch.job.batch_id for batch in self._batches.values()},
            observer=self._observer,
            destination=Destination.of(self._endpoint.vendor.name, self._endpoint.base_url),
            take_unrun=self._table.take_unrun,
        )
        for result in unclaimed:
            self._table.offer_result(result.key, result.custom_id)
        for one in known:
            self._resume(one)

    async def stopped(self) -> None:
        """Close the connections and the journal. Batches continue at the provider."""
        if self._control is not None:
            await self._control.aclose()
        await self._journal.close()

    async def draining(self) -> None:
        """Send what has gathered: no more requests arrive."""
        self._is_draining = True
        self._send_gathered()

    @defers(Stream)
    async def pass_on(self, message: Stream, slot: ReplySlot[None]) -> None:
        """Forward a streaming call: a batch cannot stream."""
        await slot.forward(self._to, message)

    @defers(Complete)
    async def gather(self, message: Complete, slot: ReplySlot[Response]) -> None:
        """Reply to a request from the journal, add it to a batch, or forward it."""
        waiter = self._intake.waiter(message, slot)
        if waiter is None:
            self._counts["live"] += 1
            await slot.forward(self._to, message)
            return
        if self._dialect is None:
            await self._turn_away(waiter, self._intake.refusal)
            return
        slot.on_settled(partial(self._left, waiter))
        waiter.maybe_billed = self._table.take_lost(waiter.key)
        if await self._results.find(waiter):
            return
        line = self._table.take_line(waiter.key)
        if line is None:
            await self._add(waiter)
        else:
            slot.start()  # it may have run (R3)
            waiter.line, line.waiter = line, waiter
            line.batch.waiting.add(waiter)
            line.batch.job.keep()
            self._watch(waiter)
            waiter.resume(line.custom_id, self._observer)
            await waiter.pay()

    @handles(_Gathered)
    async def gathered(self, message: _Gathered) -> None:  # noqa: ARG002  # it has no fields
        """Send the batches that are due."""
        self._gather_timer = None
        self._send_gathered()

    @handles(_Drive)
    async def drive(self, message: _Drive) -> None:
        """Advance a batch until it has to wait."""
        batch = message.batch
        batch.timer = None
        if batch.is_busy or batch.job.id not in self._batches:
            return
        batch.is_busy = True
        while isinstance(step := batch.job.next(trio.current_time()), str):
            await self._driver.do(batch, step)
        batch.is_busy = False
        if batch.job.ending is None:
            self._wake(batch, step)
        else:
            await self._end(batch)

    @handles(_DeadlineNear)
    async def due(self, message: _DeadlineNear) -> None:  # noqa: ARG002  # it has no fields
        """Send the requests live whose deadline is near."""
        self._due_timer = None
        while (waiter := self._deadlines.take(trio.current_time())) is not None:
            await self._go_live(waiter, NEAR)
        self._watch(None)

    @handles(AcknowledgeResponses, urgent=True)
    async def acknowledge(self, message: AcknowledgeResponses) -> None:
        """Delete results from the journal that callers have stored."""
        if self._dialect is not None:
            await self._results.acknowledge(message.calls)

    @handles(GetBatchApiStatistics, urgent=True)
    async def count(self, message: GetBatchApiStatistics) -> BatchApiStatistics:  # noqa: ARG002  # it has no fields
        """Return the state and the counts."""
        batches, counts = self._batches.values(), self._counts
        models = sorted({batch.group.model for batch in batches})
        return BatchApiStatistics(
            batches=dict(Counter(batch.job.phase for batch in batches)),
            gathering=len(self._plan),
            submitted=sum(len(batch.waiting) for batch in batches),
            answered=counts["answered"],
            found=counts["found"],
            failed=counts["failed"],
            live=counts["live"],
            unclaimed=self._table.unclaimed,
            enqueued_tokens={model: self._plan.enqueued(model) for model in models},
        )

    # ---------------------------------------------------------------- requests

    async def _add(self, waiter: BatchWaiter) -> None:
        """Add a request to the next batch; or send it live, if it cannot be in one."""
        now = trio.current_time()
        waiter.line = None
        if waiter.slot.done or waiter.is_out:
            return
        if why := self._intake.why_not(waiter):
            await self._turn_away(waiter, why)
            return
        if not self._plan.takes(waiter.group, waiter.size):
            await self._turn_away(waiter, TOO_LARGE, RequestTooLarge)
            return
        if waiter.live_at <= now:
            await self._go_live(waiter, NEAR)
            return
        waiter.hold()
        self._plan.add(waiter.group, waiter, waiter.size, now)
        self._watch(waiter)
        self._send_gathered()

    async def _turn_away(
        self, waiter: BatchWaiter, why: str, kind: type[CallFailed] = BatchUnavailable
    ) -> None:
        """Send a request live that no batch takes, or fail it."""
        if self._policy.is_required:
            self._fail(waiter, kind(why))
        else:
            await self._go_live(waiter, why)

    def _left(self, waiter: BatchWaiter, slot: ReplySlot[Response]) -> None:
        """A request has its response, or was cancelled."""
        if self._plan.discard(waiter) or waiter.line is None or waiter.line.is_over:
            return
        line = waiter.line
        line.waiter = None
        self._table.offer_line(line)
        was_cancelled = slot.outcome in (Outcome.CANCELLED, Outcome.EXPIRED)
        self._let_go(line.batch, waiter, may_return=was_cancelled)

    def _let_go(self, batch: BatchInFlight, waiter: BatchWaiter, *, may_return: bool) -> None:
        """Remove a request from a batch; without requests the batch is given up."""
        if waiter not in batch.waiting:
            return
        batch.waiting.discard(waiter)
        batch.is_left |= may_return
        # The callers of a batch from the journal died with their process, and may send it again.
        if not batch.waiting and not batch.job.is_found:
            now = trio.current_time()
            keeps = batch.is_left and self._journal.is_durable
            batch.job.abandon(now + (self._policy.abandon_s if keeps else 0.0))
            self._wake(batch, now)

    def _watch(self, waiter: BatchWaiter | None) -> None:
        """Watch the deadline of a request, and set the timer to the first deadline."""
        if waiter is not None:
            self._deadlines.watch(waiter)
        due_at, timer = self._deadlines.due_at, self._due_timer
        if timer is not None and timer.when > due_at:
            timer.cancel()
            timer = self._due_timer = None
        if timer is None and due_at < inf:
            self._due_timer = self.send_at(due_at, _DeadlineNear())

    async def _go_live(self, waiter: BatchWaiter, why: str, *, maybe_billed: int = 0) -> None:
        """Take a request out of its batch, and send it live."""
        line, waiter.maybe_billed = waiter.line, waiter.maybe_billed + maybe_billed
        if line is not None and not line.is_over:
            waiter.maybe_billed += 1  # the batch goes on, and may bill it as well
            self._let_go(line.batch, waiter, may_return=False)
        else:
            self._plan.discard(waiter)
        await self._deadlines.send(waiter, why)

    # ---------------------------------------------------------------- batches

    def _send_gathered(self) -> None:
        now = trio.current_time()
        while gathered := self._plan.take(now, draining=self._is_draining):
            self._begin(gathered, now)
        due_at, timer = self._plan.due_at, self._gather_timer
        if timer is not None and timer.when != due_at:
            timer.cancel()
            timer = self._gather_timer = None
        if timer is None and due_at < inf:
            self._gather_timer = self.send_at(due_at, _Gathered())

    def _begin(self, gathered: PlannedBatch[BatchWaiter], now: float) -> None:
        self._counts["batches"] += 1
        name = f"{self._name}-{self._counts['batches']}"
        waiters = {f"{name}-{at}": waiter for at, waiter in enumerate(gathered.lines)}
        policy = self._policy
        job = BatchJob(name, waiters, self._window_s, policy.settle_s, policy.late_s)
        batch = BatchInFlight(job, gathered.group, gathered.tokens, now)
        batch.add(waiters)
        self._batches[name] = batch
        self._wake(batch, now)

    def _resume(self, known: KnownBatch) -> None:
        """Go on with a batch of an earlier process; equal requests get the results of its lines."""
        now = trio.current_time()
        job = BatchJob.found(
            known.id,
            [custom_id for custom_id, _ in known.lines],
            size=known.size,
            mark=known.mark,
            batch_id=known.batch_id,
            is_certain=known.is_certain,
            window_s=self._window_s,
            settle_s=self._policy.settle_s,
            late_s=self._policy.late_s,
            now=now,
        )
        batch = BatchInFlight(job, known.group, known.tokens, now, is_intended=True)
        for custom_id, key in known.lines:
            line = batch.lines[custom_id] = BatchLine(custom_id, key, batch)
            if job.ending is None:
                self._table.offer_line(line)
        self._batches[job.id] = batch
        self._plan.begun(known.group, known.tokens)
        self._wake(batch, now)

    def _wake(self, batch: BatchInFlight, when: float) -> None:
        """Set the time of a batch's next step, unless a step is running."""
        if batch.is_busy or batch.job.id not in self._batches:
            return
        if batch.timer is not None:
            batch.timer.cancel()
        batch.timer = self.send_at(when, _Drive(batch))

    async def _deliver(self, batch: BatchInFlight, results: LineResults) -> None:
        for waiter, why in await self._results.deliver(batch, results):
            batch.waiting.discard(waiter)
            if waiter.is_out:
                continue  # its live call is in flight
            if why.is_retried:
                if isinstance(why.error, MalformedResponse):  # asked for once more at most (L11)
                    waiter.message = attrs.evolve(waiter.message, may_ask_again=False)
                await self._go_live(waiter, str(why.error), maybe_billed=int(why.maybe_billed))
            else:
                self._fail(waiter, why.error)

    async def _end(self, batch: BatchInFlight) -> None:
        """End a batch. Lines without a result are sent again or fail, see `handle_orphans`."""
        del self._batches[batch.job.id]
        left = {custom_id: batch.lines.pop(custom_id) for custom_id in batch.job.release()}
        for line in left.values():
            line.is_over = True
            self._table.withdraw_line(line)
        if batch.is_intended:
            await self._journal.do(partial(JournalFile.finish, batch=batch.job.id))
        after = handle_orphans(batch.job, left, batch.error, is_required=self._policy.is_required)
        if batch.job.ending == "refused":
            self._intake.refused(batch, after.why)
        self._plan.ended(batch.group, batch.tokens)
        if after.is_overflow:
            until = trio.current_time() + self._policy.max_poll_s
            self._plan.overflowed(batch.group, batch.tokens, after.stated_limit, until)
            for one in self._plan.oversize(batch.group):
                await self._turn_away(one, TOO_LARGE, RequestTooLarge)
        if left and batch.job.ending in ("refused", "lost", "results"):
            _log.warning(
                "batch_lost",
                batch=batch.job.id,
                ending=batch.job.ending,
                lines=len(left),
                maybe_billed=after.maybe_billed,
                error=None if batch.error is None else str(batch.error),
            )
        for line in left.values():
            await self._end_line(line, after)
        self._send_gathered()

    async def _end_line(self, line: BatchLine, after: OrphanHandling) -> None:
        """Send a line without a result again, or fail it."""
        waiter = line.waiter
        if waiter is None and after.maybe_billed:
            self._table.lose_line(line)
        elif waiter is None:
            self._table.drop_line(line.custom_id)
        if waiter is None or waiter.is_out:
            return
        if not after.maybe_billed:
            waiter.refund()
        if line.custom_id in after.again:
            await self._add(waiter)
        elif line.custom_id in after.live:
            await self._go_live(waiter, after.why, maybe_billed=int(after.maybe_billed))
        elif after.error is not None:
            self._fail(waiter, after.error)

    def _fail(self, waiter: BatchWaiter, error: CallFailed) -> None:
        if waiter.slot.fail(waiter.billed(error)):
            self._counts["failed"] += 1
