"""Start, stop and restart the children of one supervisor (R7).

Pure parts decide: the life of each child, what an event means for it; the strategy, which children
are restarted together; the restart window, whether they are restarted; the back-off, when. This
module carries the decisions out in tasks. A stop keeps to its time limit, spends no restart, and
every lost message is reported (R16).
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial
from math import inf
from typing import Literal, final

import trio

from .._core import (
    Node,
    StopOrder,
    Strategy,
    SupervisorSpec,
    TreeContext,
    get_logger,
    is_cancellation,
    open_collapsing_nursery,
)
from ..errors import ChildNotFound, ChildStopped, RestartIntensityExceeded, StartTimedOut
from .child import Child
from .crashes import Decision, escalation_error, report_crash
from .lifecycle import Life, NextStep, Phase
from .restarts import Backoff, RestartWindow, restart_group

_log = get_logger("callsheet.runtime")
_GRACE_S = 5.0
"""Seconds until `stop_ignored` is logged for a cancelled child; the limit of a halt, and of a start
during a drain, that have no limit of their own."""


@final
class Children:
    """All children of one supervisor.

    Args:
        path: path of the supervisor.
        shared: what all nodes of the tree share.
        spec: the supervisor's settings.
    """

    def __init__(self, path: str, shared: TreeContext, spec: SupervisorSpec) -> None:
        self.by_name: dict[str, Child] = {}  # in start order
        self.strategy: Strategy = spec.strategy
        self.stop_order: StopOrder = spec.stop_order
        self.stop_by = inf  # when the supervisor's own stop must be over
        self._path = path
        self._shared = shared
        self._policy = spec.restarts
        self._window = RestartWindow(spec.restarts)
        self._exits: deque[tuple[Child, Exception | None]] = deque()
        self._exit_event = trio.Event()  # set at an exit
        self._nursery: trio.Nursery | None = None
        self._end: Literal["drain", "halt"] | None = None
        self._over = trio.Event()  # set when `run` must end
        self._drain = trio.CancelScope()
        self._failure: RestartIntensityExceeded | None = None
        self._start_task = self._wake  # bound once for all children

    @property
    def are_drained(self) -> bool:
        """Whether no child accepts messages, and no message waits at one."""
        return all(child.node.is_drained for child in self.by_name.values())

    def restarts_left(self, now: float) -> int:
        """Return how many more crashes at `now` lead to a restart."""
        return self._window.left(now)

    # ---------------------------------------------------------------- the supervisor's run

    async def run(self, started: Callable[[], None]) -> None:
        """Start the children, restart them after crashes until `end`, and stop them in reverse.

        Args:
            started: called when all children have started.

        Raises:
            RestartIntensityExceeded: the children crashed too often.
            Exception: a child could not start.
        """
        self._reset()
        try:
            async with open_collapsing_nursery() as nursery:
                self._nursery = nursery
                try:
                    await self._start_all()
                    started()
                    nursery.start_soon(self._watch)
                    await self._over.wait()
                    with trio.CancelScope() as self._drain:
                        await self.stop_all(drain=not self._skips_drain)
                    if self._drain.cancel_called:
                        await self.stop_all(drain=False)
                    nursery.cancel_scope.cancel()
                finally:
                    for child in self.by_name.values():
                        self._stop_idle(child)
                    # A closing nursery refuses new tasks with an error of its own.
                    self._nursery = None
        except BaseException as error:
            # The failure is raised even if the supervisor is cancelled while it stops.
            if self._failure is None or not is_cancellation(error):
                raise
        finally:
            self._settle_all()
            self._end = None
            self._over = trio.Event()
        if self._failure is not None:
            raise self._failure

    def _reset(self) -> None:
        self._window = RestartWindow(self._policy)
        self._failure = None

    def open(self) -> None:
        """Open all children for another run, except the temporary ones."""
        self._end = None
        self._over = trio.Event()
        for child in self.by_name.values():
            if child.node.restart != "temporary" and not child.is_leaving:
                child.life.open()
                child.node.open()

    def cancel_all(self) -> None:
        """Cancel all children at once."""
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()

    def end(self, how: Literal["drain", "halt"]) -> None:
        """End `run` by draining or halting all children."""
        self._end = how
        self._over.set()

    @property
    def _skips_drain(self) -> bool:
        return self._end == "halt" or self._failure is not None

    def _settle_all(self) -> None:
        """Set the final state of every child: no task runs any more."""
        self._report_exits(
            self.by_name.values(), "leave" if self._failure is None else "fail upward"
        )
        self._exits.clear()
        self._end = self._end or "halt"  # what stops from here on is not removed
        for child in list(self.by_name.values()):
            child.scope = None
            self._carry_out(child, child.life.cut())
            if child.node.restart == "temporary":
                child.node.close()

    # ---------------------------------------------------------------- one child

    def add(self, node: Node) -> Child:
        """Add a node as the last child, without starting it."""
        child = self.by_name[node.name] = Child(node, self._start_task, Life(node.restart))
        return child

    def remove(self, child: Child) -> None:
        """Close a child that does not run, and remove it."""
        child.life.give_up()
        child.node.close()
        child.show()
        if self.by_name.get(child.node.name) is child:
            del self.by_name[child.node.name]

    async def start(self, child: Child, *, is_restart: bool = False) -> None:
        """Start an incarnation of a child; return when it has started.

        Args:
            child: a child that does not run.
            is_restart: the supervisor makes the attempt, not a caller of `spawn`.

        Raises:
            ChildStopped: the child was stopped before it had started.
            StartTimedOut: it did not start within its `start_s`.
            Exception: it could not start.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        nursery = self._nursery
        if nursery is None:
            raise ChildNotFound(f"{self._path} does not run, so its children cannot be started")
        # Set before the task first runs: a stop or a group restart in between must find it.
        life = child.life
        life.start(is_restart=is_restart)
        scope = child.scope = trio.CancelScope(deadline=self._start_limit(child))
        if life.phase is Phase.STARTING and child.node.stop_by != inf:
            child.node.limit_stop(inf)
        child.node.lost = ()
        child.context = copy_context()
        try:
            if child.node.start_idle(child):
                self._note_start(child)
            else:
                await nursery.start(self._run_child, child, scope)
        except BaseException:
            if child.scope is scope:  # the task was not started
                child.scope = None
                self._carry_out(child, life.start_failed())
            raise
        await trio.lowlevel.cancel_shielded_checkpoint()

    def _start_limit(self, child: Child) -> float:
        """Return when the current start of a child fails, in seconds on Trio's clock."""
        start_s = child.node.start_s
        if child.life.phase is not Phase.DRAINING:
            return inf if start_s is None else trio.current_time() + start_s
        limit = trio.current_time() + (_GRACE_S if start_s is None else start_s)
        return min(limit, child.life.limit)

    def _note_start(self, child: Child) -> None:
        child.started_at = trio.current_time()
        child.life.started()
        if child.scope is not None:
            child.scope.deadline = child.life.limit

    async def _run_child(
        self,
        child: Child,
        scope: trio.CancelScope,
        *,
        task_status: trio.TaskStatus[None] | None = None,
    ) -> None:
        """Run an incarnation; `task_status` is None if it was started idle."""
        life, node = child.life, child.node
        has_started = task_status is None

        def started() -> None:
            nonlocal has_started
            if scope.cancel_called:  # the hook has ignored it
                raise unstarted()
            has_started = True
            self._note_start(child)
            if task_status is not None:
                task_status.started()

        def unstarted() -> Exception:
            if life.phase is Phase.STARTING and node.start_s is not None:
                return StartTimedOut(node.path, node.start_s)
            return ChildStopped(f"{node.path} was stopped before it had started")

        crash: Exception | None = None
        try:
            with scope:
                await node.run(started)
            if not has_started:
                raise unstarted()  # noqa: TRY301  # noted as a failed start below
        except Exception as error:
            if not has_started:
                if life.phase is Phase.DRAINING:
                    node.failure = error
                raise
            crash = error
        finally:
            child.scope = None
            if not has_started:
                self._carry_out(child, life.start_failed())
        self._note_end(child, crash)

    def _stop_idle(self, child: Child) -> bool:
        """End an incarnation that has no task; return whether there was one."""
        if not child.node.stop_idle():
            return False
        child.scope = None
        return True

    def _wake(self, child: Child) -> None:
        # With the context variables of the start, not with those of the first sender.
        if self._nursery is not None and child.scope is not None and child.context is not None:
            run = partial(self._run_child, child, child.scope)
            child.context.run(self._nursery.start_soon, run)

    def _note_end(self, child: Child, crash: Exception | None) -> None:
        node = child.node
        step = child.life.ended(trio.current_time(), node.work_left, crashed=crash is not None)
        if step is NextStep.DECIDE:
            self._exits.append((child, crash))
            self._exit_event.set()
        elif crash is not None:
            self._report_crash(child, crash, "leave" if step is NextStep.CLOSE else "restart")
            if step is NextStep.CLOSE:
                node.failure = crash
        self._carry_out(child, step)

    def _carry_out(self, child: Child, step: NextStep) -> None:
        """Do what the child's life demands after an event."""
        node, life, now = child.node, child.life, trio.current_time()
        child.show()
        if step in (NextStep.DRAIN, NextStep.RESUME):
            node.drain()
        elif step is NextStep.HALT:
            node.halt()
        elif step is NextStep.CLOSE:
            node.close()
            if self._end is None and (child.is_leaving or node.restart == "temporary"):
                self.remove(child)
        if step is NextStep.RESUME and self._nursery is not None:
            self._nursery.start_soon(self._resume, child)
        scope = child.scope
        if scope is not None and life.phase in (Phase.DRAINING, Phase.STOPPING):
            scope.deadline = life.limit if life.has_started else self._start_limit(child)
            if step is NextStep.CANCEL or life.limit <= now:
                scope.cancel()

    async def _resume(self, child: Child) -> None:
        """Start the next incarnation of a child that drains (R16)."""
        await trio.sleep_until(child.life.resume_at)
        if child.life.phase is not Phase.DRAINING or child.life.is_alive:
            return
        try:
            await self.start(child)
        except (ChildNotFound, ChildStopped):
            pass
        except Exception as error:  # noqa: BLE001  # any exception is a failed start
            self._report_crash(child, error, "leave")

    def request_stop(self, child: Child, *, drain: bool) -> float:
        """Ask a child to stop; return when it must have, in seconds on Trio's clock.

        Without a drain, an unlimited `stop_s` counts as 5 seconds: the siblings are to be
        restarted, and the child may wait for one of them. At the limit the incarnation is
        cancelled, whether or not the caller still waits.

        Args:
            child: any child, running or not.
            drain: handle all queued messages first, and stay stopped; otherwise only finish the
                messages in progress.
        """
        now, node, life = trio.current_time(), child.node, child.life
        limit = now + (node.stop_s if drain or node.stop_s < inf else _GRACE_S)
        limit = min(limit, self.stop_by)
        step = life.drain(now, limit, node.work_left) if drain else life.halt(limit)
        if node.stop_s < inf or self.stop_by < inf:
            node.limit_stop(life.limit)
        self._carry_out(child, step)
        if child.scope is not None and life.is_alive and self._stop_idle(child):
            self._note_end(child, None)
        return now if step is NextStep.CANCEL else life.limit

    async def stop(self, child: Child, *, drain: bool) -> None:
        """Stop a child; return when its incarnation has ended, however long that takes.

        A child that ignores its cancellation is logged as `stop_ignored` and waited for, since
        nothing outlives the block (R1).

        Args:
            child: any child, running or not.
            drain: as for `request_stop`.
        """
        await self._wait_stopped(child, self.request_stop(child, drain=drain))

    async def _wait_stopped(self, child: Child, limit: float) -> None:
        if child.life.is_at_rest:
            # A checkpoint, since a loop may stop many idle children.
            await trio.lowlevel.cancel_shielded_checkpoint()
            return
        rests = child.rests
        with trio.move_on_at(limit + _GRACE_S):
            await rests.wait()
        if not rests.is_set():
            _log.error("stop_ignored", actor=child.node.path, waited_s=_GRACE_S)
            await rests.wait()

    async def stop_all(self, *, drain: bool) -> None:
        """Stop all children, in the order of `stop_order`.

        In reverse, the last started first, a child can use those started before it.
        """
        stopped: set[Child] = set()
        while left := [one for one in reversed(self.by_name.values()) if one not in stopped]:
            stopped.update(left)  # the next round has those that were started meanwhile
            if self.stop_order == "together":
                limits = [self.request_stop(child, drain=drain) for child in left]
                for child, limit in zip(left, limits, strict=True):
                    await self._wait_stopped(child, limit)
                continue
            for child in left:
                if self.by_name.get(child.node.name) is child:
                    await self.stop(child, drain=drain)

    async def _start_all(self) -> None:
        for child in list(self.by_name.values()):
            if child.node.restart == "temporary" or child.is_leaving:
                self.remove(child)
        try:
            children = [one for one in self.by_name.values() if _backs_off(one)]
            for number, child in enumerate(children):
                if _backs_off(child):
                    with _start_before(child, children[number + 1 :]):
                        await self.start(child, is_restart=True)
        except BaseException:
            await self.stop_all(drain=False)
            raise

    # ---------------------------------------------------------------- crashes

    async def _watch(self) -> None:
        """Handle exits, in a drain too, until the intensity is exceeded."""
        while not self._skips_drain:
            if not self._exits:
                self._exit_event = trio.Event()
                await self._exit_event.wait()
                continue
            child, crash = self._exits.popleft()
            if self.by_name.get(child.node.name) is child and _backs_off(child):
                await self._handle_exit(child, crash)
            elif crash is not None:  # it was stopped or started before its exit was handled
                goes_on = child.life.phase is Phase.DRAINING
                self._report_crash(child, crash, "restart" if goes_on else "leave")

    async def _handle_exit(self, child: Child, crash: Exception | None) -> None:
        pause = self._pause(child, crash)
        if pause is None:
            return
        names = restart_group(self.strategy, self.by_name, child.node.name)
        group = [self.by_name[name] for name in names]
        group = [one for one in group if not one.life.stays_stopped]
        # Groups may overlap, so they are restarted one after another: two restarts must not start
        # the same child.
        if self.strategy == "one_for_one" and self._nursery is not None:
            self._nursery.start_soon(self._restart, group, pause)
        else:
            self._report_exits(group, "restart")  # children that crashed at the same time
            await self._restart(group, pause)

    async def _restart(self, group: Sequence[Child], pause: float | None) -> None:
        """Stop a group in reverse and start it in order, until it runs or the supervisor fails."""
        while pause is not None:
            for child in reversed(group):
                if child.life.phase in (Phase.STARTING, Phase.RUNNING):
                    await self.stop(child, drain=False)
            until = trio.current_time() + pause
            for child in group:
                if _backs_off(child):
                    child.life.back_off(until)
            await trio.sleep_until(until)
            pause = await self._start_in_order(group)

    async def _start_in_order(self, group: Sequence[Child]) -> float | None:
        """Start a group; return the pause in seconds before the next attempt, or None if done."""
        for number, child in enumerate(group):
            is_ours = self.by_name.get(child.node.name) is child
            if not (is_ours and _backs_off(child)):
                continue  # it was temporary, or was stopped meanwhile
            if child.life.resume_at > trio.current_time():
                continue  # it was stopped, started and has crashed meanwhile
            self._report_exits([child], "restart")  # it crashed while its siblings were stopped
            try:
                with _start_before(child, group[number + 1 :]):
                    await self.start(child, is_restart=True)
            except Exception as error:  # noqa: BLE001  # any exception is a failed start
                if _backs_off(child):  # else it was stopped, which is no failure
                    child.started_at = trio.current_time()
                    return self._pause(child, error)
        return None

    def _pause(self, child: Child, crash: Exception | None) -> float | None:
        """Return the seconds until the restart, or None if it would exceed the intensity.

        A permanent child that ends by itself is counted too, as in Erlang/OTP: otherwise it could
        end and be restarted for ever.
        """
        now = trio.current_time()
        if child.backoff is None:
            seed = f"{self._shared.seed}/{child.node.path}/backoff"
            child.backoff = Backoff(self._policy, seed)
        pause = child.backoff.after(now - child.started_at)
        is_allowed = self._window.allows(now)
        if not is_allowed and self._end is not None:
            self._leave(child, crash)
            return None
        if crash is not None:
            decision: Decision = "restart" if is_allowed else "fail upward"
            self._report_crash(child, crash, decision, pause if is_allowed else None)
        if is_allowed:
            return pause
        also = [(other.node.path, error) for other, error in self._exits if error is not None]
        self._failure = escalation_error(self._path, self._policy, child.node.path, crash, also)
        self._report_exits(self.by_name.values(), "fail upward")
        self._over.set()
        self._drain.cancel()
        self._exit_event.set()
        return None

    def _leave(self, child: Child, crash: Exception | None) -> None:
        """Stop a child that crashes too often while the supervisor drains; it never escalates."""
        now, node = trio.current_time(), child.node
        step = child.life.drain(now, min(now + node.stop_s, self.stop_by), node.work_left)
        if crash is not None:
            goes_on = step is NextStep.RESUME
            self._report_crash(child, crash, "restart" if goes_on else "leave")
            node.failure = None if goes_on else crash
        self._carry_out(child, step)

    def _report_exits(self, children: Iterable[Child], decision: Decision) -> None:
        """Report those crashes of some children that `_watch` will not handle any more."""
        if not self._exits:
            return
        reported = set(children)
        left = [exit_ for exit_ in self._exits if exit_[0] not in reported]
        for child, crash in self._exits:
            if child in reported and crash is not None:
                self._report_crash(child, crash, decision)
        self._exits = deque(left)

    def _report_crash(
        self, child: Child, crash: Exception, decision: Decision, pause: float | None = None
    ) -> None:
        report_crash(child, crash, decision, pause, self._shared.instruments)


def _backs_off(child: Child) -> bool:
    """Whether a child waits for its restart."""
    return child.life.phase is Phase.BACKING_OFF


@contextmanager
def _start_before(child: Child, others: Sequence[Child]) -> Generator[None]:
    """Note, while a child starts, that the others of its group wait for it (see `find_cycle`)."""
    for other in others:
        other.node.start_after(child.node)
    try:
        yield
    finally:
        for other in others:
            other.node.start_after(None)
