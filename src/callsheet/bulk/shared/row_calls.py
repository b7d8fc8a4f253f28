"""The calls of the rows that a worker has: begins them as far as the troupe has room.

What becomes of each row, `RowsInHand` knows: it is sent, it is answered, or it goes back to the
queue. A worker that ends cancels its calls; what a call had sent may be billed, and is not given
back as if it were not.
"""

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from math import exp
from typing import final

import attrs
import trio

from ...actors import (
    CallContext,
    CallEvent,
    CallStage,
    Response,
    StageObserver,
    Troupe,
)
from ...runtime import AskFailed, MailboxFull, Outcome, ReplySlot
from .hand import RowsInHand
from .queue import TakenRow
from .reports import WorkerReport
from .wire import CallEnd, decode_call, encode_end

_AHEAD_ROWS = 16  # that wait for the limits, at least
_AHEAD_S = 0.5  # otherwise as many as are sent in this time
_SENT: frozenset[CallStage] = frozenset({"sent"})


@attrs.frozen(kw_only=True)
class CallWatch:
    """What a worker does when something has happened to a row. None of it waits.

    Args:
        sent: called when a row is at the provider, so that there may be room for another.
        answered: called when a row has an answer.
        settled: called when a call has ended, after all that follows from it for the rows.
        returned: called with the entry of a row that is to be given back: it was not sent.
        unreadable: called with the reason when a row cannot be read by this version.
    """

    sent: Callable[[], None]
    answered: Callable[[], None]
    settled: Callable[[], None]
    returned: Callable[[str], None]
    unreadable: Callable[[str], None]


