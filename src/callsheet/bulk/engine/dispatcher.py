"""Send the requests of the rows, each in a task of its own, and record how each row ends."""

from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from math import inf
from typing import final

import attrs
import trio

from ...actors import (
    AuthenticationFailed,
    BatchUnavailable,
    BudgetExceeded,
    CallEvent,
    CallFailed,
    ConnectionFailed,
    DeadlineTooShort,
    LedgerUnavailable,
    ProviderUnavailable,
    QuotaExhausted,
    RateLimited,
    Request,
    Response,
    ResultNotValid,
    Troupe,
    UnreadableEndpoint,
    Usage,
)
from ...runtime import AskFailed, AskTimedOut
from ..errors import RUN_AGAIN, RunEnding
from ..files.archive import Placed
from ..files.lines import answer_line, failure_line
from ..files.outcome import RowOutcome
from ..progress import RowEnded
from ..row import Row
from .reader import READ_AT_ONCE
from .state import LATE, RunState

_MIN_S = 0.001
_FATAL = (
    AuthenticationFailed,
    BatchUnavailable,
    LedgerUnavailable,
    QuotaExhausted,
    UnreadableEndpoint,
)
"""Errors that every other row would meet as well."""

_TEMPORARY = (RateLimited, ProviderUnavailable, ConnectionFailed)
"""Errors that may disappear some time after the attempts of a row are used up (R10)."""

_UNREACHABLE_S = 20.0  # since the start of the run, without any connection
_NOT_FOUND = 404
_MAX_NOT_FOUND = 10  # rows with status 404, if no row has a response
_OUTAGE_S = 30.0  # without any response
_MAX_ROUNDS = 10  # further rounds of attempts for a row during an outage
_FEW_ROUNDS = 2  # further rounds while other rows get responses


