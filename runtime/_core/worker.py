"""Workers, the tasks that run an actor's handlers, and the detection of deadlocks between them.

A worker may wait for a reply, for an item of a stream, or for room in a mailbox. It can continue if
one of the workers that it waits for can: the worker that handles its message or, while the message
is queued, any worker of that actor. If it waits for a stop or a start, all workers of what is
stopped or started must continue. A wait with a deadline ends by itself. Hooks count as workers.
Nothing is concluded from a message whose reply is deferred, or
whose actor has no incarnation at the moment: any task may resolve it. So a cycle that is found is a
deadlock, but a deadlock may be missed: asks that a handler makes in tasks of its own are not
followed.

The search runs when a worker begins to wait, and when a message is forwarded.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from contextvars import Context, ContextVar
from math import inf
from typing import TYPE_CHECKING, Any, final

import attrs
import trio

from ..errors import Deadlock
from .deadlock import Needs, stuck_cycle
from .reply import Message, ReplySlot, current_slot
from .snapshot import Outcome
from .tracing import current_trace

if TYPE_CHECKING:
    from .inbox import Inbox
    from .keyed import Line
    from .stream import AskStream, StreamSink
    from .tracing import Trace


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
        trace: what the instruments know of the message; None if there are none.
        started_at: when the handler started, in seconds on Trio's clock.
        tries: how often the message was delivered before.
        key: the line of the message's key, in hand until it is done; None if it has no key.
        uninterruptible: the handler is not cancelled when the caller gives up.
        interrupted: whether the scope was cancelled.
        waits_for: the reply, room, stream or stop that the handler waits for; None if it does
            not wait.
        ends_by: when the wait for room, a stop or a start ends by itself, on Trio's clock.
        is_limited: whether the wait ends by a limit that the handler itself has set.
        task_limit: when the scopes around the handlers, or around the hook, end the task.
        is_draining: whether it runs the `draining` hook.
        was_timed: whether its last message was a timer's; set when it leaves its loop.
        helpers: tasks that the handler has started, and that wait for a stop or a start.
    """

    path: str
    task: trio.lowlevel.Task | None = None
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    message: Message[object] | None = None
    slot: ReplySlot[Any] | None = None
    trace: "Trace | None" = None
    started_at: float = 0.0
    tries: int = 0
    key: "Line | None" = None
    uninterruptible: bool = False
    interrupted: bool = False
    waits_for: "ReplySlot[Any] | Room | AskStream[Any] | StreamSink[Any] | Stop | None" = None
    ends_by: float = inf
    is_limited: bool = False
    task_limit: float = inf
    is_draining: bool = False
    was_timed: bool = False
    helpers: "dict[trio.lowlevel.Task, Worker] | None" = None

    @property
    def blockers(self) -> "tuple[Worker, ...]":
        """The worker itself: it must continue before its message is done (see `find_cycle`)."""
        return (self,)

    def blockers_of(self, slot: ReplySlot[Any]) -> "tuple[Worker, ...]":  # noqa: ARG002  # see `Mailbox`
        """The workers of which one must continue before the message of a slot does."""
        return self.blockers

    @property
    def cut_at(self) -> float:
        """When the runtime cancels the handler or hook, on Trio's clock; infinity if never."""
        if self.slot is None or self.uninterruptible:
            return self.task_limit
        return min(self.task_limit, self.slot.deadline)

    def cycle(self) -> tuple[str, ...] | None:
        """Return the cycle in which the worker waits, even if a deadline will end it."""
        return find_cycle(self, limits_count=False)

    def released(self, slot: ReplySlot[Any]) -> None:
        """Note that the slot is filled, and cancel the handler if the caller has given up (R4)."""
        if slot.outcome in _ABANDONED and not self.uninterruptible:
            self.interrupted = True
            self.scope.cancel()


current_worker: ContextVar[Worker | None] = ContextVar("current_worker", default=None)
"""The worker that the current task is, or was started by."""


def worker_of_hook(path: str) -> Worker:
    """Return a worker for the current task while it runs the `started` or `stopped` hook.

    Args:
        path: path of the actor.
    """
    limit = trio.current_effective_deadline()
    starter = current_worker.get()  # a handler that waits for this start, if there is one
    if starter is not None and isinstance(starter.waits_for, Stop):
        limit = min(limit, starter.cut_at)
    return Worker(path, trio.lowlevel.current_task(), task_limit=limit)


async def reset_variables(task: trio.lowlevel.Task, context: Context) -> None:
    """Undo what a handler has done to the context variables, so that the next does not see it."""
    current_slot.set(None)
    current_trace.set(None)
    try:
        is_same = task.context == context
    except Exception:  # noqa: BLE001  # a value that cannot be compared (R17)
        is_same = False
    if not is_same:
        task.context = context.copy()  # it takes effect when Trio resumes the task
        await trio.lowlevel.cancel_shielded_checkpoint()


def waiting_worker() -> Worker | None:
    """Return the current task's worker; None outside actors and in tasks that a handler started."""
    worker = current_worker.get()
    if worker is None or worker.task is not trio.lowlevel.current_task():
        return None
    return worker


