"""Pools: several actors of one kind that take messages from one mailbox."""

from collections.abc import Callable, Iterable, Sequence
from contextvars import Context, copy_context
from functools import partial
from math import inf

import attrs
import trio

from .._core import (
    ActorEvent,
    ActorSnapshot,
    LostMessage,
    Member,
    Node,
    PoolInbox,
    PoolRef,
    Restart,
    RestartPolicy,
    Spec,
    State,
    Stopper,
    TreeContext,
    Waker,
    check_size,
    is_cancellation,
    open_collapsing_nursery,
)
from ..errors import RestartIntensityExceeded, StartTimedOut
from .crashes import Decision, escalation_error, report_crash
from .restarts import Backoff, RestartWindow, is_restarted

_HALT_S = 5.0  # limit of an unlimited stop that is part of a restart


@attrs.define(eq=False)
class _Place:
    """A member with what its pool knows about it.

    Attributes:
        node: the place of the member.
        backoff: computes the pauses before restarts.
        context: the context variables with which its tasks run.
        started_at: when its incarnation started, in seconds on Trio's clock.
        has_started: whether its latest incarnation has started.
        is_retired: it ends after its messages in progress, and is not restarted.
        has_task: whether its task runs.
        tries_left: `PoolInbox.tries_left` at its last crash in a drain, which must get less.
        scope: the cancel scope of its task.
        hurry: set when a pause must end at once.
    """

    node: Member
    backoff: Backoff
    context: Context
    _pool: "Pool"
    started_at: float = 0.0
    has_started: bool = False
    is_retired: bool = False
    has_task: bool = False
    tries_left: float = inf
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    hurry: trio.Event = attrs.field(factory=trio.Event)

    def wake(self) -> None:
        """See `Waker`."""
        self._pool.start_task(self)


