"""Keeps what has ended: all that is there, together, so that one wait for the disk is for many."""

import contextlib
from functools import partial
from typing import final

import trio

from ...actors import InThread
from ...runtime import AskFailed
from ..files.archive import NoRoom
from ..files.store import RunSpend
from .state import RunState, no_room

__all__ = [
    "Writer",
]


_ACKNOWLEDGE_S = 5.0  # at the end; what is not said by then is kept elsewhere for nothing


@final
class Writer:
    """Writes answers, and what may be begun next.

    Args:
        state: of the run.
        in_thread: runs what waits for the disk.
    """

    def __init__(self, state: RunState, in_thread: InThread) -> None:
        self._state = state
        self._in_thread = in_thread

    async def run(self) -> None:
        """Keep what ends, for as long as the run lasts."""
        state = self._state
        while not state.is_over:
            await state.to_keep.wait()
            with trio.CancelScope(shield=True):
                await self.keep_all()

    async def keep_all(self) -> None:
        """Keep what has ended by now."""
        state, line = self._state, self._state.line
        ended, state.ended = state.ended, []
        note = line.over if state.is_over else line.take_note()
        account = RunSpend(
            cost_usd=state.cost_usd,
            sent=line.over + state.at_risk(note) if state.is_recovered else note,
            ended=line.over,
            lost=state.lost,
        )
        keep = partial(state.archive.keep, ended, account)
        try:
            kept = await self._in_thread(keep, limiter=state.turn)
        except NoRoom as error:
            state.ended = [*ended, *state.ended]
            state.heed(str(error))
            return
        line.note_kept(note)
        state.unkept -= sum(len(one.line) for one in ended)
        state.to_read.ring()
        state.tell(ended, kept.left)
        state.heed(kept.trouble)
        state.to_ask.ring()
        if state.acknowledge is not None:
            state.kept += [one.told.custom_id for one in ended if one.key is not None]
            state.to_acknowledge.ring()

    async def acknowledge(self) -> None:
        """Say what need not be kept elsewhere any longer; nobody waits for that.

        It may take long where whoever keeps it is busy.
        """
        state = self._state
        while not state.is_over:
            await state.to_acknowledge.wait()
            await self._acknowledge_all()

    async def _acknowledge_all(self) -> None:
        state = self._state
        if state.acknowledge is not None and state.kept:
            count = len(state.kept)
            with contextlib.suppress(AskFailed):  # then it is kept for nothing
                await state.acknowledge(state.kept[:count])
                del state.kept[:count]

    async def finish(self) -> None:
        """Write what is last."""
        state = self._state
        with trio.move_on_after(_ACKNOWLEDGE_S):
            await self._acknowledge_all()
        if not state.is_done:
            await self._in_thread(state.archive.break_off, limiter=state.turn)
            return
        try:
            await self._in_thread(state.archive.finish, limiter=state.turn)
        except NoRoom as error:
            state.ending = no_room(str(error), error.remedy)
