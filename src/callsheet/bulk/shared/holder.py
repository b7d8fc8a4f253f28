"""The holder of a shared run: the last stage of its troupe gives calls to workers by the queue.

It stands instead of the rate limiter, and passes no call on. So the stages before it work as in a
run of one process: the cache, identical requests that share a call, and the ledger with the budget
of the run, which reserves the most that a row can cost before the row is in the queue.

Two tasks talk to the server. One says that the holder lives, and tells the queue what is new; the
other one reads answers. Both go on when the server is back.
"""

from collections.abc import Callable, Iterable
from decimal import Decimal
from functools import partial
from hashlib import blake2b
from typing import final

import attrs
import structlog
import trio

from ...actors import (
    BudgetExceeded,
    CallAccount,
    CallContext,
    CallFailed,
    Complete,
    ConnectionFailed,
    CostBound,
    Response,
    StorageError,
    Stream,
    UnsuitableServer,
    Usage,
)
from ...runtime import Actor, AskFailed, Ref, ReplySlot, Verdict, defers
from ..errors import RUN_AGAIN, RunEnding
from ..progress import SharedProgress
from .inherited import InheritedRows
from .old_calls import OldCalls
from .pending import AnswerEntries, PendingRows
from .queue import (
    BEAT_S,
    MOST_DELIVERIES,
    HoldReply,
    QueueAnswer,
    QueuedRow,
    RunCard,
    RunState,
    WorkQueue,
)
from .wire import UnsendableRow, decode_end, encode_call

HOLDER_LEASE_S = 10.0
"""Seconds without a sign of life after which another process may write OUTPUT."""

_PUT_ROWS = 256  # in one message to the server
_PUT_BYTES = 1024**2
_DROP_ANSWERS = 1000
_WITHDRAW_ROWS = 1000
_GATHER_S = 0.02  # after a message of the server, for what is told or read with the next one
_READ_ANSWERS = 64
_WAIT_S = 5.0  # for an answer, in one message to the server
_AGAIN_S = 0.5  # after the server was away
_TRY_S = 1.0  # between two tries to become the holder
_FINISH_S = 5.0  # for the last messages of a run
_TAKE_BACK_S = 2.0  # for rows that no worker has, before the other calls are given up

_REPAIR = ".repair"  # ends the id of a second call for a valid result

_log = structlog.stdlib.get_logger()


class RowWithdrawn(AskFailed):
    """A row left the queue before any worker had it, because the run starts no more rows."""

    def __init__(self) -> None:
        super().__init__("the shared run", Verdict.NOT_STARTED, "took the row back")


@attrs.define
class SharedCounts:
    """What is known of the workers of a run.

    Args:
        card: what the queue said last; None before that.
        workers: the most workers that there were at the same time.
        again: how many times a row was given to a further worker, because one had ended over it.
            Each may have been paid for.
        is_away: whether the server was away when it was asked last.
    """

    card: RunCard | None = None
    workers: int = 0
    again: int = 0
    is_away: bool = False

    @property
    def taken(self) -> int:
        """The number of rows that workers have."""
        return 0 if self.card is None else self.card.taken

    def progress(self) -> SharedProgress:
        """Return this for displays and reports."""
        card = self.card
        return SharedProgress(
            workers=0 if card is None else len(card.workers),
            most_workers=self.workers,
            waiting=0 if card is None else card.waiting,
            again=self.again,
            is_away=self.is_away,
        )


