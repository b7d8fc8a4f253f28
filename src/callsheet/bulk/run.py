"""One run: reads rows, asks for them, keeps their answers, and can be steered meanwhile."""

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from decimal import Decimal
from functools import partial
from typing import final

import trio

from ..actors import Limits, Troupe
from ..actors.errors import (
    AuthenticationFailed,
    BudgetExceeded,
    CallFailed,
    DeadlineTooShort,
    LedgerUnavailable,
    QuotaExhausted,
)
from ..actors.events import CallEvent
from ..actors.limiting import LimiterSnapshot
from ..actors.messages import Request, Response
from ..runtime import AskFailed, AskTimedOut
from .archive import Archive, NoRoom, Placed
from .asking import Line
from .bell import Bell
from .ended import Ended, Result
from .endings import BulkStopped, Ending
from .lines import answer_line, failure_line
from .progress import Progress, RowEnded, RowObserver
from .row import BadRow, Row
from .settings import BulkSettings
from .store import Account
from .taking import Taken, take
from .tally import Tally
from .threads import InThread

__all__ = ["BulkRun"]

_CHUNK = 512  # rows that are read at a time
_LEAST_S = 0.001
_HOPELESS = (AuthenticationFailed, QuotaExhausted, LedgerUnavailable)
"""What every other row would fail with as well."""


