"""Start and stop each child of one supervisor (R7).

The life of each child decides what an event means for it; this module carries the decisions out in
tasks. A stop keeps to its time limit, and every lost message is reported (R16).
"""

from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from math import inf
from typing import final

import trio

from .._core import Node, StopOrder, TreeContext, get_logger
from ..errors import ChildNotFound, ChildStopped, StartTimedOut
from .child import Child
from .crashes import Decision, report_crash
from .lifecycle import Life, NextStep, Phase

_log = get_logger("callsheet.runtime")
_GRACE_S = 5.0
"""Seconds until `stop_ignored` is logged for a cancelled child; the limit of a halt, and of a start
during a drain, that have no limit of their own."""

_LOOK_S = 0.01  # before the limit of a stop: the cancellation ends the waits that are a deadlock


@final
class Children:
    """All children of one supervisor.

    Args:
        path: path of the supervisor.
        shared: what all nodes of the tree share.
        stop_order: whether they are stopped one after another, or side by side.
        decide: called when a child has ended that its life does not let rest, with its exception.

    Attributes:
        by_name: the children, in start order.
        stop_order: whether they are stopped one after another, or side by side.
        stop_by: when the supervisor's own stop must be over, in seconds on Trio's clock.
        nursery: the nursery of the children's tasks; None while the supervisor does not run.
        is_ending: whether the supervisor ends: a child that stops is then not removed.
    """

    def __init__(
        self,
        path: str,
        shared: TreeContext,
        stop_order: StopOrder,
        decide: Callable[[Child, Exception | None], None],
    ) -> None:
        self.by_name: dict[str, Child] = {}
        self.stop_by = inf
        self.nursery: trio.Nursery | None = None
        self.is_ending = False
        self._path = path
        self._shared = shared
        self.stop_order: StopOrder = stop_order
        self._decide = decide
        self._start_task = self._wake  # bound once for all children

    @property
    def are_drained(self) -> bool:
        """Whether no child accepts messages, and no message waits at one."""
        return all(child.node.is_drained for child in self.by_name.values())

    def cancel_all(self) -> None:
        """Cancel all children at once."""
        if self.nursery is not None:
            self.nursery.cancel_scope.cancel()

    def settle(self) -> None:
        """Set the final state of every child: no task runs any more."""
        self.is_ending = True
        for child in list(self.by_name.values()):
            child.scope = None
            self.carry_out(child, child.life.cut())
            if child.node.restart == "temporary":
                child.node.close()

    def stop_idle(self) -> None:
        """End the incarnations that have no task."""
        for child in self.by_name.values():
            self._stop_idle(child)

    # ---------------------------------------------------------------- start

    def add(self, node: Node) -> Child:
        """Add a node as the last child, without starting it."""
        child = self.by_name[node.name] = Child(node, self._start_task, Life(node.restart))
        if self._shared.joined is not None:
            self._shared.joined(node)
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
        nursery = self.nursery
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
                await nursery.start(self._run_child, child, scope, nursery)
        except BaseException:
            if child.scope is scope:  # the task was not started
                child.scope = None
                self.carry_out(child, life.start_failed())
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
        nursery: trio.Nursery,
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
        except BaseException:
            if trio.lowlevel.current_task().parent_nursery is not nursery:
                has_started = False  # Trio takes no task over from a caller that is cancelled
            raise
        finally:
            child.scope = None
            if not has_started:
                self.carry_out(child, life.start_failed())
        self._note_end(child, crash)

    def _wake(self, child: Child) -> None:
        # With the context variables of the start, not with those of the first sender.
        if self.nursery is not None and child.scope is not None and child.context is not None:
            run = partial(self._run_child, child, child.scope, self.nursery)
            child.context.run(self.nursery.start_soon, run)

    # ---------------------------------------------------------------- end

    def _note_end(self, child: Child, crash: Exception | None) -> None:
        node = child.node
        step = child.life.ended(trio.current_time(), node.work_left, crashed=crash is not None)
        if step is NextStep.DECIDE:
            self._decide(child, crash)
        elif crash is not None:
            self.report(child, crash, "leave" if step is NextStep.CLOSE else "restart")
            if step is NextStep.CLOSE:
                node.failure = crash
        self.carry_out(child, step)

    def carry_out(self, child: Child, step: NextStep) -> None:
        """Do what the child's life demands after an event."""
        node, life, now = child.node, child.life, trio.current_time()
        child.show()
        if step in (NextStep.DRAIN, NextStep.RESUME):
            node.drain()
        elif step is NextStep.HALT:
            node.halt()
        elif step is NextStep.CLOSE:
            node.close()
            if not self.is_ending and (child.is_leaving or node.restart == "temporary"):
                self.remove(child)
        if step is NextStep.RESUME and self.nursery is not None:
            self.nursery.start_soon(self._resume, child)
        scope = child.scope
        if scope is not None and life.phase in (Phase.DRAINING, Phase.STOPPING):
            if life.has_started:
                scope.deadline = life.limit
            elif life.phase is Phase.DRAINING:
                scope.deadline = self._start_limit(child)
            else:
                scope.deadline = min(scope.deadline, life.limit)
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
            self.report(child, error, "leave")

    def report(
        self, child: Child, crash: Exception, decision: Decision, pause: float | None = None
    ) -> None:
        """Report the crash of a child; see `report_crash`."""
        report_crash(child, crash, decision, pause, self._shared)

    # ---------------------------------------------------------------- stop

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
        # A supervisor that does not run starts no incarnation that could handle what waits.
        work_left = 0 if self.nursery is None else node.work_left
        step = life.drain(now, limit, work_left) if drain else life.halt(limit)
        if node.stop_s < inf or self.stop_by < inf:
            node.limit_stop(life.limit)
        self.carry_out(child, step)
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
        if trio.current_time() < limit < inf:
            with trio.move_on_at(limit - _LOOK_S):
                await rests.wait()
            if not rests.is_set():
                _log_deadlock(child)
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

    def _stop_idle(self, child: Child) -> bool:
        """End an incarnation that has no task; return whether there was one."""
        if not child.node.stop_idle():
            return False
        child.scope = None
        return True


def _log_deadlock(child: Child) -> None:
    """Log the cycle in which a stop waits that only its limit will end, if there is one."""
    for worker in child.node.working:
        cycle = worker.cycle()
        if cycle is not None:
            _log.warning("stop_deadlocked", actor=child.node.path, cycle=" -> ".join(cycle))
            return