@final
@attrs.frozen(eq=False)
class Room:
    """The wait for room in a mailbox, behind the tasks that wait for it already.

    Args:
        inbox: what has the mailbox.
        task: the task that waits.
    """

    inbox: "Inbox"
    task: trio.lowlevel.Task

    @property
    def blockers(self) -> "Sequence[Worker]":
        """The workers of which one must take a message first."""
        return self.inbox.blockers

    @property
    def deadline(self) -> float:
        """When messages that expire make room for this one; infinity if they never do."""
        return inf if self.inbox.deadline == inf else self.inbox.mailbox.room_at(self.task)


@final
@attrs.frozen(eq=False)
class Stop:
    """The wait for the end of a node: every worker below it must end first.

    Args:
        working: returns the workers that must end.
    """

    working: "Callable[[], Sequence[Worker]]"
    deadline: float = inf  # `Worker.ends_by` has it

    @property
    def blockers(self) -> Sequence[Worker]:
        """The workers, all of which must end."""
        return self.working()


@contextmanager
def waiting(working: "Callable[[], Sequence[Worker]]", limit_s: float = inf) -> Generator[None]:
    """Note that the current worker waits for a stop or a start, as long as the block runs.

    A task that a handler has started, and that the handler waits for, counts as its worker.

    Args:
        working: returns the workers, all of which must continue first.
        limit_s: seconds after which the wait ends by itself.

    Raises:
        Deadlock: the wait can never end, since one of the workers waits for this one.
    """
    owner = current_worker.get()
    if owner is None:
        yield
        return
    task = trio.lowlevel.current_task()
    worker = owner
    if owner.task is not task:
        worker = Worker(owner.path, task, slot=owner.slot, task_limit=owner.task_limit)
        owner.helpers = {**(owner.helpers or {}), task: worker}
    worker.waits_for = Stop(working)
    scopes = trio.current_effective_deadline()
    worker.ends_by = min(scopes, trio.current_time() + limit_s)
    worker.is_limited = scopes < worker.task_limit
    try:
        check_deadlock(worker)
        yield
    finally:
        worker.waits_for = None
        worker.ends_by = inf
        worker.is_limited = False
        if owner.helpers is not None:
            owner.helpers.pop(task, None)


def check_deadlock(worker: Worker) -> None:
    """Raise an error if the reply, room, item or stop that a worker waits for can never come.

    Args:
        worker: a worker whose `waits_for` is set.

    Raises:
        Deadlock: the workers that it waits for wait, directly or indirectly, for it.
    """
    cycle = find_cycle(worker)
    if cycle is not None:
        raise Deadlock(cycle)


def find_cycle(worker: Worker, *, limits_count: bool = True) -> tuple[str, ...] | None:
    """Return the paths of actors that wait in a cycle; None if the worker can continue.

    A wait that ends by a limit which its own handler has set is no part of a deadlock, since that
    handler continues then. Nor is one that another deadline ends, unless that deadline also ends
    the handler or hook of `worker`: it would never get what it waits for.

    Args:
        worker: the worker that begins to wait.
        limits_count: whether a wait that ends by a deadline counts as one that ends.
    """
    waits_for = worker.waits_for
    if waits_for is None:
        return None
    blockers = waits_for.blockers
    if not blockers:
        return None
    first = blockers[0]
    if first.waits_for is None and not first.helpers and not isinstance(waits_for, Stop):
        return None  # the most frequent case
    horizon = worker.cut_at if limits_count else -inf

    def needs_of(one: Worker) -> Needs[Worker]:
        return _needs(one, worker, horizon)

    cycle = stuck_cycle(worker, needs_of)
    return None if cycle is None else tuple(one.path for one in (*cycle, cycle[0]))


def _needs(worker: Worker, searcher: Worker, horizon: float) -> Needs[Worker]:
    """Return what a worker waits for; nothing if it can continue, or will before `horizon`.

    A worker that waited for room or for an item, and got it, has `waits_for` set until it runs.
    Trio clears the task's sleep data at once, which shows that it no longer waits.
    """
    waits_for = worker.waits_for
    if waits_for is None:
        return (_awaited_helpers(worker), False) if worker.helpers else ((), False)
    is_limited = worker.is_limited and horizon > -inf
    if is_limited or worker.ends_by < horizon or waits_for.deadline < horizon:
        return (), False
    if worker is not searcher:
        if worker.cut_at < horizon:
            return (), False
        task = worker.task
        if (
            not isinstance(waits_for, ReplySlot | Stop)
            and task is not None
            and task.custom_sleep_data is None
        ):
            return (), False
    return waits_for.blockers, isinstance(waits_for, Stop)


def _awaited_helpers(worker: Worker) -> Sequence[Worker]:
    """Return the tasks that a handler waits for at the end of its nursery; empty if one works."""
    task = worker.task
    if task is None or not task.child_nurseries or not _waits_for_nursery(task):
        return ()
    known = worker.helpers or {}
    helpers = [known.get(child) for child in task.child_nurseries[-1].child_tasks]
    return () if None in helpers else [one for one in helpers if one is not None]


def _waits_for_nursery(task: trio.lowlevel.Task) -> bool:
    return any(
        frame.f_code.co_name == "_nested_child_finished" for frame, _ in task.iter_await_frames()
    )