@final
class BulkRun:
    """A run, as `bulk` gives it. Iterate over it, once, for results; each is on disk by then.

    Args:
        rows: of the input.
        archive: where answers are kept; open.
        settings: how.
        prepare: makes of a request what is asked, with the seconds that are left for the run.
        ahead: rows that may wait to be sent.
        is_recovered: what was sent is not lost when the process dies: the Batch API's journal.
        observers: are told of each row that has ended.
        in_thread: runs what waits for the disk.
        wall_clock: seconds of Unix time.

    Attributes:
        ending: why it has ended before its input, or will; None if it has not.
        lost_before: HTTP requests of earlier runs that may have been charged for nothing.
        started_at: when it began, in seconds on Trio's clock.
    """

    def __init__(
        self,
        rows: Iterator[Row | BadRow],
        archive: Archive,
        settings: BulkSettings,
        *,
        prepare: Callable[[Request, float | None], Request],
        ahead: int,
        is_recovered: bool,
        observers: Sequence[RowObserver],
        in_thread: InThread,
        wall_clock: Callable[[], float],
    ) -> None:
        self._rows = rows
        self._archive = archive
        self._settings = settings
        self._prepare = prepare
        self._is_recovered = is_recovered
        self._observers = observers
        self._in_thread = in_thread
        self._wall_clock = wall_clock
        self._line = Line(ahead)
        self._tally = Tally()
        self._ended: list[Ended] = []  # and not kept yet
        self._results: deque[Ended] = deque()  # and not iterated over yet
        self._scopes: dict[
            str, trio.CancelScope
        ] = {}  # {custom id of a row that is asked for: its}
        self._reading: trio.CancelScope | None = None
        self._turn = trio.CapacityLimiter(1)  # the archive is one thread's at a time
        self._to_read, self._to_ask, self._to_keep = Bell(), Bell(), Bell()
        self._to_tell, self._to_look = Bell(), Bell()
        self._limits: LimiterSnapshot | None = None
        self._lane = archive.lane
        self._lost = self.lost_before = archive.account.lost
        self._cost_usd = archive.account.cost_usd
        self._is_read = self._is_over = self._has_ended = self._is_heedless = False
        self._troupe: Troupe | None = None
        self.ending: Ending | None = None
        self.started_at = trio.current_time()
        due = settings.deadline_s
        self._due = None if due is None else self.started_at + due

    def __repr__(self) -> str:
        return f"<BulkRun {self._line!r}>"

    # ---------------------------------------------------------------- steering

    @property
    def is_complete(self) -> bool:
        """Whether every row of the input has ended, one way or the other."""
        return self._is_over and self._is_done and self.ending is None

    @property
    def is_paused(self) -> bool:
        """Whether nobody is asked for now."""
        return self._line.is_paused

    def pause(self) -> None:
        """Ask for no more rows; those that were sent are waited for."""
        self._line.is_paused = True
        self._take_back()

    def resume(self) -> None:
        """Go on."""
        self._line.is_paused = False
        self._to_ask.ring()

    def drain(self) -> None:
        """Begin nothing more, and end when all that was sent has ended."""
        self._end(_DRAINED)

    async def change_limits(self, limits: Limits) -> None:
        """Go by other limits from now on; see `Troupe.change_limits`."""
        if self._troupe is not None:
            await self._troupe.change_limits(limits)

    def progress(self) -> Progress:
        """How it stands; of the limits, how they stood when this was asked the last time."""
        self._to_look.ring()
        tally, line, window = self._tally, self._line, self._archive.window
        return Progress(
            started_at=self.started_at,
            now=trio.current_time(),
            total=tally.read if self._is_read else self._settings.total,
            read=tally.read,
            answered=tally.answered,
            reused=tally.reused,
            failed=tally.failed,
            bad=tally.bad,
            in_flight=line.asked,
            unwritten=window.waiting,
            window=window.rows,
            usage=tally.usage,
            cost_usd=tally.cost_usd,
            unpriced=tally.unpriced,
            maybe_billed=self._lost,
            errors=dict(tally.errors),
            slowest=tuple(tally.slowest),
            limits=self._limits,
            is_paused=line.is_paused,
            is_draining=line.is_closed,
        )

    # ---------------------------------------------------------------- results

    async def wait(self) -> None:
        """Wait for the end without a look at the results.

        Raises:
            BulkStopped: there are rows that were not asked for.
        """
        self._is_heedless = True
        self._results.clear()
        self._to_read.ring()
        while not self._has_ended:
            await self._to_tell.wait()
        self._raise_ending()

    def __aiter__(self) -> AsyncIterator[Result]:
        return self

    async def __anext__(self) -> Result:
        """The next row that has ended, in the order of OUTPUT.

        Raises:
            BulkStopped: there is none, but there are rows that were not asked for.
        """
        while not self._results:
            if self._has_ended:
                self._raise_ending()
                raise StopAsyncIteration
            await self._to_tell.wait()
        await trio.lowlevel.checkpoint()
        ended = self._results.popleft()
        self._to_read.ring()
        return Result(ended.told, ended.line.removesuffix(b"\n"))

    def _raise_ending(self) -> None:
        if self.ending is not None:
            raise BulkStopped(self.ending)

    # ---------------------------------------------------------------- the engine's

    async def run(self, troupe: Troupe) -> None:
        """Do it all.

        Args:
            troupe: whom to ask; its observer is to be told what this one is told by `observe`.
        """
        self._troupe = troupe
        try:
            async with trio.open_nursery() as keeping:
                keeping.start_soon(self._keep)
                keeping.start_soon(self._look, troupe)
                async with trio.open_nursery() as work:
                    work.start_soon(self._read)
                    work.start_soon(self._ask_all, work)
                    if self._due is not None:
                        work.start_soon(self._end_at, self._due, work)
                self._is_over = True
                if self._is_done and self.ending in (_DRAINED, _LATE):
                    self.ending = None  # it was just about to end
                self._to_keep.ring()
                self._to_look.ring()
        finally:
            # Whatever ends it, what was answered is kept, and what was not is told of.
            self._is_over = True
            with trio.CancelScope(shield=True):
                await self._keep_all()
                await self._finish()
            self._has_ended = True
            self._to_tell.ring()

    async def _look(self, troupe: Troupe) -> None:
        """See how the limits stand, when somebody wants to know."""
        while not self._is_over:
            self._limits = (await troupe.limit_statistics()).limiter
            await self._to_look.wait()

    def observe(self, event: CallEvent) -> None:
        """Learn from the troupe which rows were sent."""
        if event.stage != "sent":
            return
        for origin in event.origin.shared_by or (event.origin,):
            self._line.sent(origin.call)
        self._to_ask.ring()

    @property
    def _is_done(self) -> bool:
        return self._is_read and not self._line.waiting and not self._ended

    def _end(self, ending: Ending, *, takes_back: bool = True) -> None:
        """Begin nothing more."""
        if self.ending is not None or self._is_over:
            return
        self.ending = ending
        self._line.is_closed = True
        if self._reading is not None:
            self._reading.cancel()
        if takes_back:
            self._take_back()
        self._to_ask.ring()

    def _take_back(self) -> None:
        """What was not sent is not waited for."""
        for custom_id in self._line.unsent:
            if (scope := self._scopes.get(custom_id)) is not None:
                scope.cancel()

    async def _end_at(self, due: float, work: trio.Nursery) -> None:
        await trio.sleep_until(due)
        self._end(_LATE)
        work.cancel_scope.cancel()

    # ---------------------------------------------------------------- reading

    async def _read(self) -> None:
        with trio.CancelScope() as self._reading:
            while not self._is_read and self.ending is None:
                room = self._room()
                if room <= 0:
                    await self._to_read.wait()
                    continue
                read = partial(take, self._rows, min(room, _CHUNK))
                # A pipe may have nothing to say for hours.
                taken: Taken = await self._in_thread(read, abandon_on_cancel=True)
                with trio.CancelScope(shield=True):
                    await self._admit(taken)
        self._to_ask.ring()

    def _room(self) -> int:
        if self._line.waiting >= _CHUNK:
            return 0
        room = self._archive.window.room
        if not self._is_heedless:
            room = min(room, self._settings.window_rows - len(self._results))
        return room

    async def _admit(self, taken: Taken) -> None:
        admit = partial(self._archive.admit, taken.rows, trio.current_time())
        admitted = await self._in_thread(admit, limiter=self._turn)
        self._tally.read += len(taken.rows)
        self._is_read = taken.is_end
        if taken.error is not None:
            self._end(Ending("input", f"the input cannot be read: {taken.error}", "mend it"))
        self._line.add(admitted.to_ask)
        self._tell(admitted.ended, admitted.left)
        self._heed(admitted.trouble)
        self._to_ask.ring()

    # ---------------------------------------------------------------- asking

    async def _ask_all(self, work: trio.Nursery) -> None:
        line = self._line
        while True:
            while (placed := line.next()) is not None:
                work.start_soon(self._ask, placed)
            if line.wants_note:
                self._to_keep.ring()
            if line.waiting < _CHUNK:
                self._to_read.ring()
            is_last = self._is_read and not line.waiting
            if not line.asked and (is_last or line.is_closed):
                return
            await self._to_ask.wait()

    async def _ask(self, placed: Placed) -> None:
        """Ask for one row. However that ends, it is counted."""
        row, began_at = placed.row, trio.current_time()
        with trio.CancelScope() as scope:
            self._scopes[row.custom_id] = scope
            try:
                answer = await self._complete(row)
            except trio.Cancelled:
                was_sent = not self._line.back(placed)
                self._lost += was_sent and not self._is_recovered
                raise
            except (CallFailed, AskFailed, ValueError) as error:
                self._failed(placed, error, trio.current_time() - began_at)
            else:
                self._answered(placed, answer, trio.current_time() - began_at)
            finally:
                del self._scopes[row.custom_id]
                self._to_ask.ring()

    async def _complete(self, row: Row) -> Response:
        if self._troupe is None:
            raise RuntimeError("the run has not begun")
        left_s = None if self._due is None else max(_LEAST_S, self._due - trio.current_time())
        request = self._prepare(row.request, left_s)
        return await self._troupe.complete(request, call=row.custom_id, lane=self._lane)

    def _answered(self, placed: Placed, answer: Response, seconds: float) -> None:
        row = placed.row
        told = RowEnded(
            at=trio.current_time(),
            number=row.number,
            custom_id=row.custom_id,
            seconds=seconds,
            attempts=answer.http_requests,
            route=answer.route,
            usage=answer.usage,
            cost_usd=answer.cost_usd,
        )
        self._cost_usd += answer.cost_usd or 0
        self._lost += answer.maybe_billed
        line = answer_line(row, answer, seconds, int(self._wall_clock()))
        self._over(placed, Ended(placed.place, line, told, row.key))

    def _failed(self, placed: Placed, error: Exception, seconds: float) -> None:
        """A row has no answer; or there will be none for any."""
        row = placed.row
        if isinstance(error, BudgetExceeded):
            self._line.refused(placed)
            if self._line.is_spent:
                self._end(_unpaid(error, self._settings.max_cost))
            return
        if isinstance(error, _HOPELESS):
            self._line.back(placed)
            self._end(Ending("unanswered", str(error), "then the same command goes on from there"))
            return
        call = error if isinstance(error, CallFailed) else CallFailed(str(error))
        self._lost += call.billed == "maybe"
        if self._due is not None and isinstance(error, (AskTimedOut, DeadlineTooShort)):
            self._line.back(placed)
            # Those who wait still have their turn in time, as the limiter has reckoned.
            self._end(_LATE, takes_back=False)
            return
        told = RowEnded(
            at=trio.current_time(),
            number=row.number,
            custom_id=row.custom_id,
            seconds=seconds,
            attempts=call.attempts,
            error=type(error).__name__,
            message=str(error),
        )
        self._over(placed, Ended(placed.place, failure_line(row, error), told))

    def _over(self, placed: Placed, ended: Ended) -> None:
        self._line.ended(placed)
        self._ended.append(ended)
        self._to_keep.ring()

    # ---------------------------------------------------------------- keeping

    async def _keep(self) -> None:
        """Keep what has ended: all that is there, together."""
        while not self._is_over:
            await self._to_keep.wait()
            with trio.CancelScope(shield=True):
                await self._keep_all()

    async def _keep_all(self) -> None:
        line = self._line
        ended, self._ended = self._ended, []
        note = line.over if self._is_over else line.note
        account = Account(
            cost_usd=self._cost_usd,
            sent=0 if self._is_recovered else note,
            ended=0 if self._is_recovered else line.over,
            lost=self._lost,
        )
        keep = partial(self._archive.keep, ended, account)
        try:
            kept = await self._in_thread(keep, limiter=self._turn)
        except NoRoom as error:
            self._ended = [*ended, *self._ended]
            self._heed(str(error))
            return
        line.note_kept(note)
        self._tell(ended, kept.left)
        self._heed(kept.trouble)
        self._to_ask.ring()

    async def _finish(self) -> None:
        if not self._is_done:
            await self._in_thread(self._archive.break_off, limiter=self._turn)
            return
        try:
            await self._in_thread(self._archive.finish, limiter=self._turn)
        except NoRoom as error:
            self.ending = _no_room(str(error))

    def _tell(self, ended: Sequence[Ended], left: Sequence[Ended]) -> None:
        for one in ended:
            self._tally.add(one.told)
            for observer in self._observers:
                observer(one.told)
        if left:
            if not self._is_heedless:
                self._results.extend(left)
            self._to_tell.ring()
            self._to_read.ring()

    def _heed(self, trouble: str) -> None:
        if trouble:
            self._end(_no_room(trouble))


def _unpaid(error: BudgetExceeded, most: Decimal | None) -> Ending:
    if most is None or error.left_usd is None:  # another budget than the run's own
        return Ending("unpaid", str(error), "the same command goes on from there")
    if error.needs_usd is None:
        return Ending("unpaid", str(error), "give its price (--prices)")
    return Ending(
        "unpaid",
        f"the next call might cost ${error.needs_usd}, and ${error.left_usd} of ${most} are left",
        "allow for more (--max-cost); the same command goes on from there",
    )


def _no_room(trouble: str) -> Ending:
    return Ending("disk", trouble, "make room on the disk; the same command goes on from there")


_DRAINED = Ending("drained", "the run was stopped", "the same command goes on from there")
_LATE = Ending("late", "the deadline of the run has passed", "the same command goes on from there")
