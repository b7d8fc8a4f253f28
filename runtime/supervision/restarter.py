"""Run the children of one supervisor: start all, restart those that crash, and stop all (R7).

Pure parts decide: the strategy, which children are restarted together; the restart window, whether
they are restarted; the back-off, when. A stop spends no restart (R16).
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from itertools import dropwhile
from typing import Literal, final

import attrs
import trio

from .._core import Strategy, SupervisorSpec, TreeContext, is_cancellation, open_collapsing_nursery
from ..errors import RestartIntensityExceeded
from .child import Child
from .children import Children
from .crashes import Decision, escalation_error
from .lifecycle import NextStep, Phase
from .restarts import Backoff, RestartWindow, restart_group


@final
@attrs.define(eq=False)
class _Restart:
    """The restart of a group.

    Attributes:
        group: the children, in start order.
        begun: how many of them it has begun to start; 0 while it stops them, and in the pause.
    """

    group: Sequence[Child]
    begun: int = 0

    @property
    def starting(self) -> Child:
        """The child that is being started, or will be first."""
        return self.group[max(0, self.begun - 1)]

    def has_begun(self, child: Child) -> bool:
        """Whether it has begun to start a child."""
        return child in self.group[: self.begun]


@final
class Restarter:
    """Keeps the children of one supervisor running.

    Args:
        path: path of the supervisor.
        shared: what all nodes of the tree share.
        spec: the supervisor's settings.

    Attributes:
        children: starts and stops each child.
        strategy: which of them are restarted together.
    """

    def __init__(self, path: str, shared: TreeContext, spec: SupervisorSpec) -> None:
        self.children = Children(path, shared, spec.stop_order, self._note_exit)
        self.strategy: Strategy = spec.strategy
        self._path = path
        self._seed = shared.seed
        self._policy = spec.restarts
        self._window = RestartWindow(spec.restarts)
        self._exits: deque[tuple[Child, Exception | None]] = deque()
        self._exit_event = trio.Event()  # set at an exit
        self._restarts: dict[Child, _Restart] = {}  # the restart that has to start a child
        self._end: Literal["drain", "halt"] | None = None
        self._over = trio.Event()  # set when `run` must end
        self._drain = trio.CancelScope()
        self._failure: RestartIntensityExceeded | None = None

    @property
    def _by_name(self) -> dict[str, Child]:
        return self.children.by_name

    def restarts_left(self, now: float) -> int:
        """Return how many more crashes at `now` lead to a restart."""
        return self._window.left(now)

    # ---------------------------------------------------------------- the run

    async def run(self, started: Callable[[], None]) -> None:
        """Start the children, restart them after crashes until `end`, and stop them in reverse.

        Args:
            started: called when all children have started.

        Raises:
            RestartIntensityExceeded: the children crashed too often.
            Exception: a child could not start.
        """
        self._reset()
        children = self.children
        try:
            async with open_collapsing_nursery() as nursery:
                children.nursery = nursery
                try:
                    await self._start_all()
                    started()
                    nursery.start_soon(self._watch)
                    await self._over.wait()
                    with trio.CancelScope() as self._drain:
                        await children.stop_all(drain=not self._skips_drain)
                    if self._drain.cancel_called:
                        await children.stop_all(drain=False)
                    nursery.cancel_scope.cancel()
                finally:
                    children.stop_idle()
                    # A closing nursery refuses new tasks with an error of its own.
                    children.nursery = None
        except BaseException as error:
            # The failure is raised even if the supervisor is cancelled while it stops.
            if self._failure is None or not is_cancellation(error):
                raise
        finally:
            decision: Decision = "leave" if self._failure is None else "fail upward"
            self._report_exits(self._by_name.values(), decision)
            self._exits.clear()
            children.settle()
            self._clear_end()
        if self._failure is not None:
            raise self._failure

    def _reset(self) -> None:
        self._window = RestartWindow(self._policy)
        self._failure = None

    def _clear_end(self) -> None:
        self._end = None
        self.children.is_ending = False
        self._over = trio.Event()

    def open(self) -> None:
        """Open all children for another run, except the temporary ones."""
        self._clear_end()
        for child in self._by_name.values():
            if child.node.restart != "temporary" and not child.is_leaving:
                child.life.open()
                child.node.open()

    def end(self, how: Literal["drain", "halt"]) -> None:
        """End `run` by draining or halting all children."""
        self._end = how
        self.children.is_ending = True
        self._over.set()

    @property
    def _skips_drain(self) -> bool:
        return self._end == "halt" or self._failure is not None

    async def _start_all(self) -> None:
        for child in list(self._by_name.values()):
            if child.node.restart == "temporary" or child.is_leaving:
                self.children.remove(child)
        try:
            children = [one for one in self._by_name.values() if _backs_off(one)]
            for number, child in enumerate(children):
                if _backs_off(child):
                    with self._start_before(child, children[number + 1 :]):
                        await self.children.start(child, is_restart=True)
        except BaseException:
            await self.children.stop_all(drain=False)
            raise

    # ---------------------------------------------------------------- crashes

    def _note_exit(self, child: Child, crash: Exception | None) -> None:
        self._exits.append((child, crash))
        self._exit_event.set()

    async def _watch(self) -> None:
        """Handle exits, in a drain too, until the intensity is exceeded."""
        while not self._skips_drain:
            if not self._exits:
                self._exit_event = trio.Event()
                await self._exit_event.wait()
                continue
            child, crash = self._exits.popleft()
            if self._by_name.get(child.node.name) is child and _backs_off(child):
                self._handle_exit(child, crash)
            elif crash is not None:  # it was stopped or started before its exit was handled
                goes_on = child.life.phase is Phase.DRAINING
                self.children.report(child, crash, "restart" if goes_on else "leave")

    def _handle_exit(self, child: Child, crash: Exception | None) -> None:
        """Restart the group of a child that has ended, in a task of its own.

        So a child that takes long to start delays no answer to another crash (R17). A new restart
        takes over the children of an earlier one if it has to stop the child that is being started.
        Otherwise the earlier one keeps its children, which wait for that child.
        """
        current = self._restarts.get(child)
        if current is not None and not current.has_begun(child):
            if crash is not None:  # it crashed while its siblings were stopped
                self.children.report(child, crash, "restart")
            return
        pause = self._pause(child, crash)
        if pause is None or self.children.nursery is None:
            return
        names = restart_group(self.strategy, self._by_name, child.node.name)
        group = [self._by_name[name] for name in names]
        restart = _Restart(
            [one for one in group if not one.life.stays_stopped and self._may_take(one, group)]
        )
        for one in restart.group:
            self._restarts[one] = restart
        self._report_exits(restart.group, "restart")  # children that crashed at the same time
        self.children.nursery.start_soon(self._restart, restart, pause)

    def _may_take(self, child: Child, group: Sequence[Child]) -> bool:
        current = self._restarts.get(child)
        return current is None or current.starting in group

    async def _restart(self, restart: "_Restart", pause: float | None) -> None:
        """Stop a group in reverse and start it in order, until it runs or the supervisor fails."""
        group = restart.group
        try:
            while pause is not None:
                stopping: Sequence[Child] = group
                if self.strategy == "rest_for_one":  # after a failed start, those before it run on
                    stopping = list(dropwhile(lambda child: not _backs_off(child), group))
                for child in reversed(stopping):
                    life = child.life
                    if self._is_part(child, restart) and life.is_alive and not life.stays_stopped:
                        await self.children.stop(child, drain=False)
                waiting = [one for one in group if self._is_part(one, restart) and _backs_off(one)]
                until = trio.current_time() + pause
                until = max([until, *(child.life.resume_at for child in waiting)])
                for child in waiting:
                    child.life.back_off(until)
                await trio.sleep_until(until)
                pause = await self._start_in_order(restart)
                restart.begun = 0
        finally:
            for child in group:
                if self._is_part(child, restart):
                    del self._restarts[child]

    def _is_part(self, child: Child, restart: "_Restart | None") -> bool:
        """Whether a restart still has to start a child: no later one has taken it over."""
        return self._restarts.get(child) is restart

    async def _start_in_order(self, restart: "_Restart") -> float | None:
        """Start a group; return the pause in seconds before the next attempt, or None if done."""
        for number, child in enumerate(restart.group):
            is_present = self._by_name.get(child.node.name) is child
            if not (is_present and self._is_part(child, restart) and _backs_off(child)):
                continue  # it was temporary, or was stopped or taken over meanwhile
            restart.begun = number + 1
            self._report_exits([child], "restart")  # it crashed while its siblings were stopped
            try:
                with self._start_before(child, restart.group[number + 1 :], restart):
                    await self.children.start(child, is_restart=True)
            except Exception as error:  # noqa: BLE001  # any exception is a failed start
                if self._is_part(child, restart) and _backs_off(child):  # else it was stopped
                    child.started_at = trio.current_time()
                    return self._pause(child, error)
        return None

    @contextmanager
    def _start_before(
        self, child: Child, others: Sequence[Child], restart: "_Restart | None" = None
    ) -> Generator[None]:
        """Note, while a child starts, that the others wait for it (see `find_cycle`)."""
        for other in others:
            if self._is_part(other, restart):
                other.node.start_after(child.node)
        try:
            yield
        finally:
            for other in others:
                if self._is_part(other, restart):
                    other.node.start_after(None)

    def _pause(self, child: Child, crash: Exception | None) -> float | None:
        """Return the seconds until the restart, or None if it would exceed the intensity.

        A permanent child that ends by itself is counted too, as in Erlang/OTP: otherwise it could
        end and be restarted for ever.
        """
        now = trio.current_time()
        if child.backoff is None:
            seed = f"{self._seed}/{child.node.path}/backoff"
            child.backoff = Backoff(self._policy, seed)
        pause = child.backoff.after(now - child.started_at)
        is_allowed = self._window.allows(now)
        if not is_allowed and self._end is not None:
            self._leave(child, crash)
            return None
        if crash is not None:
            decision: Decision = "restart" if is_allowed else "fail upward"
            self.children.report(child, crash, decision, pause if is_allowed else None)
        if is_allowed:
            return pause
        also = [(other.node.path, error) for other, error in self._exits if error is not None]
        self._failure = escalation_error(self._path, self._policy, child.node.path, crash, also)
        self._report_exits(self._by_name.values(), "fail upward")
        self._over.set()
        self._drain.cancel()
        self._exit_event.set()
        return None

    def _leave(self, child: Child, crash: Exception | None) -> None:
        """Stop a child that crashes too often while the supervisor drains; it never escalates."""
        now, node = trio.current_time(), child.node
        step = child.life.drain(now, min(now + node.stop_s, self.children.stop_by), node.work_left)
        if crash is not None:
            goes_on = step is NextStep.RESUME
            self.children.report(child, crash, "restart" if goes_on else "leave")
            node.failure = None if goes_on else crash
        self.children.carry_out(child, step)

    def _report_exits(self, children: Iterable[Child], decision: Decision) -> None:
        """Report those crashes of some children that `_watch` will not handle any more."""
        if not self._exits:
            return
        reported = set(children)
        left = [exit_ for exit_ in self._exits if exit_[0] not in reported]
        for child, crash in self._exits:
            if child in reported and crash is not None:
                self.children.report(child, crash, decision)
        self._exits = deque(left)


def _backs_off(child: Child) -> bool:
    """Whether a child waits for its restart."""
    return child.life.phase is Phase.BACKING_OFF