@final
class RunHolder:
    """What outlives an incarnation of the stage: the rows in the queue, and how the run goes on.

    Args:
        queue: the queue of the run, which is open.
        name: a name of this process, which no other one has.
        settings: how workers open their troupe; see `RunCard`.
        has_budget: whether a budget holds for the calls. Then a row whose worker has ended comes
            back, and the ledger reserves for it once more before another worker gets it.
        bound: bounds what a row can cost, for the rows of an earlier holder; None if the run itself
            has no limit of costs.

    Attributes:
        fail: called with the reason if the run cannot go on, because another process writes OUTPUT.
        pending: the rows without an answer.
        counts: what is known of the workers.
        inherited: what is set aside for the rows of an earlier holder; None without a limit.
        paid_twice: called with the cost in USD, None if it is not known, of each call that was
            paid for besides, because the queue was lost while a worker had its row.
    """

    def __init__(
        self,
        queue: WorkQueue,
        name: str,
        settings: bytes,
        *,
        has_budget: bool = False,
        bound: CostBound | None = None,
    ) -> None:
        self.queue = queue
        self.pending = PendingRows[ReplySlot[Response]]()
        self.counts = SharedCounts()
        self.inherited = None if bound is None else InheritedRows(bound)
        self._name = name
        self._settings = settings
        self._most_deliveries = 1 if has_budget else MOST_DELIVERIES
        self.fail: Callable[[RunEnding], None] | None = None
        self.paid_twice: Callable[[Decimal | None], None] | None = None
        self._keys: dict[str, str] = {}  # {id of a call: key of its row}
        self._accounts: dict[ReplySlot[Response], CallAccount] = {}
        self._state: RunState = "running"
        self._told: RunState = "running"  # the state that the queue has
        self._keys_in_queue: dict[str, str] = {}  # {name of a call: key of its row}
        self._given_up: set[str] = set()  # names of calls whose rows were in the queue
        self._changed = trio.Event()
        self._taken_back = trio.Event()  # rows that no worker has, because the run ends
        self._lock = trio.Lock()  # of what is told to the queue
        self._reading = trio.CancelScope()
        self._is_over = False
        self._old_calls = OldCalls()

    def __repr__(self) -> str:
        return f"<RunHolder {self._state} {self.pending!r}>"

    # ---------------------------------------------------------------- from the run

    async def begin(self, told: Callable[[str], None]) -> str:
        """Become the holder; return the name of the process that is it instead, or "".

        A holder that has died keeps OUTPUT until its lease has ended.

        Args:
            told: called with a sentence for the user, before a wait for that.

        Raises:
            StorageError: the server is away, or it is not one that may keep a run.
        """
        await self.queue.check()
        until: float | None = None
        while True:
            reply = await self._ask_to_hold()
            now = trio.current_time()
            if reply.is_held:
                self.pending.begin(reply.epoch)
                if self.inherited is not None:
                    await self.inherited.read(self.queue)
                return ""
            if until is None:
                until = now + HOLDER_LEASE_S + BEAT_S
                told(f"Waiting up to {until - now:g} s, in case {reply.holder} has ended.")
            if now >= until:
                return reply.holder
            await trio.sleep(_TRY_S)

    def name_call(self, call: str, key: str) -> None:
        """Name the row of the next call with an id.

        Args:
            call: the id of the call.
            key: what identifies its row in this run and in later ones.
        """
        self._keys[call] = key
        if self.inherited is not None:
            self.inherited.aside.name(key, call)

    def change_state(self, state: RunState) -> None:
        """Tell workers what to do. With "draining", rows without a worker are withdrawn.

        Args:
            state: what workers do.
        """
        if self._state != "draining":
            self._state = state
            self.pending.is_draining = state == "draining"
            self.wake()

    async def take_back(self) -> None:
        """Let workers begin no more rows, and take back those that no worker has.

        It takes 2 s at most: if the server is away, rows that may be in the queue stay there.
        """
        self.change_state("draining")
        with trio.move_on_after(_TAKE_BACK_S):
            await self._taken_back.wait()
        for slot in self.pending.keep_back():
            self._take_back(slot)

    def may_be_in_hand(self, call: str) -> bool:
        """Return whether the row of a call that was given up may be at a worker.

        Args:
            call: the id of the call.
        """
        key = self._keys_in_queue.get(call)
        return call in self._given_up or (key is not None and self.pending.is_put(key))

    def acknowledge(self, answers: Iterable[AnswerEntries]) -> None:
        """Note that what followed from answers is on disk.

        Args:
            answers: what `PendingRows.claim` returned.
        """
        self.pending.acknowledge(answers)
        self.wake()

    async def finish(self, *, forget: bool) -> None:
        """Let go of OUTPUT, after the last row.

        Args:
            forget: whether nothing of the run is needed any more on the server. Otherwise another
                run of the same command goes on with it.
        """
        if self._is_over:
            return
        with trio.move_on_after(_FINISH_S):
            async with self._lock:
                self.stop()
                try:
                    if forget:
                        self.pending.acknowledge_all()
                    else:
                        self.change_state("draining")  # no worker begins what nothing waits for
                    await self._tell_queue()
                    await self._look()
                    await self.queue.end(self._name, forget=forget)
                except StorageError as error:
                    _log.warning("shared_run_unavailable", server=error.name, reason=error.reason)

    def stop(self) -> None:
        """End the tasks that talk to the server."""
        self._is_over = True
        self._reading.cancel()
        self._taken_back.set()
        self.wake()

    # ---------------------------------------------------------------- from the stage

    def claim(self, call: str) -> AnswerEntries | None:
        """Return the answers that a call had since it was asked for last; None for none.

        Args:
            call: the id of the call.
        """
        self._keys.pop(call, None)  # a response from the cache needs none
        return self.pending.claim(call)

    def row_of(self, message: Complete) -> tuple[QueuedRow, str]:
        """Return a call as a row of the queue, and the name by which its answer is claimed.

        The second request for a valid result has no key of its own: it is known by what it says.

        Args:
            message: the call, as it arrives at the stage.

        Raises:
            UnsendableRow: a part of the request is not JSON.
        """
        request, context = message.request, message.context
        name = context.call
        key = self._keys.pop(name, None)
        if key is None:
            name = name.removesuffix(_REPAIR)
            said = encode_call(attrs.evolve(request, deadline=None), CallContext(name))
            key = _digest(said)
        while self.pending.is_open(key):
            key += "+"
        run_key: str | None = None
        if request.task == "chat" and not (request.packable or request.idempotency_key):
            # One for all workers that send the row in this run, if it is sent alone.
            # Also if it comes back because its worker has ended: that may have sent it.
            first, _, rounds = key.partition(".")
            sent_as = first if rounds.isdigit() else key
            run_key = _digest(f"{context.lane}/{sent_as}".encode())
        body = encode_call(request, context, idempotency_key=run_key, is_restricted=False)
        return QueuedRow(key, body), name

    def add(
        self, row: QueuedRow, name: str, slot: ReplySlot[Response], account: CallAccount | None
    ) -> QueueAnswer | None:
        """Add a row to the queue; return its answer if that is here already.

        Args:
            row: the row, whose key no other open row has.
            name: the name by which its answer is claimed.
            slot: the call that waits for the answer.
            account: what the call has reserved; None without a ledger.
        """
        if account is not None:
            self._accounts[slot] = account
        self._given_up.discard(name)
        answer = self.pending.add(row, name, slot)
        if answer is None:
            self._keys_in_queue[name] = row.key
            self.wake()
        return answer

    def refund(self, slot: ReplySlot[Response]) -> None:
        """Note that a call has certainly cost nothing, before it ends.

        Args:
            slot: the call that is about to end.
        """
        if (account := self._accounts.get(slot)) is not None:
            account.refund()

    def left(self, key: str, name: str, slot: ReplySlot[Response]) -> None:
        """Note that a call has its answer, or was given up.

        Args:
            key: the key of the row of the call.
            name: the name by which its answer is claimed.
            slot: the call that has ended.
        """
        self._accounts.pop(slot, None)
        self._keys_in_queue.pop(name, None)
        if self.pending.is_open(key):
            if self.pending.is_put(key):
                self._given_up.add(name)
            self.pending.give_up(key)
            self.wake()

    def wake(self) -> None:
        """Tell the queue what is new."""
        self._changed.set()

    async def keep_telling(self) -> None:
        """Say that the holder lives, and tell the queue what is new, until the run is over."""
        beat_at = trio.current_time()
        while True:
            self._changed = trio.Event()
            try:
                async with self._lock:
                    if self._is_over:
                        return
                    if trio.current_time() >= beat_at:
                        beat_at = trio.current_time() + BEAT_S
                        await self._hold()
                        await self._look()
                    await self._tell_queue()
                self._seen(is_away=False)
            except UnsuitableServer as error:
                self._lose(RunEnding("server", error.reason, f"{error.remedy}; {RUN_AGAIN}"))
            except StorageError as error:
                self._seen(is_away=True, why=error.reason)
                beat_at = trio.current_time()
                await trio.sleep(_AGAIN_S)
                continue
            with trio.move_on_at(beat_at):
                await self._changed.wait()
                await trio.sleep(_GATHER_S)

    async def keep_reading(
        self, settle: Callable[[ReplySlot[Response], QueueAnswer], None]
    ) -> None:
        """Read answers, until the run is over.

        Args:
            settle: ends a call with its answer.
        """
        self._reading = trio.CancelScope()
        with self._reading:
            while not self._is_over:
                await self._read(settle)

    async def _read(self, settle: Callable[[ReplySlot[Response], QueueAnswer], None]) -> None:
        pending, epoch = self.pending, self.pending.epoch
        try:
            found = await self.queue.answers(pending.after, _READ_ANSWERS, wait_s=_WAIT_S)
        except StorageError:
            await trio.sleep(_AGAIN_S)
            return
        for answer in found:
            if pending.epoch != epoch:
                return  # what this life of the queue has is read from its beginning
            slot = pending.answered(answer)
            if slot is not None:
                settle(slot, answer)
            elif self.inherited is not None:
                self.inherited.note(answer)
        while pending.paid_twice:
            self._count_twice(pending.paid_twice.pop())
        if len(found) < _READ_ANSWERS:
            await trio.sleep(_GATHER_S)

    def _count_twice(self, answer: QueueAnswer) -> None:
        """Count what a second worker has paid for a row; it is in no reservation."""
        try:
            outcome = decode_end(answer.body).outcome
        except ValueError:
            cost_usd = None
        else:
            if isinstance(outcome, CallFailed):
                if outcome.billed == "no" and not outcome.maybe_billed:
                    return
                cost_usd = None
            else:
                cost_usd = outcome.cost_usd if isinstance(outcome, Response) else None
        self.counts.again += 1
        if self.paid_twice is not None:
            self.paid_twice(cost_usd)

    # ---------------------------------------------------------------- messages

    async def _ask_to_hold(self) -> HoldReply:
        return await self.queue.hold(
            self._name,
            self._settings,
            lease_s=HOLDER_LEASE_S,
            most_deliveries=self._most_deliveries,
        )

    async def _hold(self) -> None:
        reply = await self._ask_to_hold()
        if not reply.is_held:
            self._lose(
                RunEnding(
                    "server",
                    f"{reply.holder} has taken the run over, because this process was not heard "
                    f"of for {HOLDER_LEASE_S:g} s",
                    "let the other process finish it",
                )
            )
            return
        if self.pending.begin(reply.epoch):
            self._told = "running"  # as a queue begins
            if self._most_deliveries == 1:
                known = self.counts.card
                self._old_calls.begin(trio.current_time(), {} if known is None else known.workers)
            _log.warning("shared_run_put_again", rows=self.pending.open)

    async def _look(self) -> None:
        """Learn which workers there are."""
        card = await self.queue.card()
        if card is not None:
            self.counts.card = card
            self.counts.workers = max(self.counts.workers, len(card.workers))
            if self._old_calls.hear(trio.current_time(), card.workers):
                _log.warning("shared_run_goes_on", rows=self.pending.open)

    async def _tell_queue(self) -> None:
        """Tell the queue everything that is new; what the queue does not hear is told again."""
        pending, queue, name = self.pending, self.queue, self._name
        if self._told != self._state:
            state = self._state
            if not await queue.change_state(name, state):
                return
            self._told = state
        keys = pending.to_withdraw()
        for start in range(0, len(keys), _WITHDRAW_ROWS):
            asked = keys[start : start + _WITHDRAW_ROWS]
            for slot in pending.withdrawn(asked, await queue.withdraw(name, asked)):
                self._take_back(slot)
        if self._told == "draining":
            self._taken_back.set()
        while entries := pending.to_drop(_DROP_ANSWERS):
            if not await queue.stored(name, entries):
                return
            pending.dropped(entries)
        while self._old_calls.is_over and (rows := pending.to_put(_PUT_ROWS, _PUT_BYTES)):
            epoch = pending.epoch
            if not await queue.put(name, rows):
                return  # the queue was lost; the next sign of life begins it again
            pending.put(rows, epoch)

    def _seen(self, *, is_away: bool, why: str = "") -> None:
        if is_away and not self.counts.is_away:
            _log.warning("shared_run_unavailable", server=self.queue.name, reason=why)
        elif self.counts.is_away and not is_away:
            _log.warning("shared_run_back", server=self.queue.name)
        self.counts.is_away = is_away

    def _lose(self, ending: RunEnding) -> None:
        self._is_over = True
        if self.fail is not None:
            self.fail(ending)
        for slot in self.pending.abandon():
            self._take_back(slot)

    def _take_back(self, slot: ReplySlot[Response]) -> None:
        """End a call that no worker of this run has; its account is settled by what it has then."""
        self.refund(slot)
        slot.fail(RowWithdrawn())


