"""The actor that writes OUTPUT in the order of the input, and reports what was written."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import final

import attrs
import trio

from ...actors import InThread
from ...runtime import Actor, AskFailed, Message, Ref, ReplySlot, defers, handles
from ..errors import ArchiveFailed, RunEnding, crash_ending
from ..files.lines import RowOutcome
from ..files.output import JSON_LINES, RowFormat, RunOutput
from ..settings import BulkSettings, Paths
from .reporting import ObserverFailed, ReportRows, ResultFeed, RunCounts

_GATHER_S = 0.01  # rows that are in the store already wait so long for others: a thread costs more


@attrs.frozen
class WriteRows(Message[RunEnding | None]):
    """Write rows that have ended; all of them are in the store (L7).

    The reply is the reason why no more rows should start; None if they may.

    Args:
        ended: the rows, in any order.
        read: the number of rows that were read just now.
    """

    ended: Sequence[RowOutcome]
    read: int = 0


@attrs.frozen
class FinishOutput(Message[None]):
    """Finish OUTPUT after the last row.

    Args:
        is_done: True if every row of the input has ended.
    """

    is_done: bool


@attrs.frozen
class _Flush(Message[None]):
    """Write what has gathered."""


@final
class ReorderWindow:
    """The rows that were read and not written, in the order of the input. Pure (R14).

    Args:
        rows: the maximum number of rows.
        size: the maximum of bytes of lines that wait for an earlier row.
        ordered: True to release rows in the order of the input, False in the order of their end.
    """

    def __init__(self, rows: int, size: int, *, ordered: bool) -> None:
        self.rows = rows
        self._size = size
        self._ordered = ordered
        self._waiting: dict[int, RowOutcome] = {}  # {place: a row that waits for an earlier one}
        self._bytes = 0
        self._read = 0
        self._left = 0  # released rows; if ordered, the place of the next row to release

    def __repr__(self) -> str:
        return (
            f"<ReorderWindow {self._read - self._left} of {self.rows} rows, {self.waiting} waiting>"
        )

    @property
    def waiting(self) -> int:
        """The number of rows that have ended and wait for an earlier one."""
        return len(self._waiting)

    @property
    def room(self) -> int:
        """The number of rows that may be read now."""
        if self._bytes >= self._size:
            return 0
        return self.rows - (self._read - self._left)

    def read(self, rows: int) -> None:
        """Record that rows were read."""
        self._read += rows

    def put(self, ended: RowOutcome) -> None:
        """Add a row that has ended; its place is below the number of rows read."""
        self._waiting[ended.place] = ended
        self._bytes += ended.size

    def take(self) -> list[RowOutcome]:
        """Remove and return the rows that may be written now."""
        found: list[RowOutcome] = []
        if not self._ordered:
            found = list(self._waiting.values())
            self._waiting.clear()
            self._bytes = 0
            self._left += len(found)
            return found
        while (ended := self._waiting.pop(self._left, None)) is not None:
            found.append(ended)
            self._bytes -= ended.size
            self._left += 1
        return found

    def give_up(self) -> list[RowOutcome]:
        """Remove and return all waiting rows in order; the rows before them will not end."""
        found = [self._waiting[place] for place in sorted(self._waiting)]
        self._waiting.clear()
        self._bytes = 0
        return found


@final
class OutputState:
    """What the writer has written, and what waits. Others read it, and only the writer changes it.

    Two places are for others: the caller takes the results, and the dispatcher sets `on_room`.

    Args:
        settings: the settings of the run.
        form: the format of OUTPUT.

    Attributes:
        counts: the counts of ended rows.
        window: the rows that were read and not written.
        results: rows that the caller has not iterated over yet.
        on_room: called when more rows may be read.
    """

    def __init__(self, settings: BulkSettings, form: RowFormat = JSON_LINES) -> None:
        self.form = form
        self.counts = RunCounts()
        self.window = ReorderWindow(
            settings.window_rows, settings.window_bytes, ordered=settings.ordered
        )
        self.results = ResultFeed()
        self.on_room: Callable[[], None] | None = None
        self._settings = settings

    @property
    def room(self) -> int:
        """The number of rows that may be read, as far as rows that have ended allow it."""
        results, settings = self.results, self._settings
        if results.size >= settings.window_bytes:
            return 0
        room = self.window.room
        return room if results.discards else min(room, settings.window_rows - len(results))


@final
class WriterActor(Actor[WriteRows | FinishOutput | _Flush]):
    """Owns OUTPUT and the errors file, and hands results to the observers and to the caller.

    Args:
        state: what the writer has written.
        paths: the files of the run.
        settings: the settings of the run.
        observers: the actor that calls the observers; None if there are none.
        in_thread: runs blocking disk access.
    """

    def __init__(
        self,
        state: OutputState,
        paths: Paths,
        settings: BulkSettings,
        observers: Ref[ReportRows] | None,
        in_thread: InThread,
    ) -> None:
        self._state = state
        self._paths = paths
        self._settings = settings
        self._observers = observers
        self._in_thread = in_thread
        self._group: list[tuple[WriteRows, ReplySlot[RunEnding | None]]] = []  # not written yet

    async def started(self) -> None:
        """Open the files.

        Raises:
            BulkRefused: a file cannot be used.
        """
        self._output = await self.enter_async_context(self._opened())

    @asynccontextmanager
    async def _opened(self) -> AsyncGenerator[RunOutput]:
        output = await self._in_thread(
            partial(RunOutput, self._paths, self._settings, self._state.form)
        )
        try:
            yield output
        finally:
            with trio.CancelScope(shield=True):
                await self._in_thread(output.close)

    @defers(WriteRows)
    async def write(self, message: WriteRows, slot: ReplySlot[RunEnding | None]) -> None:
        """Take rows; they are written and reported a moment later, with those that follow.

        Rows that were just read are written at once: the reader waits for them.
        """
        slot.start()
        self._state.window.read(message.read)
        self._state.counts.read += message.read
        self._group.append((message, slot))
        if message.read:
            await self._flush()
        elif len(self._group) == 1:
            self.send_after(_GATHER_S, _Flush())

    @handles(_Flush)
    async def flush(self, message: _Flush) -> None:  # noqa: ARG002  # a handler
        """Write what has gathered."""
        await self._flush()

    async def draining(self) -> None:
        """Write what has gathered."""
        await self._flush()

    async def _flush(self) -> None:
        """Write the rows that may be written now, and report all that have gathered."""
        group, self._group = self._group, []
        ended = [row for message, _ in group for row in message.ended]
        ending = await self._write(ended) if ended else None
        for _, slot in group:
            slot.reply(ending)

    async def _write(self, ended: Sequence[RowOutcome]) -> RunEnding | None:
        state, ending = self._state, None
        for row in ended:
            state.window.put(row)
        left = state.window.take()
        failed = [row.line for row in ended if not row.is_answer]
        if left or failed:
            try:
                await self._in_thread(partial(self._output.write, left, failed))
            except ArchiveFailed as error:
                ending = error.ending
        for row in ended:
            state.counts.add(row.event)
        ending = await self._report(ended) or ending
        state.results.put(left)
        if state.on_room is not None:
            state.on_room()
        return ending

    async def _report(self, rows: Sequence[RowOutcome]) -> RunEnding | None:
        """Report rows to the observers; return the ending if one of them has failed."""
        if self._observers is None:
            return None
        try:
            await self._observers.ask(ReportRows([row.event for row in rows]))
        except ObserverFailed as error:
            return error.ending
        except AskFailed as error:
            return crash_ending(self._observers.path, error)
        return None

    @handles(FinishOutput, raises=(ArchiveFailed,))
    async def finish(self, message: FinishOutput) -> None:
        """Finish OUTPUT, or write what waits for a row that has not ended.

        Raises:
            ArchiveFailed: OUTPUT could not be completed.
        """
        await self._flush()
        if message.is_done:
            await self._in_thread(self._output.finish)
        else:
            waiting = self._state.window.give_up()
            await self._in_thread(partial(self._output.break_off, waiting))