@final
class Dispatcher:
    """Sends a row when the end of another one is on disk.

    Args:
        state: the state of the run.
        prepare: makes the request to send from a row's request and the seconds that are left.
        lane: the lane of the run's calls.
        wall_clock: returns the Unix time in seconds.
    """

    def __init__(
        self,
        state: RunState,
        prepare: Callable[[Request, float | None], Request],
        lane: str,
        wall_clock: Callable[[], float],
    ) -> None:
        self._state = state
        self._prepare = prepare
        self._lane = lane
        self._wall_clock = wall_clock
        self._maybe_billed: Counter[str] = (
            Counter()
        )  # attempts of a row that may have been charged for
        self._not_found = 0  # rows that failed with status 404: no such path, or no such model
        self._earlier: dict[str, list[int]] = {}  # attempts of a row in each earlier round

    async def run(self, troupe: Troupe, work: trio.Nursery) -> None:
        """Send rows until all have ended or the run ends.

        Args:
            troupe: sends the requests.
            work: the nursery of the tasks.
        """
        state, queue = self._state, self._state.queue
        while True:
            while (placed := queue.next()) is not None:
                work.start_soon(self._ask, troupe, placed)
            if queue.needs_bound:
                state.wake_writer.set()
            if queue.waiting < READ_AT_ONCE:
                state.wake_reader.set()
            is_last = state.is_read and not queue.waiting
            if not queue.dispatched and (is_last or queue.is_closed):
                return
            await state.wake_dispatcher.wait()

    def observe(self, event: CallEvent) -> None:
        """Record which rows are sent and which wait for a retry; this method is an `Observer`."""
        queue = self._state.queue
        if event.stage == "sent":
            self._state.requests += 1
            if self._state.is_recovered:
                if event.route == "batch":  # the journal recovers it
                    return
                if not self._state.sends_live:
                    self._state.sends_live = True
                    self._state.wake_writer.set()  # written before the response arrives
            for context in event.context.shared_by or (event.context,):
                queue.mark_sent(context.call)
        elif event.stage == "rerouted":
            self._state.rerouted += len(event.context.shared_by) or 1
        elif event.stage == "retrying":
            self._state.trouble = event.error or ""
            self._state.is_unreached = event.is_unreachable and self._state.answered_at == -inf
            if event.is_unreachable:
                self._end_if_unreachable(event)
            for context in event.context.shared_by or (event.context,):
                self._retries(context.call, event)

    def _end_if_unreachable(self, event: CallEvent) -> None:
        """End the run if no connection ever succeeded; the breaker would let it go on for hours.

        It does not while another row is in flight: a fallback target may be processing it.
        """
        state = self._state
        is_late = event.at - state.started_at >= _UNREACHABLE_S
        if is_late and state.answered_at == -inf and state.queue.running <= 1:
            state.end(_unanswered(event.error or ""))

    def _retries(self, custom_id: str, event: CallEvent) -> None:
        """Record that an attempt of a row failed; other calls are ignored."""
        state = self._state
        if custom_id in state.scopes:
            self._maybe_billed[custom_id] += event.is_billed
        if event.delay or state.cancels_unsent:
            state.queue.mark_retrying(custom_id)
            state.wake_dispatcher.set()
        if state.cancels_unsent and (scope := state.scopes.get(custom_id)) is not None:
            scope.cancel()  # no retry is needed

    async def _ask(self, troupe: Troupe, placed: Placed) -> None:
        """Send one row, and record how it ends."""
        state = self._state
        row, began_at = placed.row, trio.current_time()
        with trio.CancelScope() as scope:
            state.scopes[row.custom_id] = scope
            try:
                answer = await self._complete(troupe, row)
            except trio.Cancelled:
                maybe_billed = (
                    state.queue.is_in_flight(row.custom_id) + self._maybe_billed[row.custom_id]
                )
                state.spending.lose(row.request, maybe_billed)
                state.queue.put_back(placed)
                raise
            except (CallFailed, AskFailed, ValueError) as error:
                self._failed(placed, error, began_at)
            else:
                self._answered(placed, answer)
            finally:
                del state.scopes[row.custom_id]
                self._maybe_billed.pop(row.custom_id, None)
                state.wake_dispatcher.set()

    async def _complete(self, troupe: Troupe, row: Row) -> Response:
        due = self._state.due
        left_s = None if due is None else max(_MIN_S, due - trio.current_time())
        request = self._prepare(row.request, left_s)
        return await troupe.complete(request, call=row.custom_id, lane=self._lane)

    def _answered(self, placed: Placed, answer: Response) -> None:
        row, now = placed.row, trio.current_time()
        self._state.answered_at, self._state.trouble = now, ""
        self._state.is_unreached = False
        if earlier := self._earlier.pop(row.custom_id, None):
            answer = attrs.evolve(answer, http_requests=answer.http_requests + sum(earlier))
        event = RowEnded(
            at=now,
            number=row.number,
            custom_id=row.custom_id,
            seconds=answer.seconds,
            attempts=answer.http_requests,
            route=answer.route,
            usage=answer.usage,
            cost_usd=answer.cost_usd,
        )
        spending = self._state.spending
        spending.pay(row.request, answer)
        spending.lose(row.request, answer.maybe_billed, self._maybe_billed[row.custom_id])
        line = answer_line(row, answer, int(self._wall_clock()))
        self._over(placed, RowOutcome(placed.place, line, event, row.key))

    def _failed(self, placed: Placed, error: Exception, began_at: float) -> None:
        """Record a failed row, defer it, or end the run, according to the error."""
        state, row = self._state, placed.row
        state.spending.lose(row.request, self._count_maybe_billed(row.custom_id, error))
        if isinstance(error, BudgetExceeded):
            state.queue.put_back_over_budget(placed)
            if state.queue.is_spent:
                state.end(_unpaid(error, state, row.request.model))
            return
        if isinstance(error, _FATAL):
            state.queue.put_back(placed)
            state.end(_fatal(error))
            return
        call = error if isinstance(error, CallFailed) else CallFailed(str(error))
        if state.due is not None and isinstance(error, (AskTimedOut, DeadlineTooShort)):
            state.queue.put_back(placed)
            # Rows that wait in the limiter still run before the deadline.
            state.end(LATE, cancels_unsent=False)
            return
        earlier = self._earlier.get(row.custom_id, [])
        if self._is_deferred(call, len(earlier)):
            state.trouble = str(error)
            self._earlier[row.custom_id] = [*earlier, call.attempts]
            state.queue.defer(placed)
            return
        if self._is_unreachable(call):
            state.queue.put_back(placed)
            state.end(_unanswered(str(error)))
            return
        self._not_found += call.status == _NOT_FOUND
        if self._not_found >= _MAX_NOT_FOUND and state.answered_at == -inf:
            state.end(_unanswered(str(error)))
        self._earlier.pop(row.custom_id, None)
        paid = error.response if isinstance(error, ResultNotValid) else None
        if paid is not None:
            state.spending.pay(row.request, paid)
        event = RowEnded(
            at=trio.current_time(),
            number=row.number,
            custom_id=row.custom_id,
            seconds=trio.current_time() - began_at,
            attempts=call.attempts + sum(earlier),
            usage=Usage() if paid is None else paid.usage,
            cost_usd=Decimal(0) if paid is None else paid.cost_usd,
            error=type(error).__name__,
            message=str(error),
        )
        self._over(placed, RowOutcome(placed.place, failure_line(row, error), event))

    def _count_maybe_billed(self, custom_id: str, error: Exception) -> int:
        """Return how many attempts of a failed row may have been billed (L3)."""
        if isinstance(error, CallFailed):
            return error.maybe_billed or int(error.billed == "maybe")
        return self._state.queue.is_in_flight(custom_id) + self._maybe_billed[custom_id]

    def _is_deferred(self, error: CallFailed, rounds: int) -> bool:
        """Return whether a failed row is sent again later, because the provider is at fault.

        While other rows get responses this is not certain: an outage may just have begun. During an
        outage the breaker lets one row at a time through, so the rows wait, possibly for hours. The
        number of rounds is limited, because the request itself may be what no provider can process.
        """
        if not (isinstance(error, _TEMPORARY) and error.is_transient) or rounds >= _MAX_ROUNDS:
            return False
        if isinstance(error, RateLimited):
            return True
        if trio.current_time() - self._state.answered_at < _OUTAGE_S:
            return rounds < _FEW_ROUNDS
        return not self._is_unreachable(error)

    def _is_unreachable(self, error: CallFailed) -> bool:
        """Return whether no connection has ever succeeded: the address may be wrong."""
        is_first = self._state.answered_at == -inf
        return is_first and isinstance(error, ConnectionFailed) and error.billed == "no"

    def _over(self, placed: Placed, ended: RowOutcome) -> None:
        self._state.queue.end(placed)
        self._state.ended.append(ended)
        self._state.unwritten_bytes += len(ended.line)
        self._state.wake_writer.set()


