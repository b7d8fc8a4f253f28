"""A task that runs handlers one after another, and the message in its hands.

Who waits for whom: a circle of actors that wait for each other is found when it closes.

A worker waits for an answer or an item of it, or for room in a mailbox. It can go on if
whoever it waits for can: the worker that has its message in hand; or, while the message queues, any
worker of the actor it queues at. A message that is held, or has gone to an actor that does not live
just now, may be answered by anything: nothing is concluded from it. So what is found is a deadlock,
and what is not found may be one: asks that a handler makes from tasks of its own are not followed.

A circle closes when somebody begins to wait, or when a message is forwarded to whom its asker keeps
from going on.
"""

from collections.abc import Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, final

import attrs
import trio

from ..errors import Deadlock
from .reply import Message, Outcome, ReplySlot

if TYPE_CHECKING:
    from .cell import Cell
    from .stream import AskStream

__all__ = [
    "Worker",
    "check_circle",
    "current_worker",
    "find_circle",
    "waiting_worker",
]


_GIVEN_UP = (Outcome.CANCELLED, Outcome.EXPIRED)


@final
@attrs.define(eq=False)
class Worker:
    """One cancel scope serves it for a stretch of messages.

    It is renewed only after it was used, because a scope for each message would cost more than most
    messages do.

    Attributes:
        path: the actor's.
        task: the task that it is.
        message: what it handles now; None if it is idle.
        slot: where the answer goes, if anybody asked.
        since: since when, on Trio's clock.
        tries: how often the message was delivered before.
        uninterruptible: its handler runs to its end even if nobody waits any more.
        interrupted: its scope was used.
        waits_for: what it waits for: an answer, room in a mailbox, an item (see `waiting`).
    """

    path: str
    task: trio.lowlevel.Task | None = None
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    message: Message[object] | None = None
    slot: ReplySlot[Any] | None = None
    since: float = 0.0
    tries: int = 0
    uninterruptible: bool = False
    interrupted: bool = False
    waits_for: "ReplySlot[Any] | Cell | AskStream[Any] | None" = None

    @property
    def blockers(self) -> "tuple[Worker, ...]":
        """Who has to go on before a message in its hands is done; see `waiting`."""
        return (self,)

    def released(self, slot: ReplySlot[Any]) -> None:
        """The slot of the message in hand is filled: if it was given up, so is the work (R4)."""
        if slot.outcome in _GIVEN_UP and not self.uninterruptible:
            self.interrupted = True
            self.scope.cancel()


current_worker: ContextVar[Worker | None] = ContextVar("current_worker", default=None)
"""The worker that the current task is, or was started by."""


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
    circle = find_circle(worker)
    if circle is not None:
        raise Deadlock(circle)


def find_circle(worker: Worker) -> tuple[str, ...] | None:
    """The paths of actors that wait for each other in a circle; None if the worker can go on.

    A worker can go on if any of those it waits for can. So it is a deadlock if none of those it
    waits for, directly or by others, works; each is looked at once.
    """
    waited_for_by: dict[Worker, Worker | None] = {worker: None}
    ahead = [worker]
    last: Worker | None = None  # it waits for `worker`
    while ahead:
        one = ahead.pop()
        blockers = _blockers(one, has_slept=one is not worker)
        if not blockers:
            return None
        for blocker in blockers:
            if blocker is worker:
                last = last or one
            elif blocker not in waited_for_by:
                waited_for_by[blocker] = one
                ahead.append(blocker)
    way: list[Worker] = []
    if last is not None:
        while last is not None:
            way.append(last)
            last = waited_for_by[last]
        way.reverse()
    else:  # it waits for others that are in a circle without it
        one = worker
        while one not in way:
            way.append(one)
            one = _blockers(one, has_slept=False)[0]
        del way[: way.index(one)]
    return tuple(one.path for one in (*way, way[0]))


def _blockers(worker: Worker, *, has_slept: bool) -> Sequence[Worker]:
    """Those a worker waits for, any of whom would do; none if it works, or others would do, too.

    Who waited for room, or an item, and got it still says that it waits until it runs. But Trio
    forgets at once what the task sleeps for (both times a channel), so there one can see it.
    """
    waits_for = worker.waits_for
    if waits_for is None:
        return ()
    if isinstance(waits_for, ReplySlot):
        return waits_for.blockers
    task = worker.task
    if has_slept and task is not None and task.custom_sleep_data is None:
        return ()
    return waits_for.blockers
