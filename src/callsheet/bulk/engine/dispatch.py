"""The state of a dispatcher: rows, calls in flight, money, and why the run ends. Pure (R14).

Its methods decide at once and wait for nothing; `DispatcherActor` sends what they decide. It is of
the actor's place, so it outlives a crash of the actor: no call in flight is forgotten.
"""

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from hashlib import blake2b
from typing import final

import trio

from ...actors import BudgetExceeded, CallEvent, CallFailed, CallStage, CostBound, Response
from ...runtime import AskFailed, AskTimedOut, Verdict
from ..errors import DRAINED, LATE, RunEnding
from ..row import Placed, Row, ended_by
from ..settings import RetriedReason
from ..shared.holder import RunHolder
from ..spending import BudgetRoom, RunSpend, Spending
from .health import ProviderHealth
from .outcomes import RowOutcomes
from .queue import RowCall, RowQueue
from .store import Keep

OBSERVED: frozenset[CallStage] = frozenset({"sent", "resumed", "rerouted", "retrying"})
"""The stages of calls that change the state."""


@final
class Dispatch:
    """The state of the dispatcher of a run.

    Args:
        account: what earlier runs have spent.
        ahead: the number of rows that may be dispatched at a time; see `RowQueue`.
        in_flight: the number of calls that may be in flight at a time.
        is_recovered: True if calls survive the death of the process, through the Batch API's
            journal.
        max_cost: the budget of the run in USD; None if it has none.
        deadline_s: the maximum duration of the run in seconds; None for no limit.
        bound: bounds what one attempt of a request can cost.
        retry_on: the finish reasons of responses whose rows are asked once more.
        holder: the holder of a shared run, whose workers make the calls; None for another run. What
            is in its queue survives the death of this process.
        wall_clock: returns the Unix time in seconds.
        clock: returns the time in seconds on Trio's clock.

    Attributes:
        queue: the rows to dispatch.
        calls: {custom id: the call of a dispatched row}
        spending: what was spent.
        health: what is known of the provider.
        outcomes: the rows that have ended and are not on disk.
        unacknowledged: custom ids of stored responses that the batch journal may drop.
        requests: the number of HTTP requests sent.
        rerouted: the number of rows that were sent live, and not in a batch.
        in_batches: the number of rows that the provider has in batches now.
        is_read: True if the input has ended.
        is_counted: True if no row is in flight, none will be, and the account is exact.
        is_over: True if nothing is in flight, nothing will be, and what could be kept is kept.
        ending: why the run ends, or has ended, before its input; None if it does not.
        started_at: the start of the run, in seconds on Trio's clock.
        due: the deadline of the run, in seconds on Trio's clock; None for no deadline.
        max_cost: the budget of the run in USD; None if it has none.
        room: the room of the budget for calls in flight; None if it has held back no call.
        wake: called when the actor may have something to send.
    """

    def __init__(
        self,
        account: RunSpend,
        *,
        ahead: int,
        in_flight: int,
        is_recovered: bool,
        max_cost: Decimal | None,
        deadline_s: float | None,
        bound: CostBound,
        retry_on: Sequence[RetriedReason] = (),
        holder: RunHolder | None = None,
        wall_clock: Callable[[], float],
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        self.queue = RowQueue(ahead)
        self.calls: dict[str, RowCall] = {}
        self.spending = Spending(account, bound)
        self.started_at = clock()
        self.due = None if deadline_s is None else self.started_at + deadline_s
        self.health = ProviderHealth(self.started_at, is_timed=self.due is not None)
        self.outcomes = RowOutcomes(wall_clock)
        self.requests = self.rerouted = self.in_batches = 0
        self.unacknowledged: list[str] = []
        self.is_read = self.is_counted = self.is_over = False
        self.ending: RunEnding | None = None
        self.wake: Callable[[], None] = _do_nothing
        self._in_flight = in_flight
        self._is_recovered = is_recovered
        # Near the deadline, rows are sent live; but those of a shared run stay in its queue.
        self._sends_live = deadline_s is not None and holder is None
        self._holder = holder
        if holder is not None:
            holder.reader.paid_twice = self._paid_twice
            if holder.inherited is not None:
                self.spending.aside = holder.inherited.aside
        self.max_cost = max_cost
        self.room: BudgetRoom | None = None
        self._retry_on = frozenset[str](retry_on)
        self._clock = clock
        self._writes_account = self._stops_retries = self._is_last = False

    def __repr__(self) -> str:
        return f"<Dispatch {self.queue!r}>"

    @property
    def is_done(self) -> bool:
        """Whether every row of the input has ended and is on disk."""
        rest = self.queue.waiting or self.queue.dispatched or self.outcomes.has_unkept
        return self.is_read and not rest

    # ---------------------------------------------------------------- rows and calls

    def add(self, rows: Sequence[Placed], *, is_last: bool) -> None:
        """Add rows to dispatch.

        Args:
            rows: the next rows without a response.
            is_last: True if the input has no more rows.
        """
        for placed in rows:
            self.spending.admit(placed.row.request)
        self.queue.add(rows)
        self.is_read = is_last
        self.wake()

    def next(self) -> RowCall | None:
        """Return the next row whose call may begin; None if no row may start now."""
        placed = self.queue.next()
        if placed is None:
            return None
        call = self.calls[placed.row.custom_id] = RowCall(placed, self._clock())
        return call

    def observe(self, event: CallEvent) -> None:
        """Record which rows are sent and which wait for a retry; called for `OBSERVED`.

        It takes effect in the event itself. As a message it could be late, and a row that was sent
        would be cancelled as one that was not.
        """
        if event.stage == "sent":
            self.requests += 1
            if self._is_recovered:
                self._note_batch(event, is_in_batch=event.route == "batch")
                if event.route == "batch":  # the journal recovers it
                    return
                if not self._sends_live:
                    self._sends_live = self._writes_account = True  # before the response arrives
                    self.wake()
            for context in event.context.shared_by or (event.context,):
                self.queue.mark_sent(context.call)
        elif event.stage == "resumed":
            self._note_batch(event, is_in_batch=True)
        elif event.stage == "rerouted":
            self.rerouted += len(event.context.shared_by) or 1
        elif event.stage == "retrying":
            if ending := self.health.note_retry(event, self.queue.running):
                self.end(ending)
            for context in event.context.shared_by or (event.context,):
                self._retries(context.call, event)

    def _note_batch(self, event: CallEvent, *, is_in_batch: bool) -> None:
        for context in event.context.shared_by or (event.context,):
            if (call := self.calls.get(context.call)) is not None:
                self.in_batches += is_in_batch - call.is_in_batch
                call.is_in_batch = is_in_batch

    def health_noted(self, event: CallEvent) -> None:
        """Record that an attempt of the worker in this process failed; for "retrying" alone."""
        if ending := self.health.note_retry(event, self.queue.running):
            self.end(ending)

    def _retries(self, custom_id: str, event: CallEvent) -> None:
        """Record that an attempt of a row failed; other calls are ignored."""
        call = self.calls.get(custom_id)
        if call is not None:
            call.maybe_billed += event.is_billed
        if event.delay or self._stops_retries:
            self.queue.mark_retrying(custom_id)
            self.wake()
        if call is not None and self._stops_retries:
            call.cancel()  # no retry is needed

    def answered(self, call: RowCall, response: Response) -> None:
        """Record the response to a row."""
        row, now = self._leave(call), self._clock()
        self._claim(row, response.http_requests)
        self.health.note_response(now)
        self.spending.pay(row.request, response.cost_usd)
        self.spending.lose(row.request, response.maybe_billed, call.maybe_billed)
        is_final = call.placed.earlier is not None or not self._is_unwanted(response)
        found = self.outcomes.answered(call.placed, response, now, is_final=is_final)
        if is_final:
            self.queue.end(call.placed)
        else:
            self.queue.ask_again(call.placed, found)

    def _is_unwanted(self, response: Response) -> bool:
        """Return whether a row is asked again because of how its response ended.

        The journal of batches would recover the same response. So the next run asks again.
        """
        is_in_journal = self._is_recovered and self._holder is None
        return bool(self._retry_on) and not (
            is_in_journal or self.queue.is_closed or ended_by(response) not in self._retry_on
        )

    def cancelled(self, call: RowCall) -> None:
        """Record that the call of a row was cancelled; the row goes back to the queue."""
        row = self._leave(call)
        self.spending.lose(row.request, self._may_be_billed(call))
        self._note_left(call)
        self.queue.put_back(call.placed)

    def failed(self, call: RowCall, error: Exception) -> None:
        """Record a failed row, send it again later, or end the run, according to the error."""
        row, now = self._leave(call), self._clock()
        if isinstance(error, CallFailed):
            self._claim(row, error.attempts)
            self.spending.pay(row.request, error.cost_usd)
            self.spending.lose(row.request, error.maybe_billed or int(error.billed == "maybe"))
        else:
            self._claim(row)
            lost = self._may_be_billed(call, error)
            self.spending.lose(row.request, lost)
            if not lost:
                self._note_left(call)
        judged = self.health.judge(error, self.outcomes.rounds_of(row.custom_id), now)
        match judged.fate:
            case "is over the budget":
                self.outcomes.note_failure(row.custom_id, error)
                self.queue.put_back_over_budget(call.placed)
                if isinstance(error, BudgetExceeded):
                    self.room = self.spending.room(error, self.max_cost, row.request)
                    if self.queue.is_spent:
                        self.end(self.spending.unpaid(error, self.max_cost, row.request.model))
            case "waits":
                self.outcomes.note_failure(row.custom_id, error, rounds=1)
                self.queue.defer(call.placed)
            case "goes back":
                self.queue.put_back(call.placed)
            case "fails":
                self.outcomes.failed(call, error, now)
                self.queue.end(call.placed)
        if judged.ending is not None:
            # Rows that wait in the limiter still run before the deadline.
            self.end(judged.ending, cancels_unsent=judged.ending is not LATE)

    def _may_be_billed(self, call: RowCall, error: Exception | None = None) -> int:
        """Return how many attempts of a row may be billed, if its end does not tell (L3)."""
        if self._holder is not None:  # a row in the queue has its answer later, in any run
            if not isinstance(error, AskFailed) or isinstance(error, AskTimedOut):
                return 0
            return int(error.verdict is Verdict.MAY_HAVE_RUN)
        return self.queue.is_in_flight(call.row.custom_id) + call.maybe_billed

    def _paid_twice(self, cost_usd: Decimal | None) -> None:
        """Count a call of a row that has another response, and write that down."""
        self.spending.pay_beside(cost_usd)
        self._writes_account = True
        self.wake()

    def _note_left(self, call: RowCall) -> None:
        """Count a row whose call was given up, and whose response the next run takes."""
        if call.is_in_batch:
            self.spending.leave_in_batch(call.row.request)
        elif self._holder is not None and self._holder.may_be_in_hand(call.row.custom_id):
            self.spending.leave(call.row.request)

    def _claim(self, row: Row, requests: int = 0) -> None:
        """Note the answers that a row of a shared run had from the queue.

        Args:
            row: the row whose call has ended.
            requests: the HTTP requests that a worker has sent for it.
        """
        if self._holder is None:
            return
        self.requests += requests
        if (found := self._holder.claim(row.custom_id)) is not None:
            self.outcomes.note_answers(row.custom_id, found)

    def key_of(self, placed: Placed) -> str:
        """Return what identifies the next call of a row in the queue of a shared run.

        It is the same in a later run, unless that asks for the row once more.

        Args:
            placed: the row that is to be sent.
        """
        rounds = self.outcomes.rounds_of(placed.row.custom_id)
        earlier = b"" if placed.earlier is None else placed.earlier.line
        digest = blake2b(placed.row.key, digest_size=16, key=blake2b(earlier).digest())
        return f"{digest.hexdigest()}.{rounds}" if rounds else digest.hexdigest()

    def _leave(self, call: RowCall) -> Row:
        if self.calls.pop(call.row.custom_id, None) is not None:
            self.in_batches -= call.is_in_batch
        self.wake()
        return call.row

    # ---------------------------------------------------------------- what the store keeps

    def take_keep(self) -> Keep | None:
        """Return the next message for the store; None if there is nothing to write.

        The rows that have ended go with the bound on the rows that may start next. The last message
        of a run says that no call is in flight any more.
        """
        queue = self.queue
        if queue.is_closed and not self.calls:
            for placed in queue.take_answered():
                if placed.earlier is not None:
                    self.outcomes.keep_earlier(placed, placed.earlier, self._clock())
        if self.outcomes.has_new or self._writes_account or queue.needs_bound:
            bound = queue.take_bound()
            sent = queue.finished + self._at_risk(bound) if self._is_recovered else bound
        elif self.is_counted and not (self.outcomes.is_keeping or self._is_last):
            self._is_last = True
            bound = queue.take_bound()
            sent = queue.finished
        else:
            return None
        self._writes_account = False
        ended = self.outcomes.take()
        return Keep(ended, self.spending.so_far(sent=sent, ended=queue.finished), bound)

    def kept(self, keep: Keep, ending: RunEnding | None) -> None:
        """Record that the store has written a message to disk.

        Args:
            keep: the message to the store.
            ending: why no more rows should start; None if they may.
        """
        self.queue.bound_written(keep.bound)
        if self._holder is not None:
            self._holder.acknowledge(found for one in keep.ended for found in one.answers)
        elif self._is_recovered:
            ids = (one.event.custom_id for one in keep.ended if one.key is not None)
            self.unacknowledged.extend(ids)
        self.outcomes.kept(keep.ended)
        self._replied(ending)

    def not_kept(self, keep: Keep, ending: RunEnding, *, is_crash: bool = False) -> None:
        """Record that the store has not written a message.

        Args:
            keep: the message to the store.
            ending: the ending of the run because of it.
            is_crash: True after a crash: the next incarnation of the store gets the rows at once.
                Otherwise they are tried again with the next row that ends.
        """
        self.queue.bound_lost(keep.bound)
        self.outcomes.not_kept(keep.ended, is_crash=is_crash)
        if is_crash:
            self._is_last, self._writes_account = False, True
        self._replied(ending)

    def _replied(self, ending: RunEnding | None) -> None:
        if ending is not None:
            self.end(ending)
        if self._is_last and not self.outcomes.is_keeping:
            self.is_over = True
        self.wake()

    @property
    def has_stopped(self) -> bool:
        """Whether no row is in flight, and none will be."""
        is_last = self.is_read and not self.queue.waiting
        return not self.calls and (is_last or self.queue.is_closed)

    def _at_risk(self, bound: int) -> int:
        """Return how many rows are lost at most if the process dies, while its batches survive."""
        return min(bound - self.queue.finished, self._in_flight) if self._sends_live else 0

    # ---------------------------------------------------------------- control

    def pause(self) -> None:
        """Start no more rows until `resume`; rows in flight go on."""
        self.queue.is_paused = True
        if self._holder is not None:
            self._holder.change_state("paused")
        else:
            self._cancel(self.queue.unsent)

    def resume(self) -> None:
        """Continue after `pause`."""
        self.queue.is_paused = False
        if self._holder is not None:
            self._holder.change_state("running")
        self.wake()

    def change_in_flight(self, ahead: int, in_flight: int) -> None:
        """Change how many rows may be dispatched at a time.

        Args:
            ahead: the number of rows that may be dispatched.
            in_flight: the number of calls that may be in flight.
        """
        self._in_flight = max(self._in_flight, in_flight)  # calls in flight go on
        self.queue.ahead = ahead
        self.wake()

    def end(self, ending: RunEnding, *, cancels_unsent: bool = True) -> None:
        """Start no more rows.

        Args:
            ending: the reason, for the user.
            cancels_unsent: True to cancel rows that were not sent, and rows that wait for a retry.
        """
        if self.ending is not None or self.is_over:
            return
        self.ending = ending
        self.queue.is_closed = True
        if cancels_unsent and self._holder is not None:
            self._holder.change_state("draining")
        elif cancels_unsent:
            self._stops_retries = True
            self._cancel(self.queue.unsent)
            self._cancel(self.queue.retrying)
        self.wake()

    def close(self, ending: RunEnding | None = None) -> None:
        """Start no more rows, because all calls will be cancelled soon.

        Args:
            ending: as of `end_at_once`, which follows.
        """
        if ending is not None:
            self.end(ending)
        self.queue.is_closed = True
        self.wake()

    def end_at_once(self, ending: RunEnding | None = None) -> None:
        """Start no more rows, and cancel all calls in flight.

        Args:
            ending: the reason, for the user; None if the program itself leaves the run.
        """
        if self.is_over:
            return
        if ending is not None:
            self.end(ending)
        self.queue.is_closed = True
        self._cancel(list(self.calls))
        self.wake()

    @property
    def final_ending(self) -> RunEnding | None:
        """The ending, unless it is a stop of the user, or the deadline, and every row has ended."""
        return None if self.is_done and self.ending in (DRAINED, LATE) else self.ending

    def _cancel(self, custom_ids: Iterable[str]) -> None:
        for custom_id in custom_ids:
            if (call := self.calls.get(custom_id)) is not None:
                call.cancel()


def _do_nothing() -> None:
    pass
