"""Reads the rows of a run, no faster than their answers come."""

from collections.abc import Iterator
from functools import partial
from typing import final

import trio

from ...actors import InThread
from ..errors import RunEnding
from ..reading.errors import InputChanged
from ..row import BadRow, Row
from .state import RunState
from .taking import Taken, take

__all__ = [
    "READ_AT_ONCE",
    "Reader",
]


READ_AT_ONCE = 512  # rows


@final
class Reader:
    """Reads as long as there is room for more.

    Args:
        state: of the run.
        rows: of the input.
        in_thread: runs what waits for a disk or a pipe.
    """

    def __init__(self, state: RunState, rows: Iterator[Row | BadRow], in_thread: InThread) -> None:
        self._state = state
        self._rows = rows
        self._in_thread = in_thread

    async def run(self) -> None:
        """Read to the end of the input, or of the run."""
        state = self._state
        with trio.CancelScope() as state.reading:
            while not state.is_read and state.ending is None:
                room = self._room()
                if room <= 0:
                    await state.to_read.wait()
                    continue
                read = partial(take, self._rows, min(room, READ_AT_ONCE))
                # A pipe may have nothing to say for hours.
                taken: Taken = await self._in_thread(read, abandon_on_cancel=True)
                with trio.CancelScope(shield=True):
                    await self._admit(taken)
        state.to_ask.ring()

    def _room(self) -> int:
        return 0 if self._state.line.waiting >= READ_AT_ONCE else self._state.room

    async def _admit(self, taken: Taken) -> None:
        state = self._state
        admit = partial(state.archive.admit, taken.rows, trio.current_time())
        admitted = await self._in_thread(admit, limiter=state.turn)
        state.tally.read += len(taken.rows)
        state.is_read = taken.is_end
        if taken.error is not None:
            state.end(_unread(taken.error))
        state.line.add(admitted.to_ask)
        state.tell(admitted.ended, admitted.left)
        state.heed(admitted.trouble)
        state.to_ask.ring()


def _unread(error: Exception) -> RunEnding:
    if isinstance(error, InputChanged):
        remedy = "the same command reads it again, and asks for what is new"
        return RunEnding("input", str(error), remedy)
    return RunEnding("input", f"the input cannot be read: {error}", "mend it")
