"""The lives of a supervisor's children: starting, stopping, and what to do about crashes (R7).

Who is restarted with whom is decided by `strategy`, whether at all by the restart window, when by
the back-off; all three are pure. Here is what that takes in tasks.
"""

import traceback
from collections import deque
from collections.abc import Callable, Sequence
from random import Random
from typing import Literal, final

import attrs
import structlog
import trio

from .errors import ChildNotFound, RestartIntensityExceeded
from .instruments import ActorCrash
from .node import Node
from .nursery import open_collapsing_nursery
from .restarts import Backoff, RestartPolicy, RestartWindow
from .shared import Shared
from .snapshot import State
from .strategy import Strategy, is_restarted, restart_group

__all__ = ["Child", "Children"]

_log = structlog.stdlib.get_logger("callsheet.runtime")
_PATIENCE_S = 5.0  # how long a cancelled child may take before it is complained of

Decision = Literal["restart", "leave", "fail upward"]


@attrs.define(eq=False)
class Child:
    """A node, and how it lives just now.

    Attributes:
        node: the place.
        backoff: its pauses before restarts.
        scope: of its present life; None if it does not live.
        began: when that began.
        ended: that has ended.
        is_stopping: it was told to end, which is no reason to restart it.
        is_restarting: it is between two lives.
        settled: its restart is over, one way or the other.
    """

    node: Node
    backoff: Backoff
    scope: trio.CancelScope | None = None
    began: float = 0.0
    ended: trio.Event = attrs.field(factory=trio.Event)
    is_stopping: bool = False
    is_restarting: bool = False
    settled: trio.Event = attrs.field(factory=trio.Event)


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
        self, path: str, shared: Shared, strategy: Strategy, policy: RestartPolicy
    ) -> None:
        self.by_name: dict[str, Child] = {}  # in start order
        self.strategy: Strategy = strategy
        self._path = path
        self._shared = shared
        self._policy = policy
        self._window = RestartWindow(policy)
        self._exits: deque[tuple[Child, Exception | None]] = deque()
        self._news = trio.Event()  # an exit, or an order to end
        self._nursery: trio.Nursery | None = None
        self._end: Literal["drain", "halt"] | None = None
        self._gives_up: RestartIntensityExceeded | None = None

    @property
    def are_alive(self) -> bool:
        """Whether children can be started."""
        return self._nursery is not None

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
        self._window = RestartWindow(self._policy)
        self._gives_up = None
        self._exits.clear()
        try:
            async with open_collapsing_nursery() as self._nursery:
                await self._start_all()
                started()
                await self._watch()
                await self.stop_all(drain=self._end == "drain")
                self._nursery.cancel_scope.cancel()
        finally:
            self._nursery = None
            self._end = None
            self._bury()
        if self._gives_up is not None:
            raise self._gives_up

    def end_now(self) -> None:
        """Cancel every child."""
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()

    def end(self, how: Literal["drain", "halt"]) -> None:
        """Let `live` come to its end."""
        self._end = how
        self._news.set()

    def _bury(self) -> None:
        """Nobody lives any more, and the temporary ones never will."""
        for child in list(self.by_name.values()):
            self._settle(child)
            if child.node.restart == "temporary":
                self.forget(child)

    # ---------------------------------------------------------------- one child

    def new(self, node: Node) -> Child:
        """The last child, not started yet."""
        random = Random(f"{self._shared.seed}/{node.path}/backoff")  # noqa: S311  # R13: seeded
        child = self.by_name[node.name] = Child(node, Backoff(self._policy, random))
        return child

    def forget(self, child: Child) -> None:
        """It is none any more."""
        child.node.close()
        self.by_name.pop(child.node.name, None)

    async def start(self, child: Child) -> None:
        """Begin a life; returns when it has begun.

        Raises:
            Exception: it could not.
        """
        if self._nursery is None:
            raise ChildNotFound(f"{self._path} does not run, and neither do its children")
        await self._nursery.start(self._live, child)

    async def _live(self, child: Child, task_status: trio.TaskStatus[None]) -> None:
        has_started = False

        def started() -> None:
            nonlocal has_started
            has_started = True
            child.began = trio.current_time()
            self._settle(child)  # at once: it may crash before its starter goes on
            task_status.started()

        crash: Exception | None = None
        child.ended = trio.Event()
        child.is_stopping = False
        try:
            with trio.CancelScope() as child.scope:
                await child.node.incarnate(started)
        except Exception as error:
            if not has_started:
                raise
            crash = error
        finally:
            child.scope = None
            child.ended.set()
        if not has_started:
            raise ChildNotFound(f"{child.node.path} was stopped before it had started")
        if crash is not None or not child.is_stopping:
            self._exits.append((child, crash))
            self._news.set()

    async def stop(self, child: Child, *, drain: bool) -> None:
        """End a child's life; returns when it has ended, however long that takes.

        It has its `stop_s` to end by itself; then it is cancelled. One that ignores even that is
        complained of and waited for: nothing outlives the block (R1).
        """
        limit = trio.current_time() + child.node.stop_s
        if drain and child.is_restarting:
            child.node.drain()  # what waits for its next life is done in that
            with trio.move_on_at(limit):
                await child.settled.wait()
        child.is_restarting = False
        scope, ended = child.scope, child.ended
        if scope is None:
            return
        child.is_stopping = True
        if child.node.stop_s > 0:
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
        for child in reversed(list(self.by_name.values())):
            await self.stop(child, drain=drain)
            if drain:
                child.node.close()

    async def _start_all(self) -> None:
        try:
            for child in list(self.by_name.values()):
                await self.start(child)
        except BaseException:
            await self.stop_all(drain=False)
            raise

    # ---------------------------------------------------------------- crashes

    async def _watch(self) -> None:
        """Answer exits until told to end, or until there were too many."""
        while self._end is None and self._gives_up is None:
            if not self._exits:
                self._news = trio.Event()
                await self._news.wait()
                continue
            child, crash = self._exits.popleft()
            is_ours = self.by_name.get(child.node.name) is child
            if is_ours and child.scope is None and not child.is_restarting:
                await self._answer(child, crash)

    async def _answer(self, child: Child, crash: Exception | None) -> None:
        node = child.node
        if not is_restarted(node.restart, crashed=crash is not None):
            if crash is not None:
                self._tell_crash(child, crash, "leave", None)
            node.close()
            if node.restart == "temporary":
                self.forget(child)
            return
        pause = 0.0 if crash is None else self._pause(child, crash)
        if pause is None:
            return
        group = [self.by_name[name] for name in self._names_with(node.name)]
        for one in group:
            one.is_restarting = True
            one.settled = trio.Event()
        if len(group) == 1 and self._nursery is not None:
            self._nursery.start_soon(self._restart, group, pause)
        else:
            await self._restart(group, pause)

    @staticmethod
    def _settle(child: Child) -> None:
        """It is not between two lives any more."""
        child.is_restarting = False
        child.settled.set()

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

    async def _stop_to_restart(self, child: Child) -> None:
        if child.scope is not None:
            await self.stop(child, drain=False)
            child.is_restarting = True
        if child.node.restart == "temporary":
            self.forget(child)
        else:
            child.node.states.value = State.RESTARTING

    async def _start_in_order(self, group: Sequence[Child]) -> float | None:
        """Start a group; None if that is done, else the pause until it is tried again."""
        for child in group:
            if self.by_name.get(child.node.name) is not child or not child.is_restarting:
                self._settle(child)  # it was temporary, or was stopped meanwhile
                continue
            try:
                await self.start(child)
            except Exception as error:  # noqa: BLE001  # whatever it is, it is a failed start
                child.began = trio.current_time()
                return self._pause(child, error)
        return None

    def _pause(self, child: Child, crash: Exception) -> float | None:
        """Seconds until the restart; None if there is none, because it would be one too many."""
        now = trio.current_time()
        pause = child.backoff.after(now - child.began)
        if self._window.allows(now):
            self._tell_crash(child, crash, "restart", pause)
            return pause
        self._tell_crash(child, crash, "fail upward", None)
        self._gives_up = self._resignation(child, crash)
        self._news.set()
        return None

    def _resignation(self, child: Child, crash: Exception) -> RestartIntensityExceeded:
        """The error that is raised upward; its notes tell the chain, the first cause first."""
        policy = self._policy
        error = RestartIntensityExceeded(
            f"{child.node.path} crashed with {type(crash).__name__}: {crash}; {self._path} allows "
            f"{policy.max_restarts} restarts in {policy.period_s:g} s"
        )
        error.__cause__ = crash
        for note in getattr(crash, "__notes__", ()):
            error.add_note(note)
        error.add_note(f"{child.node.path} crashed: {type(crash).__name__}: {crash}")
        for other, also in self._exits:  # two that fail at once are both told
            if also is not None:
                self._tell_crash(other, also, "fail upward", None)
                error.add_note(f"{other.node.path} crashed, too: {type(also).__name__}: {also}")
        error.add_note(f"{self._path} gave up")
        return error

    def _tell_crash(
        self, child: Child, crash: Exception, decision: Decision, pause: float | None
    ) -> None:
        """One structured event: what crashed, with what in hand, why, and what comes of it."""
        node = child.node
        event = ActorCrash(
            actor=node.path,
            incarnation=node.incarnation,
            lived_s=trio.current_time() - child.began,
            lost=node.lost,
            error=crash,
            decision=decision,
            restart_in_s=pause,
        )
        for instrument in self._shared.instruments:
            instrument.actor_crashed(event)
        _log.error(
            "actor_crashed",
            actor=node.path,
            incarnation=node.incarnation,
            lived_s=round(event.lived_s, 3),
            in_hand=[" -> ".join(lost.chain) for lost in node.lost],
            verdict=[lost.verdict.value for lost in node.lost],
            decision=decision,
            restart_in_s=None if pause is None else round(pause, 3),
            error=crash,
            # As text: renderers that show the locals of each frame would show secrets, too (L8).
            exception="".join(traceback.format_exception(crash)),
        )
