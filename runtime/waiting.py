"""Who waits for whom: a circle of actors that wait for each other is found when it closes.

A worker waits for an answer (an ask) or for room in a mailbox (a tell, a forward). It can go on if
whoever it waits for can: the worker that has its message in hand; or, while the message queues, any
worker of the actor it queues at. A message that is held, or has gone to an actor that does not live
just now, may be answered by anything: nothing is concluded from it. So what is found is a deadlock,
and what is not found may be one: asks that a handler makes from tasks of its own are not followed.
"""

from typing import TYPE_CHECKING, Any

import trio

from .errors import Deadlock
from .incarnation import Incarnation
from .reply import ReplySlot
from .worker import Worker, current_worker

if TYPE_CHECKING:
    from .cell import Cell

__all__ = ["check_circle", "waiting_worker"]


def waiting_worker() -> Worker | None:
    """The worker that the current task is; None outside of actors and in tasks of a handler's."""
    worker = current_worker.get()
    if worker is None or worker.task is not trio.lowlevel.current_task():
        return None
    return worker


def check_circle(worker: Worker) -> None:
    """See whether what a worker waits for can ever come.

    Args:
        worker: its `waits_for` is set.

    Raises:
        Deadlock: everybody it waits for waits, in the end, for it.
    """
    circle = _circle(worker, [])
    if circle is not None:
        raise Deadlock((*circle, circle[0]))


def _circle(worker: Worker, way: list[Worker]) -> tuple[str, ...] | None:
    """The actors on a way from a worker back to itself, if there is no other way; else None."""
    if worker in way:
        return tuple(one.path for one in way[way.index(worker) :])
    if worker.waits_for is None:
        return None  # it works
    way = [*way, worker]
    blockers = _blockers(worker.waits_for)
    if not blockers:
        return None
    found: tuple[str, ...] | None = None
    for blocker in blockers:
        circle = _circle(blocker, way)
        if circle is None:
            return None  # this one can go on
        found = found or circle
    return found


def _blockers(waits_for: "ReplySlot[Any] | Cell") -> list[Worker]:
    """The workers that one waits for, any of whom would do; none if others would do, too."""
    if isinstance(waits_for, ReplySlot):
        holder = waits_for.holder
        if isinstance(holder, Worker):
            return [holder]
        if holder is None or isinstance(holder, Incarnation):
            return []
        life = holder.life
    else:
        life = waits_for.life
    return [] if life is None or life.is_idle else list(life.workers)
