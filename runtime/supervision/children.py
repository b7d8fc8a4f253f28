"""The lives of a supervisor's children: starting, stopping, and what to do about crashes (R7).

Who is restarted with whom is decided by `strategy`, whether at all by the restart window, when by
the back-off; all three are pure. Here is what that takes in tasks.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextvars import copy_context
from functools import partial
from math import inf
from typing import Literal, final

import structlog
import trio

from .._core import (
    Node,
    State,
    Strategy,
    TreeContext,
    is_cancellation,
    is_restarted,
    open_collapsing_nursery,
    restart_group,
)
from ..errors import ChildNotFound, RestartIntensityExceeded
from .child import Child, Decision, tell_crash
from .restarts import Backoff, RestartPolicy, RestartWindow

__all__ = [
    "Children",
]


_log = structlog.stdlib.get_logger("callsheet.runtime")
_PATIENCE_S = 5.0  # for a cancelled child before it is complained of; for a halt without limit


@final
class Children:
    """All children of one supervisor.

    Args:
        path: the supervisor's.
        shared: what the whole tree shares.
        strategy: whom to restart with one that has crashed.
        policy: how often.
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
        self._news = trio.Event()  # an exit
        self._nursery: trio.Nursery | None = None
        self._end: Literal["drain", "halt"] | None = None
        self._over = trio.Event()  # told to end, or gives up
        self._drain = trio.CancelScope()
        self._gives_up: RestartIntensityExceeded | None = None
        self._begin = self._rouse  # bound once for all children

    @property
    def are_drained(self) -> bool:
        """Whether nothing more can come to any of them, and nothing waits."""
        return all(child.node.is_drained for child in self.by_name.values())

    def restarts_left(self, now: float) -> int:
        """Crashes that would still be answered with a restart."""
        return self._window.left(now)

    # ---------------------------------------------------------------- the supervisor's life

    async def live(self, started: Callable[[], None]) -> None:
        """Start those there are, keep them alive until told to end, stop them in reverse.

        Args:
            started: called when all have started.

        Raises:
            RestartIntensityExceeded: they crashed too often.
            Exception: one could not start.
        """
        self._forgive()
        try:
            async with open_collapsing_nursery() as nursery:
                self._nursery = nursery
                try:
                    await self._start_all()
                    started()
                    nursery.start_soon(self._watch)
                    await self._over.wait()
                    with trio.CancelScope() as self._drain:
                        await self.stop_all(drain=not self._is_hasty)
                    if self._drain.cancel_called:
                        await self.stop_all(drain=False)
                    nursery.cancel_scope.cancel()
                finally:
                    for child in self.by_name.values():
                        self._end_doze(child)
                    self._nursery = None  # while it closes, it refuses new tasks in its own way
        except BaseException as error:
            # Giving up is told even if the supervisor is cancelled while it stops the others.
            if self._gives_up is None or not is_cancellation(error):
                raise
        finally:
            self._bury()
            self._end = None
            self._over = trio.Event()
        if self._gives_up is not None:
            raise self._gives_up

    def _forgive(self) -> None:
        """A new life of the supervisor starts counting anew."""
        self._window = RestartWindow(self._policy)
        self._gives_up = None

    def open(self) -> None:
        """All will live again, but for the temporary ones."""
        self._end = None
        self._over = trio.Event()
        for child in self.by_name.values():
            if child.node.restart != "temporary":
                child.is_closing = False
                child.node.open()

    def end_now(self) -> None:
        """Cancel every child."""
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()

    def end(self, how: Literal["drain", "halt"]) -> None:
        """Let `live` come to its end."""
        self._end = how
        self._over.set()

    @property
    def _is_hasty(self) -> bool:
        """Whether it ends without a drain."""
        return self._end == "halt" or self._gives_up is not None

    def _bury(self) -> None:
        """Nobody lives any more, and the temporary ones never will."""
        self._tell_exits(
            self.by_name.values(), "leave" if self._gives_up is None else "fail upward"
        )
        self._exits.clear()
        for child in self.by_name.values():
            child.settle()
            if child.node.restart == "temporary":
                child.node.close()
            elif not child.is_resting:
                child.node.states.value = State.RESTARTING

    # ---------------------------------------------------------------- one child

    def new(self, node: Node) -> Child:
        """The last child, not started yet."""
        child = self.by_name[node.name] = Child(node, self._begin)
        return child

    def forget(self, child: Child) -> None:
        """It is none any more."""
        child.node.close()
        if self.by_name.get(child.node.name) is child:
            del self.by_name[child.node.name]

    async def start(self, child: Child) -> None:
        """Begin a life; returns when it has begun.

        Raises:
            Exception: it could not.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        nursery = self._nursery
        if nursery is None:
            raise ChildNotFound(f"{self._path} does not run, and neither do its children")
        # From here on it lives: whoever stops it, or starts its group, before the task first runs
        # must find that out.
        scope = child.scope = trio.CancelScope()
        child.is_stopping = False
        child.node.lost = ()
        child.context = copy_context()
        try:
            if child.node.doze(child):
                self._has_begun(child)
            else:
                await nursery.start(self._live, child, scope)
        except BaseException:
            if child.scope is scope:  # there is no such task
                child.end_life()
            raise
        await trio.lowlevel.cancel_shielded_checkpoint()

    def _has_begun(self, child: Child) -> None:
        child.began = trio.current_time()
        if not child.is_stopping:  # else its group was to be restarted while it started
            child.settle()

    async def _live(
        self,
        child: Child,
        scope: trio.CancelScope,
        *,
        task_status: trio.TaskStatus[None] | None = None,
    ) -> None:
        """Live in the current task: from the start or, if nobody waits for that, from a doze."""
        has_started = task_status is None

        def started() -> None:
            nonlocal has_started
            has_started = True
            self._has_begun(child)
            if task_status is not None:
                task_status.started()

        crash: Exception | None = None
        try:
            with scope:
                await child.node.incarnate(started)
        except Exception as error:
            if not has_started:
                raise
            crash = error
        finally:
            child.end_life()
        if not has_started:
            raise ChildNotFound(f"{child.node.path} was stopped before it had started")
        self._note_end(child, crash)

    def _end_doze(self, child: Child) -> bool:
        """End a life that has no task yet; whether there was one."""
        if not child.node.end_doze():
            return False
        child.end_life()
        return True

    def _rouse(self, child: Child) -> None:
        # In the context it was started in, not in that of whoever happens to send to it first.
        if self._nursery is not None and child.scope is not None and child.context is not None:
            begin = partial(self._live, child, child.scope)
            child.context.run(self._nursery.start_soon, begin)

    def _note_end(self, child: Child, crash: Exception | None) -> None:
        if child.is_closing and not child.is_restarting:
            if crash is not None:
                self._tell_crash(child, crash, "leave", None)
            child.node.close()
            if child.node.restart == "temporary" and self._end is None:
                self.forget(child)
        elif not child.is_stopping:
            self._exits.append((child, crash))
            self._news.set()
        elif crash is not None:
            decision: Decision = "restart" if child.is_restarting else "leave"
            self._tell_crash(child, crash, decision, None)

    async def stop(self, child: Child, *, drain: bool) -> None:
        """End a child's life; returns when it has ended, however long that takes.

        It has its `stop_s` to end by itself; then it is cancelled. Unlimited is limited if it is
        not a drain: its siblings are to be restarted, and it may wait for one of them. One that
        ignores even the cancellation is complained of and waited for: nothing outlives the block
        (R1).
        """
        stop_s = child.node.stop_s
        limit = trio.current_time() + (stop_s if drain or stop_s < inf else _PATIENCE_S)
        if drain:
            child.is_closing = True
            if child.is_restarting:
                if child.scope is None or child.is_stopping:
                    child.node.drain()  # what waits for its next life is done in that
                    if not child.node.is_drained:
                        with trio.move_on_at(limit):
                            await child.settled.wait()
                # Else its group was to be restarted, and it still lives: it ends with this life.
                child.settle()
        scope = child.scope
        if scope is None:
            return
        child.is_stopping = True
        if self._end_doze(child):
            self._note_end(child, None)
            await trio.lowlevel.cancel_shielded_checkpoint()  # many may doze, and all be stopped
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
        with trio.move_on_after(_PATIENCE_S):
            await ended.wait()
        if not ended.is_set():
            _log.error("stop_ignored", actor=child.node.path, waited_s=_PATIENCE_S)
            await ended.wait()

    async def stop_all(self, *, drain: bool) -> None:
        """Stop every child, the last started first, so that work flows on to those it needs."""
        stopped: set[str] = set()
        while left := [name for name in reversed(self.by_name) if name not in stopped]:
            for name in left:  # and then those that were started meanwhile
                stopped.add(name)
                child = self.by_name.get(name)
                if child is None:
                    continue
                if not drain:
                    child.settle()
                await self.stop(child, drain=drain)
                if drain and child.is_closing:  # else it was started again meanwhile
                    child.node.close()

    async def _start_all(self) -> None:
        for child in list(self.by_name.values()):
            if child.node.restart == "temporary":
                self.forget(child)
        try:
            for child in list(self.by_name.values()):
                if not child.is_resting:
                    await self.start(child)
        except BaseException:
            await self.stop_all(drain=False)
            raise

    # ---------------------------------------------------------------- crashes

    async def _watch(self) -> None:
        """Answer exits, in a drain too, until there were too many."""
        while not self._is_hasty:
            if not self._exits:
                self._news = trio.Event()
                await self._news.wait()
                continue
            child, crash = self._exits.popleft()
            is_ours = self.by_name.get(child.node.name) is child
            if is_ours and child.scope is None and not (child.is_restarting or child.is_resting):
                await self._answer(child, crash)
            elif crash is not None:  # it was stopped, or started, before this came to be answered
                self._tell_crash(child, crash, "leave", None)

    async def _answer(self, child: Child, crash: Exception | None) -> None:
        node = child.node
        if not is_restarted(node.restart, crashed=crash is not None):
            if crash is not None:
                self._tell_crash(child, crash, "leave", None)
            node.close()
            if node.restart == "temporary" and self._end is None:
                self.forget(child)
            return
        pause = self._pause(child, crash)
        if pause is None:
            return
        group = [self.by_name[name] for name in self._names_with(node.name)]
        group = [one for one in group if not one.is_resting]
        for one in group:
            one.leave_life()
        # Groups may overlap, so they wait for each other: a child must not be started by two.
        if self.strategy == "one_for_one" and self._nursery is not None:
            self._nursery.start_soon(self._restart, group, pause)
        else:
            self._tell_exits(group, "restart")  # two that fail at once are both told
            await self._restart(group, pause)

    def _names_with(self, name: str) -> tuple[str, ...]:
        if self.strategy == "one_for_one":  # in time independent of the number of children
            return (name,)
        return restart_group(self.strategy, tuple(self.by_name), name)

    async def _restart(self, group: Sequence[Child], pause: float | None) -> None:
        """Stop what runs of a group, in reverse, and start it in order, however often it takes."""
        while pause is not None:
            for child in reversed(group):
                await self._stop_to_restart(child)
            await trio.sleep(pause)
            pause = await self._start_in_order(group)
        # Each that started is settled, and may even have ended and be between two lives again.
        if self._gives_up is not None:
            for child in group:
                child.settle()

    async def _stop_to_restart(self, child: Child) -> None:
        if child.scope is not None and not child.is_closing:
            child.leave_life()
            await self.stop(child, drain=False)
        if child.scope is not None:
            return  # it was told to drain, and still does; it rests when that is done
        if child.node.restart == "temporary":
            self.forget(child)
        elif child.is_restarting:
            child.node.states.value = State.RESTARTING

    async def _start_in_order(self, group: Sequence[Child]) -> float | None:
        """Start a group; None if that is done, else the pause until it is tried again."""
        for child in group:
            if self.by_name.get(child.node.name) is not child or not child.is_restarting:
                continue  # it was temporary, or was stopped meanwhile
            try:
                await self.start(child)
            except Exception as error:  # noqa: BLE001  # whatever it is, it is a failed start
                if child.is_restarting:  # else it was stopped, not failed
                    child.began = trio.current_time()
                    return self._pause(child, error)
        return None

    def _pause(self, child: Child, crash: Exception | None) -> float | None:
        """Seconds until the restart; None if there is none, because it would be one too many.

        One that ends itself is counted too, as in Erlang/OTP: it may do so without end.
        """
        now = trio.current_time()
        if child.backoff is None:
            seed = f"{self._shared.seed}/{child.node.path}/backoff"
            child.backoff = Backoff(self._policy, seed)
        pause = child.backoff.after(now - child.began)
        is_allowed = self._window.allows(now)
        if crash is not None:
            decision: Decision = "restart" if is_allowed else "fail upward"
            self._tell_crash(child, crash, decision, pause if is_allowed else None)
        if is_allowed:
            return pause
        self._gives_up = self._resignation(child, crash)
        self._over.set()
        self._drain.cancel()
        self._news.set()
        return None

    def _resignation(self, child: Child, crash: Exception | None) -> RestartIntensityExceeded:
        """The error that is raised upward; its notes tell the chain, the first cause first."""
        policy = self._policy
        what = "ended" if crash is None else f"crashed with {type(crash).__name__}: {crash}"
        error = RestartIntensityExceeded(
            f"{child.node.path} {what}; {self._path} allows {policy.max_restarts} restarts in "
            f"{policy.period_s:g} s"
        )
        error.__cause__ = crash
        for note in getattr(crash, "__notes__", ()):
            error.add_note(note)
        error.add_note(
            f"{child.node.path} ended by itself"
            if crash is None
            else f"{child.node.path} crashed: {type(crash).__name__}: {crash}"
        )
        for other, also in self._exits:  # two that fail at once are both told
            if also is not None:
                error.add_note(f"{other.node.path} crashed, too: {type(also).__name__}: {also}")
        self._tell_exits(self.by_name.values(), "fail upward")
        error.add_note(f"{self._path} gave up")
        return error

    def _tell_exits(self, children: Iterable[Child], decision: Decision) -> None:
        """Tell of the crashes of these that nobody will come to answer."""
        if not self._exits:
            return
        concerned = set(children)
        left = [one for one in self._exits if one[0] not in concerned]
        for child, crash in self._exits:
            if child in concerned and crash is not None:
                self._tell_crash(child, crash, decision, None)
        self._exits = deque(left)

    def _tell_crash(
        self, child: Child, crash: Exception, decision: Decision, pause: float | None
    ) -> None:
        tell_crash(
            child.node,
            crash,
            lived_s=trio.current_time() - child.began,
            decision=decision,
            restart_in_s=pause,
            instruments=self._shared.instruments,
        )