class Pool(PoolInbox):
    """A pool's place in the tree; a `Node` for its supervisor.

    It restarts each member by itself: a crash costs the messages in progress of that member, and
    no others. Beyond its restart intensity the pool fails upward, like a supervisor (R7).

    Args:
        spec: the settings of the pool and of each member.
        size: number of members.
        restarts: how often members are restarted.
        parent: path of the supervisor.
        shared: what all nodes of the tree share.
        stopper: stops the pool when `Runtime.stop` is called.
    """

    def __init__(  # noqa: PLR0917  # called in one place
        self,
        spec: Spec,
        size: int,
        restarts: RestartPolicy,
        parent: str,
        shared: TreeContext,
        stopper: Stopper,
    ) -> None:
        check_size(size)
        super().__init__(spec, parent, shared, stopper)
        self.size = size
        self.restart: Restart = spec.restart
        self.stop_s = spec.stop_s
        self.stop_by = inf
        self.lost: tuple[LostMessage, ...] = ()
        self.pool_ref = PoolRef(self)
        self.ref = self.pool_ref
        self._policy = restarts
        self._window = RestartWindow(restarts)
        self._places: list[_Place] = []
        self._leaving: list[_Place] = []  # retired, but with a message in progress
        self._nursery: trio.Nursery | None = None
        self._running = 0  # tasks of members
        self._over = trio.Event()
        self._is_starting = False
        self._is_halting = False
        self._last_crash: Exception | None = None  # of a member that is not restarted
        self._escalation: RestartIntensityExceeded | None = None

    @property
    def members(self) -> Sequence[Member]:
        """See `PoolInbox`."""
        return [place.node for place in (*self._places, *self._leaving)]

    # ---------------------------------------------------------------- as a `Node`

    def start_idle(self, waker: Waker) -> bool:  # noqa: ARG002  # it needs a task for its members
        """Return False: a pool always needs a task."""
        return False

    def stop_idle(self) -> bool:
        """Return False: a pool is never idle."""
        return False

    async def run(self, started: Callable[[], None]) -> None:
        """Start the members and restart them after crashes until `drain` or `halt`.

        Args:
            started: called when all members have started.

        Raises:
            RestartIntensityExceeded: the members crashed too often.
            Exception: a member could not start, or the last temporary member crashed.
        """
        self.incarnation += 1
        self._window = RestartWindow(self._policy)
        self._escalation = self._last_crash = None
        self._is_halting = False
        self._over = trio.Event()
        try:
            async with open_collapsing_nursery() as nursery:
                self._nursery = nursery
                try:
                    self._is_starting = True
                    await self._start_all(nursery)
                    self._is_starting = False
                    self.states.value = State.RUNNING if self.is_open else State.DRAINING
                    for instrument in self.instruments:
                        instrument.actor_started(ActorEvent(self.path, self.incarnation))
                    started()
                    self._check_over()
                    await self._over.wait()
                    if self._has_failed:
                        await self._end_all()
                finally:
                    self._end_idle()
                    # A closing nursery refuses new tasks with an error of its own.
                    self._nursery = None
        except BaseException as error:
            # The failure is raised even if the pool is cancelled while it stops.
            if not (self._has_failed and is_cancellation(error)):
                raise
        finally:
            self._end_idle()
            self._leaving.clear()
        self._raise_failure()

    def _end_idle(self) -> None:
        """End the members that have no task; what arrives from here on waits."""
        for place in self._places:
            place.node.stop_idle()
        self.dozing.clear()
        self.is_idle = False

    def _raise_failure(self) -> None:
        if self._escalation is not None:
            raise self._escalation
        if self._last_crash is not None and not self._is_halting and self.is_open:
            raise self._last_crash

    @property
    def _has_failed(self) -> bool:
        """Whether the restart intensity was exceeded."""
        return self._escalation is not None

    def drain(self) -> None:
        """See `Node`."""
        if self.is_open:
            self.close_intake()
            if self.state is State.RUNNING:
                self.states.value = State.DRAINING
        for place in (*self._places, *self._leaving):
            place.hurry.set()  # its next incarnation helps to handle what waits
        self._check_over()

    def halt(self) -> None:
        """See `Node`."""
        self._is_halting = True
        for place in (*self._places, *self._leaving):
            place.node.halt()
            place.hurry.set()
        self._check_over()

    @property
    def start_s(self) -> float | None:
        """None: `Spec.start_s` limits the start of each member, not that of the pool."""
        return None

    def limit_stop(self, when: float) -> None:
        """See `Node`."""
        self.stop_by = when
        for member in self.members:
            member.limit_stop(when)

    def find_child(self, name: str) -> Node | None:  # noqa: ARG002  # a member has no ref of its own
        """See `Node`."""
        return None

    @property
    def child_names(self) -> Iterable[str]:
        """See `Node`."""
        return ()

    def snapshot(self, now: float) -> ActorSnapshot:
        """See `Node`."""
        return self.snapshot_with(now, self.size, self.stop_s)

    # ---------------------------------------------------------------- members

    def resize(self, size: int) -> None:
        """See `PoolRef.resize`."""
        self.size = size
        if self._nursery is None or self._is_halting:
            return  # the next run starts as many
        while len(self._places) > size:
            self._retire(self._places.pop())
        while len(self._places) < size:
            place = self._add()
            self.start_task(place)

    def start_task(self, place: _Place) -> None:
        """Run a member's incarnations in a task."""
        if self._nursery is not None:
            self._begin(place)
            place.context.run(self._nursery.start_soon, partial(self._keep, place))

    def _begin(self, place: _Place) -> None:
        place.has_task = True
        place.scope = trio.CancelScope()
        self._running += 1

    def _add(self) -> _Place:
        taken = {member.number for member in self.members}
        number = next(one for one in range(1, len(taken) + 2) if one not in taken)
        member = Member(self, number, self._shared)
        backoff = Backoff(self._policy, f"{self._shared.seed}/{member.path}/backoff")
        place = _Place(member, backoff, copy_context(), self)
        self._places.append(place)
        return place

    async def _start_all(self, nursery: trio.Nursery) -> None:
        del self._places[self.size :]
        for place in self._places:  # of the run before
            place.context = copy_context()
            place.hurry = trio.Event()
        index = 0
        while index < self.size and not self._is_halting:  # it may be resized meanwhile
            place = self._places[index] if index < len(self._places) else self._add()
            index += 1
            if place.has_task:  # started by `resize`
                continue
            if place.node.start_idle(place):
                place.started_at = trio.current_time()
                self.doze(place.node)
            else:
                self._begin(place)
                await nursery.start(self._keep, place)

    def _retire(self, place: _Place) -> None:
        place.is_retired = True
        if place.has_task:
            self._leaving.append(place)
            place.node.halt()
            place.hurry.set()
            place.scope.deadline = trio.current_time() + self.stop_s
        else:
            place.node.stop_idle()

    async def _keep(
        self, place: _Place, *, task_status: trio.TaskStatus[None] | None = None
    ) -> None:
        """Run incarnations of a member until it is not restarted.

        Args:
            place: the member and what the pool knows about it.
            task_status: reports the first start; an earlier failure raises. None: it is a crash.
        """
        first = task_status
        with place.scope:
            try:
                while True:
                    crash = await self._run_once(place, first)
                    first = None
                    self.pass_on()  # it may have been woken for a message
                    pause = self._pause(place, crash)
                    if pause is None:
                        break
                    with trio.move_on_after(pause):
                        await place.hurry.wait()
                    if self._has_ended(place):
                        break
            finally:
                self._end(place)
        if first is not None and not place.has_started:  # `resize` has removed it
            first.started()

    async def _run_once(
        self, place: _Place, task_status: trio.TaskStatus[None] | None
    ) -> Exception | None:
        """Run one incarnation; return what it crashed with, if it did."""
        member = place.node
        member.lost = ()
        place.has_started = member.current is not None  # it was idle before
        place.started_at = trio.current_time()

        def started() -> None:
            place.has_started = True
            place.started_at = trio.current_time()
            limit.deadline = inf
            if task_status is not None:
                task_status.started()
            if place.is_retired or self._is_halting:
                member.halt()

        start_s = self.spec.start_s
        limit = trio.CancelScope()
        if start_s is not None and not place.has_started:
            limit.deadline = trio.current_time() + start_s
        try:
            with limit:
                await member.run(started)
            if limit.cancelled_caught:
                raise StartTimedOut(member.path, 0.0 if start_s is None else start_s)  # noqa: TRY301
        except Exception as error:
            if task_status is not None and not place.has_started:
                raise
            return error
        return None

    def _has_ended(self, place: _Place) -> bool:
        """Whether a member must not be started again."""
        return place.is_retired or self._is_halting or self._has_failed or self.is_drained

    def _pause(self, place: _Place, crash: Exception | None) -> float | None:
        """Decide about a member that has ended: return the seconds until its restart, or None."""
        now = trio.current_time()
        if self._has_ended(place):
            self._report(place, crash, "leave")
            return None
        if not self.is_open:
            # A drain ends in its time and never escalates (R16). What still waits is handled by
            # the next incarnation, unless it cannot start.
            tries_left = self.tries_left
            goes_on = place.has_started and tries_left < place.tries_left
            place.tries_left = tries_left
            self._report(place, crash, "restart" if goes_on else "leave", 0.0)
            self.member_restarts += goes_on
            return 0.0 if goes_on else None
        if not is_restarted(self.restart, crashed=crash is not None):
            self._report(place, crash, "leave")
            self._last_crash = crash
            self._places.remove(place)  # `resize` may start another one in its place
            return None
        pause = place.backoff.after(now - place.started_at)
        if self._window.allows(now):
            place.node.states.value = State.RESTARTING
            self._report(place, crash, "restart", pause)
            self.member_restarts += 1
            return pause
        self._report(place, crash, "fail upward")
        self._escalation = escalation_error(self.path, self._policy, place.node.path, crash, ())
        self._over.set()
        return None

    def _report(
        self,
        place: _Place,
        crash: Exception | None,
        decision: Decision,
        restart_in_s: float | None = None,
    ) -> None:
        if crash is not None:
            pause = restart_in_s if decision == "restart" else None
            report_crash(place, crash, decision, pause, self._shared)

    def _end(self, place: _Place) -> None:
        """Note that a member's task has ended."""
        place.has_task = False
        self._running -= 1
        if place.is_retired and place in self._leaving:
            self._leaving.remove(place)
        self._check_over()

    def _check_over(self) -> None:
        """End the run when no member runs any more."""
        if self._nursery is None or self._is_starting or self._running:
            return
        if self._is_halting or not self.dozing or self.is_drained:
            self._over.set()
        elif not self.is_open:
            self.pass_on()

    async def _end_all(self) -> None:
        """Let the messages in progress end, within the time of a stop."""
        self.halt()
        limit = min(self.stop_s, _HALT_S)
        if limit > 0 and self._running:
            self._over = trio.Event()
            with trio.move_on_after(limit):
                await self._over.wait()
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()
