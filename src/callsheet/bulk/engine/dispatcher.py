"""The actor that sends the requests of the rows, and hands what ends to the store."""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import TypeAlias, final

import attrs
import trio

from ...actors import CallContext, CallFailed, CostTotals, Request, Response, Shared, Troupe
from ...runtime import (
    Actor,
    ActorCrashed,
    AskFailed,
    Message,
    Outcome,
    Ref,
    ReplySlot,
    defers,
    handles,
)
from ..errors import LATE, ArchiveFailed, RunEnding, crash_ending
from ..row import Placed
from ..shared.holder import RowWithdrawn, RunHolder
from .dispatch import Dispatch
from .queue import RowCall
from .routing import Prepare
from .store import Keep
from .writer import OutputState

READ_AT_ONCE = 512  # rows
_MIN_S = 0.001
_ALONE: frozenset[Shared] = frozenset({"cache", "join", "prompt_cache"})
_LEDGER_S = 5.0  # for an answer of the ledger, whose disk may be slow
_TAKE_BACK_S = 0.5  # before the deadline of a shared run, for rows that no worker has; at most
_TAKE_BACK_SHARE = 0.1  # of the time of the run


@attrs.frozen
class GetRoom(Message[int]):
    """Ask how many rows may be read. The reply waits for room; 0 says that the run ends."""


@attrs.frozen
class AddRows(Message[None]):
    """Dispatch rows.

    Args:
        rows: rows without a response.
        is_last: True if the input has no more rows.
    """

    rows: Sequence[Placed]
    is_last: bool


@attrs.frozen
class PauseRows(Message[None]):
    """Start no more rows for a while.

    Args:
        is_paused: False to continue.
    """

    is_paused: bool


@attrs.frozen
class EndRun(Message[None]):
    """Start no more rows, and end the run when the calls in flight have ended.

    Args:
        ending: the reason, for the user.
    """

    ending: RunEnding


@attrs.frozen
class EndAtOnce(Message[None]):
    """Start no more rows, and cancel the calls in flight.

    Args:
        ending: the reason, for the user; None if the program itself leaves the run.
    """

    ending: RunEnding | None = None


@attrs.frozen
class ChangeInFlight(Message[None]):
    """Change how many rows may be dispatched at a time.

    Args:
        ahead: the number of rows that may be dispatched.
        in_flight: the number of calls that may be in flight.
    """

    ahead: int
    in_flight: int


@attrs.frozen
class WaitClosed(Message[None]):
    """Wait until no more rows are to be read: the input has ended, or the run ends."""


@attrs.frozen
class WaitOver(Message[None]):
    """Wait until no call is in flight, none will be, and what has ended is on disk."""


@attrs.frozen
class _SendRows(Message[None]):
    """Send what the state has ready."""


Control: TypeAlias = PauseRows | EndRun | EndAtOnce | ChangeInFlight
"""What the caller of a run tells the dispatcher; none of it waits behind rows (R6)."""