@final
class SharedRunActor(Actor[Complete | Stream]):
    """Gives each call to the workers of a run, and replies with what a worker has received.

    Args:
        to: the stage that would send calls from this process.
        holder: the rows in the queue; they outlive an incarnation.
    """

    def __init__(self, to: Ref, *, holder: RunHolder) -> None:  # noqa: ARG002  # it sends nothing
        self._holder = holder

    async def started(self) -> None:
        """Start to talk to the server."""
        self.nursery.start_soon(self._holder.keep_telling)
        self.nursery.start_soon(self._holder.keep_reading, self._settle)

    @defers(Complete)
    async def give(self, message: Complete, slot: ReplySlot[Response]) -> None:
        """Give a call to the workers."""
        holder = self._holder
        try:
            row, name = holder.row_of(message)
        except UnsendableRow as error:
            slot.fail(error)
            return
        if message.account is not None:
            try:
                await message.account.take()
            except CallFailed as error:
                slot.fail(error)
                return
            # The answer may arrive at a later run, which takes over what this one has reserved.
            message.account.note_line(f"shared-{row.key}", is_resumed=True)
        slot.start()
        slot.on_settled(partial(holder.left, row.key, name))
        if slot.done:
            return
        answer = holder.add(row, name, slot, message.account)
        if answer is not None:
            self._settle(slot, answer)

    @defers(Stream)
    async def refuse(self, message: Stream, slot: ReplySlot[None]) -> None:  # noqa: ARG002  # a handler
        """Refuse a call whose caller wants pieces."""
        slot.fail(CallFailed("a shared run has no streamed calls; use `complete`"))

    def _settle(self, slot: ReplySlot[Response], answer: QueueAnswer) -> None:
        """Reply with the answer of a worker; what other workers may have paid for is in it."""
        again = answer.deliveries - 1
        if answer.is_parked and answer.deliveries < MOST_DELIVERIES:
            self._holder.counts.again += answer.deliveries
            slot.fail(_worker_ended(answer.deliveries))
            return
        self._holder.counts.again += again
        if answer.is_parked:
            parked = CallFailed(f"{answer.deliveries} workers ended while they had this row")
            slot.fail(parked.after(Usage(), Decimal(0), maybe_billed=answer.deliveries))
            return
        try:
            outcome = decode_end(answer.body).outcome
        except ValueError as error:
            slot.fail(CallFailed(str(error), billed="maybe"))
            return
        if isinstance(outcome, Response):
            if not outcome.http_requests:  # its worker sent another row's request for both
                self._holder.refund(slot)
            if again:
                outcome = attrs.evolve(
                    outcome,
                    http_requests=outcome.http_requests + again,
                    maybe_billed=outcome.maybe_billed + again,
                )
            slot.reply(outcome)
            return
        if isinstance(outcome, BudgetExceeded):  # the ledger reserves for a further attempt
            outcome = _not_reserved(outcome)
        if again and isinstance(outcome, CallFailed):
            outcome = outcome.after(Usage(), Decimal(0), attempts=again, maybe_billed=again)
        if isinstance(outcome, CallFailed) and outcome.billed == "no" and not outcome.maybe_billed:
            self._holder.refund(slot)
        slot.fail(outcome)


def _not_reserved(error: BudgetExceeded) -> CallFailed:
    """Return the end of a call whose worker had no reservation for a further attempt."""
    failed = ConnectionFailed(
        "an attempt failed that may have been billed", attempts=error.attempts, billed=error.billed
    ).after(error.usage, error.cost_usd)
    failed.maybe_billed = error.maybe_billed
    failed.is_transient = True
    return failed


def _worker_ended(times: int) -> CallFailed:
    """Return the end of a call whose worker has ended; the ledger reserves for a further one."""
    failed = ConnectionFailed(
        "a worker ended while it had this row", attempts=times, billed="maybe"
    )
    failed.maybe_billed = times
    failed.is_transient = True
    return failed


def _digest(value: bytes) -> str:
    return blake2b(value, digest_size=16).hexdigest()
