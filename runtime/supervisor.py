"""Keeps actors alive: restarts each by itself when it crashes (one_for_one), up to an intensity."""

import traceback
from random import Random

import structlog
import trio

from .cell import Cell, Spec
from .deadlines import Deadlines
from .errors import NameTaken, RestartIntensityExceeded
from .ref import Ref
from .restarts import Backoff, RestartPolicy, RestartWindow
from .snapshot import ActorSnapshot, CellState

__all__ = ["Supervisor"]

_log = structlog.stdlib.get_logger("callsheet.runtime")


class Supervisor:
    """Starts actors in order, restarts them when they crash, stops them in reverse order.

    A crash costs what the actor had in its hands, nothing else: the mailbox and every ref outlive
    it (R2). More crashes within the window than `policy` allows are raised in `nursery`, from
    where they come out of `open_runtime`.
    """

    def __init__(
        self,
        path: str,
        nursery: trio.Nursery,
        deadlines: Deadlines,
        policy: RestartPolicy,
        seed: str,
    ) -> None:
        self.path = path
        self._nursery = nursery
        self._deadlines = deadlines
        self._policy = policy
        self._seed = seed
        self._window = RestartWindow(policy)
        self._cells: dict[str, Cell] = {}  # in start order

    async def start(self, spec: Spec) -> Ref:
        """Start one more actor; returns when it has started.

        Raises:
            NameTaken: there is one of this name.
            Exception: whatever its factory or its `started` hook raised; it is not there then.
        """
        if spec.name in self._cells:
            raise NameTaken(f"{self.path} has an actor {spec.name!r} already")
        cell = Cell(spec, self.path, self._deadlines, self._seed)
        self._cells[spec.name] = cell
        await self._nursery.start(self._keep, cell)
        return cell.ref

    async def _keep(self, cell: Cell, task_status: trio.TaskStatus[None]) -> None:
        began = trio.current_time()
        is_up = False

        def started() -> None:
            nonlocal began, is_up
            began = trio.current_time()
            if not is_up:
                is_up = True
                task_status.started()

        random = Random(f"{self._seed}/{cell.path}/backoff")  # noqa: S311  # R13: seeded
        backoff = Backoff(self._policy, random)
        try:
            with cell.stop_scope:
                while True:
                    try:
                        return await cell.incarnate(started)
                    except Exception as error:
                        if not is_up:
                            raise
                        pause = self._pause(cell, error, backoff, trio.current_time() - began)
                    cell.states.value = CellState.RESTARTING
                    await trio.sleep(pause)
        finally:
            cell.close()
            del self._cells[cell.spec.name]

    def _pause(self, cell: Cell, error: Exception, backoff: Backoff, lived_s: float) -> float:
        """Seconds until the restart; raises if there will be none."""
        allowed = self._window.allows(trio.current_time())
        pause = backoff.after(lived_s)
        _log.error(
            "actor_crashed",
            actor=cell.path,
            incarnation=cell.incarnation,
            lived_s=round(lived_s, 3),
            decision="restart" if allowed else "fail upward",
            restart_in_s=round(pause, 3) if allowed else None,
            error=error,
            # As text: renderers that show the locals of each frame would show secrets, too (L8).
            exception="".join(traceback.format_exception(error)),
        )
        if not allowed:
            policy = self._policy
            raise RestartIntensityExceeded(
                f"{cell.path} crashed with {type(error).__name__}: {error}; {self.path} allows "
                f"{policy.max_restarts} restarts in {policy.period_s:g} s"
            ) from error
        return pause

    async def drain(self, ref: Ref) -> None:
        """Stop one actor after it has done what is in its mailbox. Harmless if it is stopped."""
        cell = ref._cell  # noqa: SLF001  # the runtime's own
        cell.drain()
        await cell.states.wait_value(CellState.STOPPED)

    async def drain_all(self) -> None:
        """Drain every actor, the last started first, so that work flows on to those it needs."""
        while self._cells:
            await self.drain(next(reversed(self._cells.values())).ref)

    def stop_all(self) -> None:
        """Cancel every actor now."""
        for cell in self._cells.values():
            cell.stop_scope.cancel()

    def restarts_left(self) -> int:
        """Crashes that may follow before one fails upward."""
        return self._window.left(trio.current_time())

    def snapshot(self) -> tuple[ActorSnapshot, ...]:
        """Every actor, in start order."""
        now = trio.current_time()
        return tuple(cell.snapshot(now) for cell in self._cells.values())