@final
class DispatcherActor(Actor[Control | AddRows | GetRoom | WaitClosed | WaitOver | _SendRows]):
    """Sends rows to the troupe as the state decides, and what has ended to the store.

    Args:
        state: the rows, calls and money of the run; it outlives a crash of this actor.
        written: what waits behind the store, which limits how much is read.
        troupe: sends the requests; its call events go to `Dispatch.observe`.
        store: the actor of the run store.
        calls: the nursery of calls that need a task; it outlives a crash of this actor.
        window_bytes: the maximum of characters of requests that have not ended.
        prepare: makes the request to send from a row's request and the seconds that are left.
        lane: the lane of the run's calls.
        holder: the holder of a shared run; None for another run.
    """

    def __init__(
        self,
        state: Dispatch,
        written: OutputState,
        troupe: Troupe,
        store: Ref[Keep],
        calls: trio.Nursery,
        *,
        window_bytes: int,
        prepare: Prepare,
        lane: str,
        holder: RunHolder | None = None,
    ) -> None:
        self._state = state
        self._written = written
        self._window_bytes = window_bytes
        self._prepare = prepare
        self._troupe = troupe
        self._store = store
        self._calls = calls
        self._lane = lane
        self._holder = holder
        self._is_awake = False  # a `_SendRows` waits
        self._is_acknowledging = False
        self._bug: Exception | None = None  # raised where a call has ended
        self._reader: ReplySlot[int] | None = None  # it waits for room
        self._closed: list[ReplySlot[None]] = []
        self._over: list[ReplySlot[None]] = []

    async def started(self) -> None:
        """Go on with the state as it is."""
        self._state.wake = self._written.on_room = self._wake
        if self._state.due is not None:
            self._end_in_time(self._state.due)
        self._wake()

    def _end_in_time(self, due: float) -> None:
        self.send_at(due, EndAtOnce(LATE))
        if self._holder is not None:
            # Of a call that is cancelled it is not known whether a worker has its row.
            early_s = min(_TAKE_BACK_S, (due - self._state.started_at) * _TAKE_BACK_SHARE)
            self.send_at(due - early_s, EndRun(LATE))

    def _wake(self) -> None:
        if not self._is_awake:
            self._is_awake = True
            with suppress(AskFailed):  # it is stopped
                self.ref.tell_nowait(_SendRows())

    # ---------------------------------------------------------------- messages

    @handles(AddRows)
    async def add(self, message: AddRows) -> None:
        """Add rows to those that wait."""
        self._state.add(message.rows, is_last=message.is_last)

    @handles(PauseRows, urgent=True)
    async def pause(self, message: PauseRows) -> None:
        """Pause or go on; rows that were not sent yet go back to the queue."""
        if message.is_paused:
            self._state.pause()
        else:
            self._state.resume()

    @handles(EndRun, urgent=True)
    async def end(self, message: EndRun) -> None:
        """Let the calls in flight end."""
        self._state.end(message.ending)

    @handles(EndAtOnce, urgent=True)
    async def end_at_once(self, message: EndAtOnce) -> None:
        """Cancel the calls in flight; those of a shared run whose rows no worker has are free."""
        if self._holder is None or message.ending is LATE:  # the end of it began before
            self._state.end_at_once(message.ending)
        elif not self._state.is_over:
            self._state.close(message.ending)
            # This goes on after a crash of this actor.
            self._calls.start_soon(self._take_back, self._holder, message.ending)

    async def _take_back(self, holder: RunHolder, ending: RunEnding | None) -> None:
        await holder.take_back()
        self._state.end_at_once(ending)

    @handles(ChangeInFlight, urgent=True)
    async def change_in_flight(self, message: ChangeInFlight) -> None:
        """Send more, or fewer, rows at a time."""
        self._state.change_in_flight(message.ahead, message.in_flight)

    @defers(GetRoom)
    async def room(self, message: GetRoom, slot: ReplySlot[int]) -> None:  # noqa: ARG002  # a handler
        """Reply when rows may be read."""
        self._reader = slot
        self._reply()

    @defers(WaitClosed)
    async def closed(self, message: WaitClosed, slot: ReplySlot[None]) -> None:  # noqa: ARG002  # a handler
        """Reply when no more rows are to be read."""
        self._closed.append(slot)
        self._reply()

    @defers(WaitOver)
    async def over(self, message: WaitOver, slot: ReplySlot[None]) -> None:  # noqa: ARG002  # a handler
        """Reply when the last row is on disk."""
        self._over.append(slot)
        self._reply()

    @handles(_SendRows)
    async def send(self, message: _SendRows) -> None:  # noqa: ARG002  # a handler
        """Send rows to the troupe, and what has ended to the store."""
        self._is_awake = False
        if self._bug is not None:
            raise self._bug
        state = self._state
        while (keep := state.take_keep()) is not None:
            await self._keep(keep)
        first = self._troupe.first_stage
        while first.has_room and (call := state.next()) is not None:
            self._send(call)
        if not first.has_room:
            first.when_room(self._wake)
        if state.has_stopped and not state.is_counted:
            await self._count()
        while (keep := state.take_keep()) is not None:  # a bound, or the last account
            await self._keep(keep)
        if state.unacknowledged and not self._is_acknowledging:
            self._is_acknowledging = True
            self.nursery.start_soon(self._acknowledge)
        self._reply()

    def _reply(self) -> None:
        """Reply to those who wait, as far as what they wait for is there."""
        state = self._state
        is_closed = state.is_read or state.queue.is_closed
        if self._reader is not None:
            room = 0 if is_closed else self._room()
            if is_closed or room:
                self._reader.reply(room)
                self._reader = None
        for waiting, is_there in ((self._closed, is_closed), (self._over, state.is_over)):
            while is_there and waiting:
                waiting.pop().reply(None)

    def _room(self) -> int:
        """Return how many rows may be read."""
        state, queue = self._state, self._state.queue
        held = queue.held + state.outcomes.unkept_bytes
        if queue.waiting >= READ_AT_ONCE or held >= self._window_bytes:
            return 0
        return max(0, min(self._written.room, READ_AT_ONCE))

    # ---------------------------------------------------------------- rows

    def _send(self, call: RowCall) -> None:
        """Send one row; its end is a call of the state, not a task that waits."""
        row, due = call.row, self._state.due
        left_s = None if due is None else max(_MIN_S, due - trio.current_time())
        try:
            request = self._prepare(row.request, left_s)
            context = CallContext(
                row.custom_id,
                lane=self._lane,
                # A list would have other rows in the next run, which could not take over its end.
                allowed=None if self._holder is None else _ALONE,
                asked_at=trio.current_time(),
            )
            if self._holder is not None:
                self._holder.name_call(row.custom_id, self._state.key_of(call.placed))
            if request.returns is not None:
                self._calls.start_soon(self._complete, call, request, context)
                return
            slot = self._troupe.submit_nowait(request, context=context)
        except ValueError as error:
            self._state.failed(call, error)
            return
        except BaseException:  # a bug, or the end of the runtime: the row was not sent
            self._state.cancelled(call)
            raise
        slot.on_settled(partial(self._settled, call))
        call.cancel_by(slot.cancel)

    def _settled(self, call: RowCall, slot: ReplySlot[Response]) -> None:
        response = slot.value if slot.outcome is Outcome.REPLIED else None
        self._ended(call, response, slot.error)

    async def _complete(self, call: RowCall, request: Request, context: CallContext) -> None:
        """Make a call whose response may have to be requested once more, to be valid."""
        response: Response | None = None
        failed: Exception | None = None
        with trio.CancelScope() as scope:
            call.cancel_by(scope.cancel)
            try:
                response = await self._troupe.complete(request, context=context)
            except (CallFailed, AskFailed, ValueError) as error:
                failed = error
        self._ended(call, response, failed)

    def _ended(self, call: RowCall, response: Response | None, error: Exception | None) -> None:
        """Record the end of a call: with a response, an error, or neither if it was cancelled."""
        try:
            if response is not None:
                self._state.answered(call, response)
            elif error is not None and not isinstance(error, RowWithdrawn):
                self._state.failed(call, error)
            else:
                self._state.cancelled(call)
        except Exception as bug:  # noqa: BLE001  # `send` raises it: it must not be only logged
            self._bug = bug
            self._wake()

    async def _keep(self, keep: Keep) -> None:
        try:
            slot = await self._store.submit(keep)
        except BaseException as error:  # a bug, or the end of the runtime: nothing is lost
            self._state.not_kept(keep, crash_ending(self._store.path, error), is_crash=True)
            raise
        slot.on_settled(partial(self._stored, keep))

    def _stored(self, keep: Keep, slot: ReplySlot[RunEnding | None]) -> None:
        error = slot.error
        if error is None:
            self._state.kept(keep, slot.value)
        elif isinstance(error, ArchiveFailed):
            self._state.not_kept(keep, error.ending)
        else:
            is_crash = isinstance(error, ActorCrashed)
            ending = crash_ending(self._store.path, error.__cause__ if is_crash else error)
            self._state.not_kept(keep, ending, is_crash=is_crash)

    async def _count(self) -> None:
        """Read from the ledger, if there is one, what the calls of this run may have cost."""
        if self._troupe.ledger is not None:
            with trio.move_on_after(_LEDGER_S), suppress(AskFailed, CallFailed):
                tenants = (await self._troupe.costs()).by["tenant"]
                self._state.spending.count_exactly(tenants.get(self._lane, CostTotals()))
        self._state.is_counted = True

    async def _acknowledge(self) -> None:
        """Report to the batch journal what is stored; it takes long while the journal is busy."""
        state = self._state
        while count := len(state.unacknowledged):
            try:
                await self._troupe.acknowledge(state.unacknowledged[:count])
            except AskFailed:  # then the journal keeps them longer
                break
            del state.unacknowledged[:count]
        self._is_acknowledging = False
