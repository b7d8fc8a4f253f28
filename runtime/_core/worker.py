"""Workers, the tasks that run an actor's handlers, and the detection of deadlocks between them.

A worker may wait for a reply, for an item of a stream, or for room in a mailbox. It can continue if
one of the workers that it waits for can: the worker that handles its message or, while the message
is queued, any worker of that actor. Nothing is concluded from a message whose reply is deferred, or
whose actor has no incarnation at the moment: any task may resolve it. So a cycle that is found is a
deadlock, but a deadlock may be missed: asks that a handler makes in tasks of its own are not
followed.

The search runs when a worker begins to wait, and when a message is forwarded.
"""

from collections.abc import Hashable, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, final

import attrs
import trio

from ..errors import Deadlock
from .reply import Message, Outcome, ReplySlot

if TYPE_CHECKING:
    from .inbox import Inbox
    from .stream import AskStream


_ABANDONED = (Outcome.CANCELLED, Outcome.EXPIRED)


@final
@attrs.define(eq=False)
class Worker:
    """A task that runs handlers one after another, and its message in progress.

    One cancel scope serves many messages. It is renewed only after it was cancelled, since a scope
    for each message would cost more than most messages do.

    Attributes:
        path: path of the actor.
        task: the worker's task; None until it runs.
        scope: the cancel scope around the handlers.
        message: the message that it handles; None if it is idle.
        slot: the slot for the reply; None for a `tell`.
        started_at: when the handler started, in seconds on Trio's clock.
        tries: how often the message was delivered before.
        key: the key of the message, in hand until the message is done; None if it has none.
        uninterruptible: the handler is not cancelled when the caller gives up.
        interrupted: whether the scope was cancelled.
        waits_for: the reply, mailbox or stream that the handler waits for; None if it does not
            wait.
    """

    path: str
    task: trio.lowlevel.Task | None = None
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    message: Message[object] | None = None
    slot: ReplySlot[Any] | None = None
    started_at: float = 0.0
    tries: int = 0
    key: Hashable = None
    uninterruptible: bool = False
    interrupted: bool = False
    waits_for: "ReplySlot[Any] | Inbox | AskStream[Any] | None" = None

    @property
    def blockers(self) -> "tuple[Worker, ...]":
        """The worker itself: it must continue before its message is done (see `find_cycle`)."""
        return (self,)

    def released(self, slot: ReplySlot[Any]) -> None:
        """Note that the slot is filled, and cancel the handler if the caller has given up (R4)."""
        if slot.outcome in _ABANDONED and not self.uninterruptible:
            self.interrupted = True
            self.scope.cancel()


current_worker: ContextVar[Worker | None] = ContextVar("current_worker", default=None)
"""The worker that the current task is, or was started by."""


def waiting_worker() -> Worker | None:
    """Return the current task's worker; None outside actors and in tasks that a handler started."""
    worker = current_worker.get()
    if worker is None or worker.task is not trio.lowlevel.current_task():
        return None
    return worker


def check_deadlock(worker: Worker) -> None:
    """Raise an error if the reply, room or item that a worker waits for can never come.

    Args:
        worker: a worker whose `waits_for` is set.

    Raises:
        Deadlock: all workers that it waits for wait, directly or indirectly, for it.
    """
    cycle = find_cycle(worker)
    if cycle is not None:
        raise Deadlock(cycle)


def find_cycle(worker: Worker) -> tuple[str, ...] | None:
    """Return the paths of actors that wait in a cycle; None if the worker can continue.

    A worker can continue if one of those that it waits for can. So there is a deadlock if all
    workers that it waits for, directly or indirectly, wait themselves. Each worker is examined
    once.
    """
    waited_for_by: dict[Worker, Worker | None] = {worker: None}
    pending = [worker]
    last: Worker | None = None  # waits for `worker`
    while pending:
        one = pending.pop()
        blockers = _blockers(one, has_slept=one is not worker)
        if not blockers:
            return None
        for blocker in blockers:
            if blocker is worker:
                last = last or one
            elif blocker not in waited_for_by:
                waited_for_by[blocker] = one
                pending.append(blocker)
    cycle: list[Worker] = []
    if last is not None:
        while last is not None:
            cycle.append(last)
            last = waited_for_by[last]
        cycle.reverse()
    else:  # it waits for a cycle that does not include it
        one = worker
        while one not in cycle:
            cycle.append(one)
            one = _blockers(one, has_slept=False)[0]
        del cycle[: cycle.index(one)]
    return tuple(one.path for one in (*cycle, cycle[0]))


def _blockers(worker: Worker, *, has_slept: bool) -> Sequence[Worker]:
    """Return the workers of which one must continue first; empty if the worker itself can.

    A worker that waited for room or for an item, and got it, has `waits_for` set until it runs.
    Trio clears the task's sleep data at once (a channel in both cases), which shows that it no
    longer waits.
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
