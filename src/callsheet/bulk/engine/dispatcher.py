"""Asks for the rows of a run, a task each, and takes down what becomes of each."""

from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from math import inf
from typing import final

import attrs
import trio

from ...actors import (
    AuthenticationFailed,
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
    Troupe,
)
from ...runtime import AskFailed, AskTimedOut
from ..errors import RunEnding
from ..files.archive import Placed
from ..files.lines import answer_line, failure_line
from ..files.outcome import RowOutcome
from ..progress import RowEnded
from ..row import Row
from .reader import READ_AT_ONCE
from .state import LATE, RunState

__all__ = [
    "Dispatcher",
]


_LEAST_S = 0.001
_HOPELESS = (AuthenticationFailed, QuotaExhausted, LedgerUnavailable)
"""What every other row would fail with as well."""

_PASSING = (RateLimited, ProviderUnavailable, ConnectionFailed)
"""What may be over some time after the attempts of a row are used up (R10)."""

_NOBODY_S = 20.0  # from the start, if nobody can be reached
_NOT_FOUND = 404
_MOST_NOWHERE = 10  # rows, if no row was answered
_OUTAGE_S = 30.0  # without any answer
_MOST_ROUNDS = 10  # of attempts, after the first one, of a row that is not to blame
_FEW_ROUNDS = 2  # of one that may be


