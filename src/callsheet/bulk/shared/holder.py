"""The holder of a shared run: the process that writes OUTPUT, and gives rows to the queue.

One task says that the holder lives, and tells the queue what is new; `RunAnswers` reads answers
in another one. Both go on when the server is back. `SharedRunActor` is how calls arrive.
"""

from collections.abc import Callable, Iterable
from typing import final

import structlog
import trio

from ...actors import (
    CallAccount,
    Complete,
    CostBound,
    Response,
    StorageError,
    UnsuitableServer,
)
from ...runtime import AskFailed, ReplySlot, Verdict
from ..errors import RUN_AGAIN, RunEnding
from .counts import SharedCounts
from .inherited import InheritedRows
from .old_calls import OldCalls
from .pending import AnswerEntries, PendingRows
from .queue import (
    BEAT_S,
    MOST_DELIVERIES,
    HoldReply,
    QueueAnswer,
    QueuedRow,
    RunState,
    WorkQueue,
)
from .row_keys import RowKeys
from .run_answers import RunAnswers

HOLDER_LEASE_S = 10.0
"""Seconds without a sign of life after which another process may write OUTPUT."""

_PUT_ROWS = 256  # in one message to the server
_PUT_BYTES = 1024**2
_DROP_ANSWERS = 1000
_WITHDRAW_ROWS = 1000
_GATHER_S = 0.02  # after a message of the server, for what is told with the next one
_AGAIN_S = 0.5  # after the server was away
_TRY_S = 1.0  # between two tries to become the holder
_FINISH_S = 5.0  # for the last messages of a run
_TAKE_BACK_S = 2.0  # for rows that no worker has, before the other calls are given up

_log = structlog.stdlib.get_logger()


class RowWithdrawn(AskFailed):
    """A row left the queue before any worker had it, because the run starts no more rows."""

    def __init__(self) -> None:
        super().__init__("the shared run", Verdict.NOT_STARTED, "took the row back")


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
        reader: reads the answers.
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
        self.reader = RunAnswers(queue, self.pending, self.counts, self.inherited)
        self._keys = RowKeys()
        self._accounts: dict[ReplySlot[Response], CallAccount] = {}
        self._state: RunState = "running"
        self._told: RunState = "running"  # the state that the queue has
        self._keys_in_queue: dict[str, str] = {}  # {name of a call: key of its row}
        self._given_up: set[str] = set()  # names of calls whose rows were in the queue
        self._changed = trio.Event()
        self._taken_back = trio.Event()  # rows that no worker has, because the run ends
        self._lock = trio.Lock()  # of what is told to the queue
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
        self._keys.name(call, key)
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
        self.reader.stop()
        self._taken_back.set()
        self.wake()

    # ---------------------------------------------------------------- from the stage

    def claim(self, call: str) -> AnswerEntries | None:
        """Return the answers that a call had since it was asked for last; None for none.

        Args:
            call: the id of the call.
        """
        self._keys.forget(call)
        return self.pending.claim(call)

    def row_of(self, message: Complete) -> tuple[QueuedRow, str]:
        """Return a call as a row of the queue, and the name by which its answer is claimed.

        Args:
            message: the call, as it arrives at the stage.

        Raises:
            UnsendableRow: a part of the request is not JSON.
        """
        return self._keys.row_of(message, self.pending.is_open)

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
                self.counts.note_there(self.queue.name)
            except UnsuitableServer as error:
                self._lose(RunEnding("server", error.reason, f"{error.remedy}; {RUN_AGAIN}"))
            except StorageError as error:
                self.counts.note_away(self.queue.name, error.reason)
                beat_at = trio.current_time()
                await trio.sleep(_AGAIN_S)
                continue
            with trio.move_on_at(beat_at):
                await self._changed.wait()
                await trio.sleep(_GATHER_S)

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
            self.counts.note_card(card)
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

    def _lose(self, ending: RunEnding) -> None:
        self._is_over = True
        self.reader.stop()
        if self.fail is not None:
            self.fail(ending)
        for slot in self.pending.abandon():
            self._take_back(slot)

    def _take_back(self, slot: ReplySlot[Response]) -> None:
        """End a call that no worker of this run has; its account is settled by what it has then."""
        self.refund(slot)
        slot.fail(RowWithdrawn())
