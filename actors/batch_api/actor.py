"""Sends what can wait through the provider's Batch API, at half price, and loses nothing."""

from collections import Counter
from collections.abc import Mapping
from functools import partial
from math import inf

import attrs
import httpx
import structlog
import trio

from ...runtime import Actor, Message, Outcome, Ref, ReplySlot, Timer, defers, handles
from ..calls import Complete, Stream
from ..errors import CallFailed
from ..events import Observer, ignore
from ..identity import content_key
from ..messages import Response
from ..rate_limit import TokenEstimator
from ..request import RetryPolicy
from ..vendors import BatchDialect, Endpoint, PriceBook, Timeouts, default_prices, dumps
from .control import Control
from .deadlines import DeadlineFallback
from .driver import BatchDriver
from .in_flight import BatchInFlight, BatchLine, BatchWaiter, InFlightTable
from .job import BatchJob, handle_orphans
from .journal import Journal, JournalFile, KnownBatch, OpenJournal, open_journal
from .plan import BatchGroup, BatchPlan, BatchSizeLimits, LineSize, PlannedBatch
from .policy import BatchApiPolicy
from .results import BatchResults, Claims, LineResults

__all__ = [
    "AcknowledgeResponses",
    "BatchApiActor",
    "BatchApiStatistics",
    "GetBatchApiStatistics",
]


_log = structlog.stdlib.get_logger("callsheet.batches")

_OVERHEAD_BYTES = 256  # of a line, beyond the body
_CLOSE_S = 5.0


@attrs.frozen(kw_only=True)
class BatchApiStatistics:
    """What a `BatchApiActor` is doing.

    Args:
        batches: how many there are in each state: "new", "marked" (uploaded), "unsure" (made,
            perhaps), "running", "ended" (its results are being read).
        gathering: requests that are in no batch yet.
        submitted: requests that count on a batch.
        answered: requests that a batch has answered.
        found: of these, by what was there before they asked.
        failed: requests that have failed here.
        live: requests that were sent live, for whatever reason.
        unclaimed: answers in the journal that nobody has got.
        enqueued_tokens: of prompts in batches, by model, as estimated.
    """

    batches: Mapping[str, int]
    gathering: int
    submitted: int
    answered: int
    found: int
    failed: int
    live: int
    unclaimed: int
    enqueued_tokens: Mapping[str, int]


@attrs.frozen
class GetBatchApiStatistics(Message[BatchApiStatistics]):
    """Ask a `BatchApiActor` what it is doing."""


@attrs.frozen
class AcknowledgeResponses(Message[None]):
    """Tell a `BatchApiActor` that answers are kept elsewhere; see `BatchApiPolicy.is_acknowledged`.

    Args:
        calls: ids of the calls that were answered, see `CallContext`; others are passed over.
    """

    calls: tuple[str, ...]


@attrs.frozen
class _Gathered(Message[None]):
    """A batch may go now."""


@attrs.frozen
class _Drive(Message[None]):
    """Something is to be done for a batch."""

    batch: BatchInFlight


@attrs.frozen
class _DeadlineNear(Message[None]):
    """Somebody's deadline is near."""