@final
class Dispatcher:
    """Begins a row when another one is on disk.

    Args:
        state: of the run.
        prepare: makes of a request what is asked, with the seconds that are left for the run.
        lane: of the run's calls.
        wall_clock: seconds of Unix time.
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
        self._in_vain: Counter[str] = Counter()  # attempts of a row that may have been charged for
        self._nowhere = 0  # rows that failed because there is no such path, or model
        self._earlier: dict[str, list[int]] = {}  # attempts of a row in each earlier round

    async def run(self, troupe: Troupe, work: trio.Nursery) -> None:
        """Ask for all there is.

        Args:
            troupe: whom to ask.
            work: where the tasks live.
        """
        state, line = self._state, self._state.line
        while True:
            while (placed := line.next()) is not None:
                work.start_soon(self._ask, troupe, placed)
            if line.wants_note:
                state.to_keep.ring()
            if line.waiting < READ_AT_ONCE:
                state.to_read.ring()
            is_last = state.is_read and not line.waiting
            if not line.asked and (is_last or line.is_closed):
                return
            await state.to_ask.wait()

    def observe(self, event: CallEvent) -> None:
        """Learn from the troupe which rows are sent, and which wait for another attempt."""
        line = self._state.line
        if event.stage == "sent":
            self._state.requests += 1
            if self._state.is_recovered:
                if event.route == "batch":  # it is not lost, and need not be waited for
                    return
                if not self._state.goes_live:
                    self._state.goes_live = True
                    self._state.to_keep.ring()  # the disk knows it before there is an answer
            for context in event.context.shared_by or (event.context,):
                line.sent(context.call)
        elif event.stage == "retrying":
            self._state.trouble = event.error or ""
            if event.is_unreachable:
                self._see_whether_anybody_is_there(event)
            for context in event.context.shared_by or (event.context,):
                self._retries(context.call, event)

    def _see_whether_anybody_is_there(self, event: CallEvent) -> None:
        """End the run if nobody ever was: the breaker would let it go on for hours.

        Not while another row is under way: a fallback may be at work on it.
        """
        state = self._state
        is_late = event.at - state.started_at >= _NOBODY_S
        if is_late and state.answered_at == -inf and state.line.under_way <= 1:
            state.end(_unanswered(event.error or ""))

    def _retries(self, custom_id: str, event: CallEvent) -> None:
        """A row, if it is one, was sent in vain."""
        state = self._state
        if custom_id in state.scopes:
            self._in_vain[custom_id] += event.is_billed
        if event.delay or state.takes_back:
            state.line.rests(custom_id)
            state.to_ask.ring()
        if state.takes_back and (scope := state.scopes.get(custom_id)) is not None:
            scope.cancel()  # it need not be sent again

    async def _ask(self, troupe: Troupe, placed: Placed) -> None:
        """Ask for one row. However that ends, it is counted."""
        state = self._state
        row, began_at = placed.row, trio.current_time()
        with trio.CancelScope() as scope:
            state.scopes[row.custom_id] = scope
            try:
                answer = await self._complete(troupe, row)
            except trio.Cancelled:
                in_vain = state.line.is_under_way(row.custom_id) + self._in_vain[row.custom_id]
                state.lost += in_vain
                state.line.back(placed)
                raise
            except (CallFailed, AskFailed, ValueError) as error:
                self._failed(placed, error, began_at)
            else:
                self._answered(placed, answer)
            finally:
                del state.scopes[row.custom_id]
                self._in_vain.pop(row.custom_id, None)
                state.to_ask.ring()

    async def _complete(self, troupe: Troupe, row: Row) -> Response:
        due = self._state.due
        left_s = None if due is None else max(_LEAST_S, due - trio.current_time())
        request = self._prepare(row.request, left_s)
        return await troupe.complete(request, call=row.custom_id, lane=self._lane)

    def _answered(self, placed: Placed, answer: Response) -> None:
        row, now = placed.row, trio.current_time()
        self._state.answered_at, self._state.trouble = now, ""
        if earlier := self._earlier.pop(row.custom_id, None):
            answer = attrs.evolve(answer, http_requests=answer.http_requests + sum(earlier))
        told = RowEnded(
            at=now,
            number=row.number,
            custom_id=row.custom_id,
            seconds=answer.seconds,
            attempts=answer.http_requests,
            route=answer.route,
            usage=answer.usage,
            cost_usd=answer.cost_usd,
        )
        self._state.cost_usd += answer.cost_usd or 0
        self._state.lost += answer.maybe_billed
        line = answer_line(row, answer, int(self._wall_clock()))
        self._over(placed, RowOutcome(placed.place, line, told, row.key))

    def _failed(self, placed: Placed, error: Exception, began_at: float) -> None:
        """A row has no answer; or there will be none for any, or for now."""
        state, row = self._state, placed.row
        state.lost += self._paid_in_vain(row.custom_id, error)
        if isinstance(error, BudgetExceeded):
            state.line.refused(placed)
            if state.line.is_spent:
                state.end(_unpaid(error, state.settings.max_cost, row.request.model))
            return
        if isinstance(error, _HOPELESS):
            state.line.back(placed)
            state.end(_unanswered(str(error)))
            return
        call = error if isinstance(error, CallFailed) else CallFailed(str(error))
        if state.due is not None and isinstance(error, (AskTimedOut, DeadlineTooShort)):
            state.line.back(placed)
            # Those who wait still have their turn in time, as the limiter has reckoned.
            state.end(LATE, takes_back=False)
            return
        earlier = self._earlier.get(row.custom_id, [])
        if self._is_put_off(call, len(earlier)):
            state.trouble = str(error)
            self._earlier[row.custom_id] = [*earlier, call.attempts]
            state.line.put_off(placed)
            return
        if self._is_unreachable(call):
            state.line.back(placed)
            state.end(_unanswered(str(error)))
            return
        self._nowhere += call.status == _NOT_FOUND
        if self._nowhere >= _MOST_NOWHERE and state.answered_at == -inf:
            state.end(_unanswered(str(error)))
        self._earlier.pop(row.custom_id, None)
        told = RowEnded(
            at=trio.current_time(),
            number=row.number,
            custom_id=row.custom_id,
            seconds=trio.current_time() - began_at,
            attempts=call.attempts + sum(earlier),
            error=type(error).__name__,
            message=str(error),
        )
        self._over(placed, RowOutcome(placed.place, failure_line(row, error), told))

    def _paid_in_vain(self, custom_id: str, error: Exception) -> int:
        """How many attempts of a row that has no answer may have been charged for (L3)."""
        if isinstance(error, CallFailed):
            return error.maybe_billed or int(error.billed == "maybe")
        return self._state.line.is_under_way(custom_id) + self._in_vain[custom_id]

    def _is_put_off(self, error: CallFailed, rounds: int) -> bool:
        """Whether a row is asked for again because it is not to blame: nobody fares better.

        As long as others are answered, that is not known: an outage may just have begun. In one,
        the breaker lets one row at a time try it, so that even a few wait for hours; but not for
        ever, for it may be what no provider can answer.
        """
        if not (isinstance(error, _PASSING) and error.is_transient) or rounds >= _MOST_ROUNDS:
            return False
        if isinstance(error, RateLimited):
            return True
        if trio.current_time() - self._state.answered_at < _OUTAGE_S:
            return rounds < _FEW_ROUNDS
        return not self._is_unreachable(error)

    def _is_unreachable(self, error: CallFailed) -> bool:
        """Whether nobody can be reached who ever answered: the address may be wrong."""
        is_first = self._state.answered_at == -inf
        return is_first and isinstance(error, ConnectionFailed) and error.billed == "no"

    def _over(self, placed: Placed, ended: RowOutcome) -> None:
        self._state.line.ended(placed)
        self._state.ended.append(ended)
        self._state.unkept += len(ended.line)
        self._state.to_keep.ring()


def _unanswered(why: str) -> RunEnding:
    return RunEnding("unanswered", why, "then the same command goes on from there")


def _unpaid(error: BudgetExceeded, most: Decimal | None, model: str) -> RunEnding:
    if most is None or error.left_usd is None:  # another budget than the run's own
        return RunEnding("unpaid", str(error), "the same command goes on from there")
    if error.needs_usd is None:
        reason = f"no price is known for {model}, so nobody knows what ${most} would do"
        return RunEnding("unpaid", reason, "give the price (--prices), or no --max-cost")
    return RunEnding(
        "unpaid",
        f"the next call might cost ${error.needs_usd}, and ${error.left_usd} of ${most} are left",
        "allow for more (--max-cost); the same command goes on from there",
    )
