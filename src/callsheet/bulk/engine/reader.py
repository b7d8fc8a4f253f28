"""The actor that reads the rows of a run, no faster than they are processed."""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Never, final

import attrs
import trio

from ...actors import InThread
from ...runtime import Actor, ActorCrashed, Ref
from ..errors import ArchiveFailed, RunEnding, crash_ending
from ..reading.errors import InputChanged
from ..row import BadRow, Row, size_of
from .dispatcher import AddRows, EndRun, GetRoom
from .store import AdmitRows

_PATIENCE_S = 0.02
_MOST_CHARS = 4 * 1024**2


@attrs.frozen
class Taken:
    """Rows that were read.

    Args:
        rows: the rows, in order.
        is_end: True if the input has ended.
        error: the error that stopped the reading, if any.
    """

    rows: Sequence[Row | BadRow]
    is_end: bool = False
    error: Exception | None = None


def take(
    rows: Iterator[Row | BadRow], most: int, clock: Callable[[], float] = time.monotonic
) -> Taken:
    """Return the next rows, fewer if they are large or slow to arrive. Blocks.

    Args:
        rows: the rows of the input.
        most: the maximum number of rows.
        clock: returns the time in seconds.
    """
    found: list[Row | BadRow] = []
    chars = 0
    until = clock() + _PATIENCE_S
    try:
        for row in rows:
            found.append(row)
            chars += size_of(row.request) if isinstance(row, Row) else len(row.text)
            if len(found) >= most or chars >= _MOST_CHARS or clock() >= until:
                return Taken(found)
    except Exception as error:  # noqa: BLE001  # rows read before the error are kept
        return Taken(found, is_end=False, error=error)
    return Taken(found, is_end=True)


@final
class ReaderActor(Actor[Never]):
    """Reads rows in a thread while the dispatcher has room for more.

    It asks the store which rows are known, and hands the others to the dispatcher.

    Args:
        rows: the rows of the input.
        store: the actor of the run store.
        dispatcher: the actor that sends rows.
        in_thread: runs blocking reads from a disk or a pipe.
    """

    def __init__(
        self,
        rows: Iterator[Row | BadRow],
        store: Ref[AdmitRows],
        dispatcher: Ref[GetRoom | AddRows | EndRun],
        in_thread: InThread,
    ) -> None:
        self._rows = rows
        self._store = store
        self._dispatcher = dispatcher
        self._in_thread = in_thread
        self._places = 0  # rows that were read

    async def started(self) -> None:
        """Start to read."""
        self.nursery.start_soon(self._read)

    async def _read(self) -> None:
        """Read until the input ends; the run stops this actor if it ends before."""
        is_end = False
        while not is_end and (room := await self._dispatcher.ask(GetRoom())):
            # A pipe may deliver no data for hours.
            taken: Taken = await self._in_thread(
                partial(take, self._rows, room), abandon_on_cancel=True
            )
            is_end = taken.is_end
            with trio.CancelScope(shield=True):
                await self._pass_on(taken)

    async def _pass_on(self, taken: Taken) -> None:
        rows = taken.rows
        admit = AdmitRows(rows, self._places, trio.current_time())
        self._places += len(rows)
        try:
            admitted = await self._store.ask(admit)
        except ArchiveFailed as error:
            await self._dispatcher.tell(EndRun(error.ending))
            return
        except ActorCrashed as error:
            await self._dispatcher.tell(EndRun(crash_ending(self._store.path, error.__cause__)))
            return
        for ending in (_unread(taken.error), admitted.ending):
            if ending is not None:
                await self._dispatcher.tell(EndRun(ending))
        await self._dispatcher.ask(
            AddRows(admitted.to_send, is_last=taken.is_end and not admitted.is_refused)
        )


def _unread(error: Exception | None) -> RunEnding | None:
    if error is None:
        return None
    if isinstance(error, InputChanged):
        remedy = "run the same command again to process the new rows"
        return RunEnding("input", str(error), remedy)
    return RunEnding("input", f"the input cannot be read: {error}", "repair the input")