class BatchApiActor(Actor):
    """Answers by batches what can wait, and by the live way what no longer can.

    Requests gather by path and model. What is done for a batch, and what came of it, is in the
    journal first: a process that dies, however it dies, neither loses a batch nor sends one twice.
    Whoever asks the same again, byte for byte, is answered by what was sent already.

    The live way is the safety net. A request goes there when its deadline comes near, when the
    provider will not have it in a batch, or when its line has failed for a reason that may be gone.
    A batch that nobody counts on any more is cancelled.

    Spawn it with ``concurrency=8``: that many control calls are under way at a time, and while one
    is, others are taken in. Each of those who wait is held here; ``max_held`` bounds them.

    Args:
        to: the live way: where a `Complete` or a `Stream` goes that no batch can serve.
        endpoint: whose Batch API it is; without one, everything goes live.
        policy: when a batch goes, and when one no longer counts on it.
        retry: how late a control call that failed is tried again. There is no limit to how often:
            whoever cannot wait is sent live.
        timeouts: how long a control call may be silent.
        prices: what models cost.
        observer: is told of each call whose line goes out.
        transport: takes the place of the network, in tests.
        journal: makes the journal; in tests.
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
        self._account = endpoint.host + httpx.URL(endpoint.base_url).path
        self._dialect = policy.dialect or endpoint.vendor.batches
        self._journal: Journal = journal(policy.journal, self._account, policy.keep_s)
        self._estimator = TokenEstimator()
        self._counts: Counter[str] = Counter()
        self._table = InFlightTable()
        self._deadlines = DeadlineFallback(to, self._counts)
        self._plan: BatchPlan[BatchWaiter] = BatchPlan(policy, _bounds(policy, self._dialect))
        self._batches: dict[str, BatchInFlight] = {}
        self._control: Control | None = None
        self._gather_timer: Timer | None = None
        self._due_timer: Timer | None = None
        self._is_draining = False

    async def started(self) -> None:
        """Take up what an earlier life has begun. Nothing is asked of the provider yet."""
        if self._dialect is None:
            return
        file = await self._journal.open()
        self._name = f"cs{file.opened}-{self.random.getrandbits(48):012x}"
        try:
            known, unclaimed = await self._journal.do(JournalFile.load)
        except BaseException:  # one that has not started is not stopped
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
            claims=Claims(are_held=self._policy.is_acknowledged),
        )
        self._driver = BatchDriver(
            control=self._control,
            dialect=self._dialect,
            journal=self._journal,
            policy=self._policy,
            retry=self._retry,
            random=self.random,
            encode=self._encode,
            deliver=self._deliver,
            known=lambda: {batch.job.batch_id for batch in self._batches.values()},
            observer=self._observer,
        )
        for answer in unclaimed:
            self._table.offer_result(answer.key, answer.custom_id)
        for one in known:
            self._take_up(one)

    async def stopped(self) -> None:
        """Close the connections and the journal. Batches go on at the provider."""
        if self._control is not None:
            await self._control.aclose()
        await self._journal.close()

    async def draining(self) -> None:
        """Send what is left: nothing more will come."""
        self._is_draining = True
        self._send_gathered()

    @defers(Stream)
    async def pass_on(self, message: Stream, slot: ReplySlot[None]) -> None:
        """Hand on at once a call whose waiter wants to see it being written."""
        await slot.forward(self._to, message)

    @defers(Complete)
    async def gather(self, message: Complete, slot: ReplySlot[Response]) -> None:
        """Take one request in."""
        waiter = None if self._dialect is None else self._waiter(message, slot)
        if waiter is None:
            self._counts["live"] += 1
            await slot.forward(self._to, message)
            return
        slot.on_settled(partial(self._left, waiter))
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

    @handles(_Gathered)
    async def gathered(self, message: _Gathered) -> None:  # noqa: ARG002  # it only says when
        """Send what was gathered."""
        self._gather_timer = None
        self._send_gathered()

    @handles(_Drive)
    async def drive(self, message: _Drive) -> None:
        """Do what is next for a batch, until there is something to wait for."""
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
    async def due(self, message: _DeadlineNear) -> None:  # noqa: ARG002  # it only says when
        """Send those live whose deadline is near."""
        self._due_timer = None
        while (waiter := self._deadlines.take(trio.current_time())) is not None:
            await self._go_live(waiter)
        self._watch(None)

    @handles(AcknowledgeResponses, urgent=True)
    async def acknowledge(self, message: AcknowledgeResponses) -> None:
        """Take out of the journal what is kept elsewhere."""
        if self._dialect is not None:
            await self._results.acknowledge(message.calls)

    @handles(GetBatchApiStatistics, urgent=True)
    async def count(self, message: GetBatchApiStatistics) -> BatchApiStatistics:  # noqa: ARG002  # it only asks
        """Say what is going on."""
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

    # ---------------------------------------------------------------- who asks

    def _waiter(self, message: Complete, slot: ReplySlot[Response]) -> BatchWaiter | None:
        """One who asks for what can be in a batch; None if it cannot even be said."""
        request, now = message.request, trio.current_time()
        try:
            form = self._endpoint.format_for(request)
            body = form.encode(request, stream=False)
            text, path = dumps(body), form.path(request, stream=False)
            key = content_key(self._account, path, body)
        except (ValueError, TypeError):
            return None  # the live way says what is wrong with it
        tokens = self._estimator.estimate(request).input_tokens
        due = now + (inf if request.deadline is None else request.deadline)
        return BatchWaiter(
            message=message,
            slot=slot,
            key=key,
            group=BatchGroup(path, request.model),
            size=LineSize(len(text) + _OVERHEAD_BYTES, tokens, len(request.inputs)),
            due=due,
            margin_s=self._policy.margin_s(min(due, slot.deadline) - now),
        )

    async def _add(self, waiter: BatchWaiter) -> None:
        """Have one wait for the next batch; or send it live, where it cannot be in one."""
        now = trio.current_time()
        waiter.line = None
        if waiter.slot.done or waiter.is_out:
            return
        if waiter.live_at <= now or not self._plan.takes(waiter.group, waiter.size):
            await self._go_live(waiter)
            return
        self._plan.add(waiter.group, waiter, waiter.size, now)
        self._watch(waiter)
        self._send_gathered()

    def _left(self, waiter: BatchWaiter, slot: ReplySlot[Response]) -> None:
        """One has his answer, or has gone."""
        if self._plan.discard(waiter) or waiter.line is None or waiter.line.is_over:
            return
        line = waiter.line
        line.waiter = None
        self._table.offer_line(line)
        has_gone = slot.outcome in (Outcome.CANCELLED, Outcome.EXPIRED)
        self._let_go(line.batch, waiter, may_return=has_gone)

    def _let_go(self, batch: BatchInFlight, waiter: BatchWaiter, *, may_return: bool) -> None:
        """One does not count on a batch any more; when nobody does, it is given up."""
        if waiter not in batch.waiting:
            return
        batch.waiting.discard(waiter)
        batch.is_left |= may_return
        # Those who waited for what the journal told of died with their process; they may ask again.
        if not batch.waiting and not batch.job.is_found:
            now = trio.current_time()
            keeps = batch.is_left and self._journal.is_durable
            batch.job.abandon(now + (self._policy.abandon_s if keeps else 0.0))
            self._wake(batch, now)

    def _watch(self, waiter: BatchWaiter | None) -> None:
        """See to it that one is sent live in time, and that the timer goes by the first of them."""
        if waiter is not None:
            self._deadlines.watch(waiter)
        due_at, timer = self._deadlines.due_at, self._due_timer
        if timer is not None and timer.when > due_at:
            timer.cancel()
            timer = self._due_timer = None
        if timer is None and due_at < inf:
            self._due_timer = self.send_at(due_at, _DeadlineNear())

    async def _go_live(self, waiter: BatchWaiter, *, maybe_billed: int = 0) -> None:
        """One does not wait for a batch any longer."""
        line = waiter.line
        if line is not None and not line.is_over:
            maybe_billed = 1  # the batch goes on, and may do it as well
            self._let_go(line.batch, waiter, may_return=False)
        else:
            self._plan.discard(waiter)
        await self._deadlines.send(waiter, maybe_billed=maybe_billed)

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
        job = BatchJob(name, waiters, self._policy.window_s, self._policy.settle_s)
        batch = BatchInFlight(job, gathered.group, gathered.tokens, now)
        batch.waiting.update(waiters.values())
        for custom_id, waiter in waiters.items():
            line = BatchLine(custom_id, waiter.key, batch, waiter.message, waiter)
            waiter.line = batch.lines[custom_id] = line
        self._batches[name] = batch
        self._wake(batch, now)

    def _encode(self, message: Complete) -> bytes:
        request = message.request
        return dumps(self._endpoint.format_for(request).encode(request, stream=False))

    def _take_up(self, known: KnownBatch) -> None:
        """Go on with a batch of an earlier life. Whoever asks for a line of it again, has it."""
        now = trio.current_time()
        job = BatchJob.found(
            known.id,
            [custom_id for custom_id, _ in known.lines],
            size=known.size,
            mark=known.mark,
            batch_id=known.batch_id,
            is_certain=known.is_certain,
            window_s=self._policy.window_s,
            settle_s=self._policy.settle_s,
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
        """Look at a batch; while it is being looked at, that is done anyway."""
        if batch.is_busy or batch.job.id not in self._batches:
            return
        if batch.timer is not None:
            batch.timer.cancel()
        batch.timer = self.send_at(when, _Drive(batch))

    async def _deliver(self, batch: BatchInFlight, results: LineResults) -> None:
        for waiter, why in await self._results.deliver(batch, results):
            batch.waiting.discard(waiter)
            if waiter.is_out:
                continue  # a live call is under way already
            if why.is_retried:
                await self._go_live(waiter, maybe_billed=int(why.maybe_billed))
            else:
                self._fail(waiter, why.error)

    async def _end(self, batch: BatchInFlight) -> None:
        """A batch is over. Those without a result are asked for again, in the way that fits."""
        del self._batches[batch.job.id]
        left = {custom_id: batch.lines.pop(custom_id) for custom_id in batch.job.release()}
        for line in left.values():
            line.is_over = True
            self._table.withdraw_line(line)
        if batch.is_intended:
            await self._journal.do(partial(JournalFile.finish, batch=batch.job.id))
        after = handle_orphans(batch.job, left, batch.error)
        self._plan.ended(batch.group, batch.tokens)
        if after.is_overflow:
            until = trio.current_time() + self._policy.max_poll_s
            self._plan.overflowed(batch.group, batch.tokens, after.stated_limit, until)
            for one in self._plan.oversize(batch.group):
                await self._go_live(one)
        if left and batch.job.ending in ("refused", "lost"):
            ending, why = batch.job.ending, None if batch.error is None else str(batch.error)
            _log.warning(
                "batch_lost", batch=batch.job.id, ending=ending, lines=len(left), error=why
            )
        for custom_id, line in left.items():
            waiter = line.waiter
            if waiter is None or waiter.is_out:
                continue
            if not after.maybe_billed:
                waiter.refund()
            if custom_id in after.again:
                await self._add(waiter)
            elif custom_id in after.live:
                await self._go_live(waiter, maybe_billed=int(after.maybe_billed))
            elif batch.error is not None:
                self._fail(waiter, batch.error)
        self._send_gathered()

    def _fail(self, waiter: BatchWaiter, error: CallFailed) -> None:
        if waiter.slot.fail(error):
            self._counts["failed"] += 1


def _bounds(policy: BatchApiPolicy, dialect: BatchDialect | None) -> BatchSizeLimits:
    """The provider's limits of one batch, and those that are set."""
    if dialect is None:
        return BatchSizeLimits(0, 0, 0)
    requests = min(dialect.max_requests, policy.max_requests or dialect.max_requests)
    size = min(dialect.max_bytes, policy.max_bytes or dialect.max_bytes)
    return BatchSizeLimits(requests, size, dialect.max_inputs)
