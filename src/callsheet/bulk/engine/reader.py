"""Read the rows of a run, no faster than they are processed."""

from collections.abc import Iterator
from functools import partial
from typing import final

import trio

from ...actors import InThread
from ..errors import RunEnding
from ..files.archive import ArchiveFailed
from ..reading.errors import InputChanged
from ..row import BadRow, Row
from .state import RunState, archive_ending
from .taking import Taken, take

READ_AT_ONCE = 512  # rows


@final
class Reader:
    """Reads rows while there is room for more.

    Args:
        state: the state of the run.
        rows: the rows of the input.
        in_thread: runs blocking reads from a disk or a pipe.
    """

    def __init__(self, state: RunState, rows: Iterator[Row | BadRow], in_thread: InThread) -> None:
        self._state = state
        self._rows = rows
        self._in_thread = in_thread

    async def run(self) -> None:
        """Read until the input or the run ends."""
        state = self._state
        with trio.CancelScope() as state.reading:
            while not state.is_read and state.ending is None:
                room = self._room()
                if room <= 0:
                    await state.wake_reader.wait()
                    continue
                read = partial(take, self._rows, min(room, READ_AT_ONCE))
                # A pipe may deliver no data for hours.
                taken: Taken = await self._in_thread(read, abandon_on_cancel=True)
                with trio.CancelScope(shield=True):
                    await self._admit(taken)
        state.wake_dispatcher.set()

    def _room(self) -> int:
        return 0 if self._state.queue.waiting >= READ_AT_ONCE else self._state.room

    async def _admit(self, taken: Taken) -> None:
        state = self._state
        admit = partial(state.archive.admit, taken.rows, trio.current_time())
        try:
            admitted = await self._in_thread(admit, limiter=state.archive_limiter)
        except ArchiveFailed as error:
            state.end(archive_ending(error))
            return
        state.counts.read += len(taken.rows)
        state.is_read = taken.is_end
        if taken.error is not None:
            state.end(_unread(taken.error))
        state.admit(admitted.to_ask)
        state.report(admitted.ended, admitted.left)
        state.stop_on_disk_error(admitted.trouble)
        state.wake_dispatcher.set()


def _unread(error: Exception) -> RunEnding:
    if isinstance(error, InputChanged):
        remedy = "run the same command again to process the new rows"
        return RunEnding("input", str(error), remedy)
    return RunEnding("input", f"the input cannot be read: {error}", "repair the input")
