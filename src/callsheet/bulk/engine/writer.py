"""Store results: everything that has ended is written together, with one wait for the disk."""

import contextlib
from functools import partial
from typing import final

import trio

from ...actors import InThread
from ...runtime import AskFailed
from ..files.archive import ArchiveFailed
from .state import RunState, archive_ending

_ACKNOWLEDGE_S = 5.0  # at the end of the run; later acknowledgements are not worth a wait


@final
class Writer:
    """Writes results, and the bound on the rows that may start next.

    Args:
        state: the state of the run.
        in_thread: runs blocking disk access.
    """

    def __init__(self, state: RunState, in_thread: InThread) -> None:
        self._state = state
        self._in_thread = in_thread

    async def run(self) -> None:
        """Store ended rows until the run is finished."""
        state = self._state
        while not state.is_finished:
            await state.wake_writer.wait()
            with trio.CancelScope(shield=True):
                await self.keep_all()

    async def keep_all(self) -> None:
        """Store all rows that have ended so far."""
        state, queue = self._state, self._state.queue
        ended, state.ended = state.ended, []
        bound = queue.finished if state.is_finished else queue.take_bound()
        sent = queue.finished + state.at_risk(bound) if state.is_recovered else bound
        account = state.spending.so_far(sent=sent, ended=queue.finished)
        keep = partial(state.archive.keep, ended, account)
        try:
            kept = await self._in_thread(keep, limiter=state.archive_limiter)
        except ArchiveFailed as error:
            state.ended = [*ended, *state.ended]
            state.end(archive_ending(error))
            return
        queue.bound_written(bound)
        state.unwritten_bytes -= sum(len(one.line) for one in ended)
        state.wake_reader.set()
        state.report(ended, kept.left)
        state.stop_on_disk_error(kept.trouble)
        state.wake_dispatcher.set()
        if state.acknowledge is not None:
            state.unacknowledged += [one.event.custom_id for one in ended if one.key is not None]
            state.wake_acknowledger.set()

    async def acknowledge(self) -> None:
        """Acknowledge stored responses to the batch journal, in the background.

        The call may take long while the actor that owns the journal is busy.
        """
        state = self._state
        while not state.is_finished:
            await state.wake_acknowledger.wait()
            await self._acknowledge_all()

    async def _acknowledge_all(self) -> None:
        state = self._state
        if state.acknowledge is not None and state.unacknowledged:
            count = len(state.unacknowledged)
            with contextlib.suppress(AskFailed):  # then the journal keeps them longer
                await state.acknowledge(state.unacknowledged[:count])
                del state.unacknowledged[:count]

    async def finish(self) -> None:
        """Acknowledge the rest and finish the files."""
        state = self._state
        with trio.move_on_after(_ACKNOWLEDGE_S):
            await self._acknowledge_all()
        if not state.is_done:
            await self._in_thread(state.archive.break_off, limiter=state.archive_limiter)
            return
        try:
            await self._in_thread(state.archive.finish, limiter=state.archive_limiter)
        except ArchiveFailed as error:
            state.ending = archive_ending(error)
