"""Start, stop and restart the children of one supervisor (R7).

Three pure parts decide: the strategy, which children are restarted together; the restart window,
whether they are restarted; the back-off, when. This module carries the decisions out in tasks. A
stop keeps to its time limit, spends no restart, and every lost message is reported (R16).
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial
from math import inf
from typing import Literal, final

import structlog
import trio

from .._core import Node, State, Strategy, TreeContext, is_cancellation, open_collapsing_nursery
from ..errors import ChildNotFound, RestartIntensityExceeded
from .child import Child
from .crashes import Decision, escalation_error, report_crash
from .restarts import Backoff, RestartPolicy, RestartWindow, is_restarted, restart_group

_log = structlog.stdlib.get_logger("callsheet.runtime")
_GRACE_S = 5.0  # until `stop_ignored` is logged for a cancelled child; limit of an unlimited halt


@final
class Children:
    """All children of one supervisor.

    Args:
        path: path of the supervisor.
        shared: what all nodes of the tree share.
        strategy: which children are restarted together with one that has crashed.
        policy: how often they are restarted.
    """

    def __init__(
        self, path: str, shared: TreeContext, strategy: Strategy, policy: RestartPolicy
    ) -> None:
        self.by_name: dict[str, Child] = {}  # in start order
        self.strategy: Strategy = strategy
        self._path = path
        self._shared = shared
        self._policy = policy
        self._window = RestartWindow(policy)
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
            if child.node.restart != "temporary":
                child.is_closing = False
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
        for child in self.by_name.values():
            child.settle()
            if child.node.restart == "temporary":
                child.node.close()
            elif not child.stays_stopped:
                child.node.states.value = State.RESTARTING

    # ---------------------------------------------------------------- one child

    def add(self, node: Node) -> Child:
        """Add a node as the last child, without starting it."""
        child = self.by_name[node.name] = Child(node, self._start_task)
        return child

    def remove(self, child: Child) -> None:
        """Close a child and remove it."""
        child.node.close()
        child.settle()  # a stop may wait for its next incarnation, which never comes
        if self.by_name.get(child.node.name) is child:
            del self.by_name[child.node.name]

    async def start(self, child: Child) -> None:
        """Start an incarnation of a child; return when it has started.

        Raises:
            Exception: the child could not start, or was stopped meanwhile.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        nursery = self._nursery
        if nursery is None:
            raise ChildNotFound(f"{self._path} does not run, so its children cannot be started")
        # Set before the task first runs: a stop or a group restart in between must find it.
        scope = child.scope = trio.CancelScope()
        child.is_stopping = False
        child.node.lost = ()
        child.context = copy_context()
        try:
            if child.node.start_idle(child):
                self._note_start(child)
            else:
                await nursery.start(self._run_child, child, scope)
        except BaseException:
            if child.scope is scope:  # the task was not started
                child.mark_ended()
            raise
        await trio.lowlevel.cancel_shielded_checkpoint()

    def _note_start(self, child: Child) -> None:
        child.started_at = trio.current_time()
        if not child.is_stopping:  # else a group restart has stopped it while it started
            child.settle()

    async def _run_child(
        self,
        child: Child,
        scope: trio.CancelScope,
        *,
        task_status: trio.TaskStatus[None] | None = None,
    ) -> None:
        """Run an incarnation; `task_status` is None if it was started idle."""
        has_started = task_status is None

        def started() -> None:
            nonlocal has_started
            has_started = True
            self._note_start(child)
            if task_status is not None:
                task_status.started()

        crash: Exception | None = None
        try:
            with scope:
                await child.node.run(started)
        except Exception as error:
            if not has_started:
                raise
            crash = error
        finally:
            child.mark_ended()
        if not has_started:
            raise ChildNotFound(f"{child.node.path} was stopped before it had started")
        self._note_end(child, crash)

    def _stop_idle(self, child: Child) -> bool:
        """End an incarnation that has no task; return whether there was one."""
        if not child.node.stop_idle():
            return False
        child.mark_ended()
        return True

    def _wake(self, child: Child) -> None:
        # With the context variables of the start, not with those of the first sender.
        if self._nursery is not None and child.scope is not None and child.context is not None:
            run = partial(self._run_child, child, child.scope)
            child.context.run(self._nursery.start_soon, run)

    def _note_end(self, child: Child, crash: Exception | None) -> None:
        if child.is_closing and not child.is_restarting:
            if crash is not None:
                self._report_crash(child, crash, "leave")
            child.node.failure = crash
            child.node.close()
            if child.node.restart == "temporary" and self._end is None:
                self.remove(child)
        elif not child.is_stopping:
            self._exits.append((child, crash))
            self._exit_event.set()
        elif crash is not None:
            decision: Decision = "restart" if child.is_restarting else "leave"
            self._report_crash(child, crash, decision)

    async def stop(self, child: Child, *, drain: bool) -> None:
        """Stop a child; return when its incarnation has ended, however long that takes.

        After `stop_s` seconds the incarnation is cancelled. Without a drain, an unlimited `stop_s`
        counts as 5 seconds: the siblings are to be restarted, and the child may wait for one of
        them. A child that ignores the cancellation is logged as `stop_ignored` and waited for,
        since nothing outlives the block (R1).

        Args:
            child: any child, running or not.
            drain: handle all queued messages first, and stay stopped; otherwise only finish the
                messages in progress.
        """
        stop_s = child.node.stop_s
        limit = trio.current_time() + (stop_s if drain or stop_s < inf else _GRACE_S)
        if drain:
            child.is_closing = True
            if child.is_restarting:
                if child.scope is None or child.is_stopping:
                    child.node.drain()  # the next incarnation handles the queued messages
                    if not child.node.is_drained:
                        with trio.move_on_at(limit):
                            await child.settled.wait()
                # Else its group was to be restarted, but it still runs: this incarnation drains.
                child.settle()
        scope = child.scope
        if scope is None:
            return
        child.is_stopping = True
        if self._stop_idle(child):
            self._note_end(child, None)
            # A checkpoint, since a loop may stop many idle children.
            await trio.lowlevel.cancel_shielded_checkpoint()
            return
        ended = child.ended
        if stop_s > 0:
            if drain:
                child.node.drain()
            else:
                child.node.halt()
            with trio.move_on_at(limit):
                await ended.wait()
        scope.cancel()
        with trio.move_on_after(_GRACE_S):
            await ended.wait()
        if not ended.is_set():
            _log.error("stop_ignored", actor=child.node.path, waited_s=_GRACE_S)
            await ended.wait()

    async def stop_all(self, *, drain: bool) -> None:
        """Stop all children, the last started first: a child can use those started before it."""
        stopped: set[str] = set()
        while left := [name for name in reversed(self.by_name) if name not in stopped]:
            for name in left:  # the next round has those that were started meanwhile
                stopped.add(name)
                child = self.by_name.get(name)
                if child is None:
                    continue
                if not drain:
                    child.settle()
                await self.stop(child, drain=drain)
                if drain and child.has_stopped:  # else it was started again meanwhile
                    child.node.close()

    async def _start_all(self) -> None:
        for child in list(self.by_name.values()):
            if child.node.restart == "temporary":
                self.remove(child)
        try:
            children = [one for one in self.by_name.values() if not one.stays_stopped]
            for number, child in enumerate(children):
                if not child.stays_stopped:
                    with _start_before(child, children[number + 1 :]):
                        await self.start(child)
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
            is_ours = self.by_name.get(child.node.name) is child
            if is_ours and child.scope is None and not (child.is_restarting or child.stays_stopped):
                await self._handle_exit(child, crash)
            elif crash is not None:  # it was stopped or started before its exit was handled
                self._report_crash(child, crash, "leave")

    async def _handle_exit(self, child: Child, crash: Exception | None) -> None:
        node = child.node
        if not is_restarted(node.restart, crashed=crash is not None):
            if crash is not None:
                self._report_crash(child, crash, "leave")
            node.failure = crash
            node.close()
            if node.restart == "temporary" and self._end is None:
                self.remove(child)
            return
        pause = self._pause(child, crash)
        if pause is None:
            return
        names = restart_group(self.strategy, self.by_name, node.name)
        group = [self.by_name[name] for name in names]
        group = [one for one in group if not one.stays_stopped]
        for one in group:
            one.mark_restarting()
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
                await self._stop_to_restart(child)
            await trio.sleep(pause)
            pause = await self._start_in_order(group)
        # A child that started is settled. It may have ended since, and be restarting again.
        if self._failure is not None:
            for child in group:
                child.settle()

    async def _stop_to_restart(self, child: Child) -> None:
        if child.scope is not None and not child.is_closing:
            child.mark_restarting()
            await self.stop(child, drain=False)
        if child.scope is not None:
            return  # it still drains, and stays stopped afterwards
        if child.node.restart == "temporary":
            self.remove(child)
        elif child.is_restarting:
            child.node.states.value = State.RESTARTING

    async def _start_in_order(self, group: Sequence[Child]) -> float | None:
        """Start a group; return the pause in seconds before the next attempt, or None if done."""
        for number, child in enumerate(group):
            if self.by_name.get(child.node.name) is not child or not child.is_restarting:
                continue  # it was temporary, or was stopped meanwhile
            try:
                with _start_before(child, group[number + 1 :]):
                    await self.start(child)
            except Exception as error:  # noqa: BLE001  # any exception is a failed start
                if child.is_restarting:  # else it was stopped, which is no failure
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