def _unanswered(why: str) -> RunEnding:
    return RunEnding("unanswered", why, f"afterwards {RUN_AGAIN}")


def _fatal(error: Exception) -> RunEnding:
    if isinstance(error, BatchUnavailable):
        remedy = "choose another route (--route live)"
        return RunEnding("unbatched", f"--route batch: {error}", remedy)
    return _unanswered(str(error))


def _unpaid(error: BudgetExceeded, state: RunState, model: str) -> RunEnding:
    most = state.settings.max_cost
    if most is None or error.left_usd is None:  # a budget other than the run's own
        return RunEnding("unpaid", str(error), RUN_AGAIN)
    if error.needs_usd is None:
        reason = f"the price of {model} is not known, so the limit of ${most} cannot be kept"
        return RunEnding("unpaid", reason, "give the price (--prices), or leave out --max-cost")
    left = f"${error.left_usd} of ${most} is left"
    spent = state.spending
    used = max(Decimal(0), most - error.left_usd - spent.cost_usd)
    if open_usd := min(spent.unknown_usd + spent.maybe_usd, used):
        left += f" (up to ${open_usd} may have been billed for what told no cost)"
    return RunEnding(
        "unpaid",
        f"the next call may cost up to ${error.needs_usd}, and {left}",
        f"raise --max-cost and {RUN_AGAIN}",
    )