@final
class RowCalls:
    """The calls of a worker.

    Args:
        hand: the rows that the worker has.
        name: the name of the worker.
        most: the most calls at the same time.
        ahead: the most rows that are not sent; None for as many as are sent in half a second.
        watch: what the worker does when something has happened.

    Attributes:
        report: what the worker has done.
        troupe: sends the rows; None before the start.
        cut: entries of rows whose calls were cancelled at the provider.
        is_over: whether no call is to begin any more.
    """

    def __init__(
        self, hand: RowsInHand, name: str, *, most: int, ahead: int | None, watch: CallWatch
    ) -> None:
        self.report = WorkerReport.of_this_process()
        self.troupe: Troupe | None = None
        self.cut: set[str] = set()
        self.is_over = False
        self._hand = hand
        self._name = name
        self._most = most
        self._ahead = ahead
        self._watch = watch
        self._backlog: deque[TakenRow] = deque()  # rows without a call
        self._slots: dict[str, ReplySlot[Response]] = {}  # {key: the call}
        self._contexts: dict[int, str] = {}  # {id of the context of a call: key}
        self._pace = 0.0  # rows sent in the last second or so
        self._pace_at = 0.0

    def __repr__(self) -> str:
        return f"<RowCalls of {self._name}: {len(self)}>"

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def observer(self) -> StageObserver:
        """What has to observe the calls of the troupe."""
        return StageObserver(self._observe, _SENT)

    def add(self, rows: Iterable[TakenRow]) -> None:
        """Take rows that are to be called; `pump` begins their calls.

        Args:
            rows: rows that are in the hand of the worker.
        """
        self._backlog.extend(rows)

    def cancel_all(self) -> None:
        """Cancel all calls."""
        for key in list(self._slots):
            self.cancel(key)

    def note_counts(self) -> None:
        """Bring the numbers of rows in the report up to date."""
        rows = len(self._hand.rows)
        self.report = attrs.evolve(self.report, in_hand=rows, sent=rows - self._hand.unsent)

    def count_room(self) -> int:
        """Return how many rows to take: few more than those that are sent at once."""
        ahead = self._ahead
        if ahead is None:
            since = trio.current_time() - self._pace_at
            pace = self._pace * exp(-since)
            ahead = min(max(_AHEAD_ROWS, round(_AHEAD_S * pace)), self._most)
        if 2 * self._hand.unsent > ahead:  # so that each message brings several rows
            return 0
        return min(self._most + ahead - len(self._hand.rows), ahead - self._hand.unsent)

    def pump(self) -> None:
        """Send rows as far as there is room."""
        troupe = self.troupe
        if troupe is None:
            return
        first = troupe.first_stage
        while self._backlog and len(self._slots) < self._most and not self.is_over:
            if not first.has_room:
                first.when_room(self.pump)
                return
            self._send(troupe, self._backlog.popleft())

    def _send(self, troupe: Troupe, taken: TakenRow) -> None:
        key = taken.row.key
        if key not in self._hand.rows or key in self._slots:
            return  # it was given up meanwhile
        try:
            request, context = decode_call(taken.row.body)
        except ValueError as error:  # perhaps another worker can
            self._backlog.appendleft(taken)
            self._watch.unreadable(str(error))
            return
        try:
            # The holder reads structured output, and asks once more if need be.
            slot = troupe.submit_nowait(request, context=context)
        except MailboxFull:
            self._backlog.appendleft(taken)
            troupe.first_stage.when_room(self.pump)
            return
        except (AskFailed, ValueError) as error:
            self._hand.ended(key, self._encode(error), is_response=False)
            self._counted(error)
            return
        self._slots[key] = slot
        self._contexts[id(context)] = key
        slot.on_settled(partial(self._settled, key, context))

    def _observe(self, event: CallEvent) -> None:
        """Note which rows are at the provider, in the event itself."""
        for context in event.context.shared_by or (event.context,):
            key = self._contexts.get(id(context))
            if key is not None and self._hand.sent(key):
                now = trio.current_time()
                self._pace = self._pace * exp(self._pace_at - now) + 1
                self._pace_at = now
                self._watch.sent()

    def _settled(self, key: str, context: CallContext, slot: ReplySlot[Response]) -> None:
        """Note how a call has ended; called in the task that ends it."""
        self._slots.pop(key, None)
        self._contexts.pop(id(context), None)
        row = self._hand.rows.get(key)
        outcome = slot.value if slot.outcome is Outcome.REPLIED else slot.error
        is_cut = row is not None and row.is_sent and outcome is None
        if self.is_over and isinstance(outcome, AskFailed):
            is_cut = True  # the actors are stopped: another worker calls it
        if is_cut and row is not None:
            self.cut.add(row.taken.entry)
            self._hand.not_sent(key)
        elif isinstance(outcome, Response | Exception):
            self._hand.ended(key, self._encode(outcome), is_response=isinstance(outcome, Response))
            self._counted(outcome)
        else:
            self._back(key)
        self.pump()
        self._watch.settled()

    def _counted(self, outcome: Response | Exception) -> None:
        report = self.report
        if isinstance(outcome, Response):
            report = attrs.evolve(
                report,
                answered=report.answered + 1,
                tokens=report.tokens + outcome.usage.total_tokens,
                cost_usd=report.cost_usd + (outcome.cost_usd or 0),
            )
        else:
            report = attrs.evolve(report, failed=report.failed + 1)
        self.report = report
        self._watch.answered()

    def _encode(self, outcome: Response | Exception) -> bytes:
        return encode_end(CallEnd(outcome, worker=self._name))

    def give_up_unsent(self) -> None:
        """Cancel the calls that are not sent, and give their rows back."""
        for key in [key for key, row in self._hand.rows.items() if not row.is_sent]:
            self.cancel(key)

    def cancel(self, key: str) -> None:
        """Cancel a call; a row without a call goes back at once.

        Args:
            key: the key of the row.
        """
        if (slot := self._slots.get(key)) is not None:
            slot.cancel()
        else:
            self._back(key)

    def _back(self, key: str) -> None:
        """Give a row back that was not sent."""
        entry = self._hand.not_sent(key)
        if entry is not None:
            self._watch.returned(entry)
