"""The actor of the run store: which rows are known, and every response on disk (L7).

Everything that ends while a transaction is written is written by the next one, with one wait for
the disk. The reply to a `Keep` says that its rows are on disk.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import final

import attrs
import trio

from ...actors import InThread, JournalOwner, LedgerPolicy, StorageError, UnwrittenCosts, lines_in
from ...runtime import (
    Actor,
    AskFailed,
    Message,
    Ref,
    ReplySlot,
    defers,
    handles,
)
from ..errors import ANOTHER_OUTPUT, ArchiveFailed, BulkRefused, RunEnding, crash_ending
from ..files.archive import Archive
from ..files.known import refusal_of
from ..files.lines import RowOutcome, bad_line, read_answer
from ..progress import RowEnded
from ..row import BAD_ROW, BadRow, EarlierAnswer, Placed, Row, ended_by
from ..settings import BulkSettings
from ..spending import RunSpend
from .reporting import ReportRows
from .writer import FinishOutput, OutputState, WriterActor, WriteRows

_GROUPS_TO_WRITE = 8  # that may wait for the writer, so that a slow OUTPUT slows the run down


@attrs.frozen
class AdmitRows(Message["Admitted"]):
    """Find out which rows are known, and number their places.

    Args:
        rows: the next rows of the input.
        first: the place of the first of them.
        at: the current time, in seconds on Trio's clock.
    """

    rows: Sequence[Row | BadRow]
    first: int
    at: float


@attrs.frozen
class Admitted:
    """The rows that need a call.

    Args:
        to_send: these rows. The others have gone to the writer.
        ending: why no more rows should start; None if they may.
        is_refused: True if no row was admitted, because most would be paid for again.
    """

    to_send: Sequence[Placed]
    ending: RunEnding | None
    is_refused: bool = False


@attrs.frozen
class Keep(Message[RunEnding | None]):
    """Store rows that have ended, and the account. The reply says that they are on disk.

    It is the reason why no more rows should start; None if they may.

    Args:
        ended: the rows, in the order of their end.
        spend: what was sent and spent.
        bound: the bound on started rows that belongs to the account; see `RowQueue`.
    """

    ended: Sequence[RowOutcome]
    spend: RunSpend
    bound: int


@attrs.frozen
class RunInfo:
    """What the store of a run knows when it is opened.

    Args:
        account: what earlier runs have spent.
        lane: the lane of the run's calls.
        owner: the run as its journal of batches knows it.
    """

    account: RunSpend
    lane: str
    owner: JournalOwner


@attrs.frozen
class GetRunInfo(Message[RunInfo]):
    """Ask for the account of earlier runs, and the lane."""


@attrs.frozen
class NoteBatches(Message[None]):
    """Note whether rows may be in batches from now on.

    Args:
        in_batches: whether rows may be.
    """

    in_batches: bool


@attrs.frozen
class FinishRun(Message[RunEnding | None]):
    """Finish OUTPUT after the last row.

    The reply is the reason why OUTPUT is not what it should be; None if it is.

    Args:
        is_done: True if every row of the input has ended; else the next run goes on.
        removes_store: True to remove the store when it is closed.
    """

    is_done: bool
    removes_store: bool


@attrs.frozen
class _Commit(Message[None]):
    """Write what has ended until now."""


@attrs.define(eq=False)
class StorePlace:
    """What outlives an incarnation of the store.

    Args:
        output: the path of the output file.
        settings: the settings of the run.
        provider: a stable name of the provider.
        written: the state of the writer.
        ledger: the settings of the ledger, which learns where its costs are kept.
        in_thread: runs blocking disk access.
        wall_clock: returns the Unix time in seconds.
        unwritten: what the ledger could not write; the last one has all earlier ones.
        is_open: True if the store was opened in this run.
    """

    output: Path
    settings: BulkSettings
    provider: str
    written: OutputState
    ledger: LedgerPolicy | None
    in_thread: InThread
    wall_clock: Callable[[], float]
    unwritten: list[UnwrittenCosts] = attrs.field(factory=list["UnwrittenCosts"])
    is_open: bool = False


@final
class StoreActor(Actor[AdmitRows | Keep | GetRunInfo | NoteBatches | FinishRun | _Commit]):
    """Owns the run store, and the writer as a child, which gets what is stored.

    After a crash, the next incarnation stores what is in flight, and admits no more rows: the ids
    of the rows before are not known any more.

    Args:
        place: what outlives an incarnation.
        observers: the actor that calls the observers of the run; None if there are none.
    """

    def __init__(self, place: StorePlace, observers: Ref[ReportRows] | None) -> None:
        self._place = place
        self._observers = observers
        self._in_thread = place.in_thread
        self._group: list[tuple[Keep, ReplySlot[RunEnding | None]]] = []  # of the next commit
        self._trouble: RunEnding | None = None  # of the writer
        self._removes = self._has_batches = self._has_begun = False

    async def started(self) -> None:
        """Open the files and start the writer.

        Raises:
            BulkRefused: a file cannot or should not be used; no file was changed.
        """
        is_reopened, self._place.is_open = self._place.is_open, True
        self._is_reopened = self._has_begun = is_reopened
        self._archive = await self.enter_async_context(self._opened(is_reopened=is_reopened))
        place = self._place
        make = partial(
            WriterActor,
            place.written,
            self._archive.paths,
            place.settings,
            self._observers,
            place.in_thread,
        )
        self._writer = await self.spawn(
            "writer", make, restart="temporary", capacity=_GROUPS_TO_WRITE
        )

    @asynccontextmanager
    async def _opened(self, *, is_reopened: bool) -> AsyncGenerator[Archive]:
        place = self._place
        open_it = partial(
            Archive,
            place.output,
            place.settings,
            place.provider,
            place.written.form,
            wall_clock=place.wall_clock,
            is_reopened=is_reopened,
        )
        archive = await self._in_thread(open_it)
        try:
            yield archive
        finally:
            with trio.CancelScope(shield=True):
                await self._in_thread(self._close)

    @handles(GetRunInfo)
    async def info(self, message: GetRunInfo) -> RunInfo:  # noqa: ARG002  # a handler
        """Return what is known of the run."""
        return RunInfo(self._archive.account, self._archive.lane, self._archive.owner)

    @handles(NoteBatches, raises=(BulkRefused,))
    async def note_batches(self, message: NoteBatches) -> None:
        """Note whether rows may be in batches.

        Raises:
            BulkRefused: the store cannot be written.
        """
        self._has_batches = message.in_batches
        note = partial(self._archive.note_batches, in_batches=message.in_batches)
        try:
            await self._in_thread(note)
        except StorageError as error:
            reason = f"{error.name} cannot be used: {error.reason}"
            raise BulkRefused(reason, error.remedy_by(ANOTHER_OUTPUT)) from None

    @handles(AdmitRows, raises=(ArchiveFailed,))
    async def admit(self, message: AdmitRows) -> Admitted:
        """Find out which rows are known.

        Raises:
            ArchiveFailed: the store cannot be read; nothing was admitted.
        """
        if self._is_reopened:
            raise ArchiveFailed("the run store has crashed", "see the log")
        self._has_begun = True
        if not message.first and (
            refusal := await self._in_thread(partial(self._refusal, message))
        ):
            return Admitted((), refusal, is_refused=True)
        to_send, ended = await self._in_thread(partial(self._look_up, message))
        await self._write(WriteRows(ended, read=len(message.rows)), waits=True)
        return Admitted(to_send, self._trouble)

    def _refusal(self, message: AdmitRows) -> RunEnding | None:
        """Return why the run should not send its first rows; None if it may.

        The responses are compared only if so many rows have none that most may have changed.
        """
        if self._place.settings.pay_for_changes:
            return None
        rows = [row for row in message.rows if isinstance(row, Row)]
        matched = sum(line is not None for line in self._archive.find(rows))
        if len(rows) <= 2 * matched:
            return None
        found = self._archive.compare(rows)
        return refusal_of(found, len(message.rows)) if found.repeats_most else None

    def _look_up(self, message: AdmitRows) -> tuple[list[Placed], list[RowOutcome]]:
        # Ids of bad rows do not count: only responses are identified by their id.
        good = [row for row in message.rows if isinstance(row, Row)]
        doubles = iter(self._archive.meet(good))
        lines = iter(self._archive.find(good))
        to_send: list[Placed] = []
        ended: list[RowOutcome] = []
        for place, row in enumerate(message.rows, message.first):
            if isinstance(row, BadRow):
                ended.append(_bad(place, row, message.at))
                continue
            before, line = next(doubles), next(lines)
            if before is not None:
                ended.append(_bad(place, _twice(row, before), message.at))
            elif line is not None and (earlier := self._unwanted(line)) is not None:
                to_send.append(Placed(place, row).again(earlier))
            elif line is not None:
                event = RowEnded(
                    at=message.at, number=row.number, custom_id=row.custom_id, is_reused=True
                )
                ended.append(RowOutcome(place, line, event, columns=row.columns))
            else:
                to_send.append(Placed(place, row))
        return to_send, ended

    def _unwanted(self, line: bytes) -> EarlierAnswer | None:
        """Return the response of a line if its row is to be asked again; else None."""
        if not self._place.settings.retry_on:
            return None
        try:
            response = read_answer(line)
        except ValueError:
            return None
        if ended_by(response) not in self._place.settings.retry_on:
            return None
        return EarlierAnswer(line, response, in_run=None)

    @defers(Keep)
    async def keep(self, message: Keep, slot: ReplySlot[RunEnding | None]) -> None:
        """Add rows to the next commit, which is behind all that waits in the mailbox."""
        slot.start()
        self._group.append((message, slot))
        if len(self._group) == 1:
            try:
                self.ref.tell_nowait(_Commit())
            except AskFailed:  # the mailbox is full, or closed because of a drain
                self.send_after(0, _Commit())

    @handles(_Commit)
    async def commit(self, message: _Commit) -> None:  # noqa: ARG002  # a handler
        """Write the rows of the group in one transaction, then reply and pass them on."""
        group, self._group = self._group, []
        if not group:  # they were of an incarnation that has crashed
            return
        ended = [one for keep, _ in group for one in keep.ended]
        responses = [(one.key, one.line) for one in ended if one.key is not None]
        spend = group[-1][0].spend
        try:
            reason = await self._in_thread(partial(self._archive.keep, responses, spend))
        except ArchiveFailed as error:
            for _, slot in group:
                slot.fail(error)
            return
        if final := [one for one in ended if one.is_final]:
            await self._write(WriteRows(final))
        trouble = ArchiveFailed(reason).ending if reason else self._trouble
        for _, slot in group:
            slot.reply(trouble)

    @handles(FinishRun)
    async def finish(self, message: FinishRun) -> RunEnding | None:
        """Have the writer finish OUTPUT, after all that it was sent."""
        self._has_begun = True
        try:
            await self._writer.ask(FinishOutput(message.is_done))
        except ArchiveFailed as error:
            return error.ending
        except AskFailed as error:
            return self._trouble or crash_ending(self._writer.path, error.__cause__ or error)
        self._removes = message.removes_store and self._trouble is None
        return self._trouble

    async def _write(self, message: WriteRows, *, waits: bool = False) -> None:
        """Send rows to the writer; wait until they are written only if they were read just now."""
        try:
            slot = await self._writer.submit(message)
            slot.on_settled(self._written)
            if waits:
                await slot.wait()
        except AskFailed as error:
            self._trouble = self._trouble or crash_ending(self._writer.path, error)

    def _written(self, slot: ReplySlot[RunEnding | None]) -> None:
        ending = slot.value
        if isinstance(slot.error, AskFailed):
            ending = crash_ending(self._writer.path, slot.error.__cause__ or slot.error)
        self._trouble = self._trouble or ending

    def _close(self) -> None:
        """Close the store; first store in it what the ledger could not write."""
        place, archive = self._place, self._archive
        if place.unwritten:
            costs = place.unwritten[-1]
            if costs.kept_in is None and archive.keep_unwritten(costs):
                costs = attrs.evolve(costs, kept_in=archive.paths.store)
            if place.ledger is not None and place.ledger.on_unwritten is not None:
                place.ledger.on_unwritten(costs)
        if self._has_batches:
            with suppress(StorageError):  # then the next run refuses to go on without the journal
                archive.note_batches(in_batches=lines_in(archive.paths.batches) > 0)
        if self._has_begun:
            archive.close(remove=self._removes)
        else:
            archive.undo()


def _twice(row: Row, before: int) -> BadRow:
    reason = f"the id {row.custom_id!r:.80} is that of row {before} already; ids must be unique"
    return BadRow(number=row.number, reason=reason, custom_id=row.custom_id, columns=row.columns)


def _bad(place: int, bad: BadRow, at: float) -> RowOutcome:
    event = RowEnded(
        at=at,
        number=bad.number,
        custom_id=bad.custom_id or "",
        error=BAD_ROW,
        message=bad.reason,
    )
    return RowOutcome(place, bad_line(bad), event, columns=bad.columns)
