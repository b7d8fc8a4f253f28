"""A node of the tree that keeps its children alive: actors, and supervisors of their own (R7).

A child that crashes costs what it had in its hands, nothing else: its mailbox and every ref outlive
it (R2). Crashes beyond the restart intensity make the supervisor stop its children, the last
started first, and raise: to the supervisor above, for which that is the crash of a child, or out
of `open_runtime`.
"""

from collections.abc import Callable
from math import inf
from typing import final

from .._core import (
    RESTARTS,
    STRATEGIES,
    Actor,
    ActorEvent,
    Cell,
    LostMessage,
    Node,
    Overflow,
    Priority,
    Ref,
    Restart,
    Spec,
    State,
    States,
    Strategy,
    SupervisorSnapshot,
    TreeContext,
    Waker,
)
from ..errors import AlreadyPresent, AlreadyRunning, ChildNotFound, ChildRestarting
from .child import Child
from .children import Children
from .restarts import RestartPolicy

__all__ = [
    "Supervisor",
]


@final
class Supervisor:
    """Starts its children in order, restarts them, and stops them in reverse order.

    `Runtime.supervise` and `Supervisor.supervise` make one.
    """

    def __init__(
        self,
        name: str,
        parent: str,
        shared: TreeContext,
        *,
        strategy: Strategy = "one_for_one",
        restarts: RestartPolicy | None = None,
        restart: Restart = "permanent",
        stop_s: float = inf,
    ) -> None:
        _check(name, strategy, restart, stop_s)
        self.name = name
        self.path = f"{parent}/{name}" if parent else name
        self.restart: Restart = restart
        self.stop_s = stop_s
        self.incarnation = 0
        self.states = States()
        self.lost: tuple[LostMessage, ...] = ()
        self._shared = shared
        self._children = Children(self.path, shared, strategy, restarts or RestartPolicy())
        self._is_draining = False

    def __repr__(self) -> str:
        return (
            f"<Supervisor {self.path} {self.states.value.value}, "
            f"{len(self._children.by_name)} children>"
        )

    # ---------------------------------------------------------------- for its user

    async def spawn(
        self,
        name: str,
        factory: Callable[[], Actor],
        *,
        capacity: int = 64,
        overflow: Overflow = "block",
        priority: Priority | None = None,
        concurrency: int = 1,
        max_deferred: int | None = None,
        restart: Restart = "permanent",
        stop_s: float = inf,
        redeliver: int = 0,
    ) -> Ref:
        """Start an actor as the last child; returns when it has started.

        Args:
            name: unique among the children; no "/".
            factory: makes one incarnation; use `functools.partial` for arguments.
            capacity: messages that may wait in the mailbox.
            overflow: what happens to one more (R5).
            priority: priorities; of a message, the smaller, the sooner. None: first in, first out.
            concurrency: handlers that may run at a time.
            max_deferred: messages that an actor with `defers` handlers may put off answering; at
                that many it takes no more from its mailbox. None for no bound.
            restart: "permanent": restarted however it ends; "transient": only after a crash;
                "temporary": never, and forgotten when it has ended.
            stop_s: seconds it may take to end when it is stopped; then it is cancelled. 0 cancels
                at once; infinity waits, but for 5 seconds only if it is stopped because a sibling
                crashed, which may be the one it waits for.
            redeliver: how often a message that was in hand at a crash is delivered again (R8).

        Raises:
            AlreadyRunning: there is a child of this name.
            AlreadyPresent: there is, and it rests; `restart_child` starts it.
            ValueError: an argument is out of its range; the message names it.
            Exception: whatever the factory or the `started` hook raised; nothing is left then.
        """
        spec = Spec(
            name=name,
            factory=factory,
            capacity=capacity,
            overflow=overflow,
            priority=priority,
            concurrency=concurrency,
            max_deferred=max_deferred,
            restart=restart,
            stop_s=stop_s,
            redeliver=redeliver,
        )
        cell = Cell(spec, self.path, self._shared, self)
        await self._add(cell)
        return cell.ref

    async def supervise(
        self,
        name: str,
        *,
        strategy: Strategy = "one_for_one",
        restarts: RestartPolicy | None = None,
        restart: Restart = "permanent",
        stop_s: float = inf,
    ) -> "Supervisor":
        """Start a supervisor as the last child.

        Args:
            name: unique among the children; no "/".
            strategy: whom it restarts with a child that has crashed: that one ("one_for_one"), all
                ("one_for_all"), or it and those started after it ("rest_for_one").
            restarts: how often; by default five times in 30 seconds.
            restart: as for `spawn`.
            stop_s: as for `spawn`, for all its children together.

        Raises:
            AlreadyRunning: there is a child of this name.
            AlreadyPresent: there is, and it rests.
            ValueError: an argument makes no sense; the message names it.
        """
        child = Supervisor(
            name,
            self.path,
            self._shared,
            strategy=strategy,
            restarts=restarts,
            restart=restart,
            stop_s=stop_s,
        )
        await self._add(child)
        return child

    async def stop_child(self, name: str) -> None:
        """Drain a child, within its `stop_s`, and let it rest until `restart_child`.

        Raises:
            ChildNotFound: there is none of this name.
        """
        child = self._find(name)
        await self._children.stop(child, drain=True)
        if not child.is_closing:
            return  # it was started again in the moment in which it ended
        child.node.close()
        if child.node.restart == "temporary":
            self._children.forget(child)

    async def restart_child(self, name: str) -> None:
        """Start a child that rests; the refs to it are good again.

        Raises:
            ChildNotFound: there is none of this name.
            AlreadyRunning: it runs.
            ChildRestarting: it is between two lives.
            Exception: it could not start; it rests on.
        """
        child = self._resting(name)
        child.is_closing = False
        child.node.open()
        try:
            await self._children.start(child)
        except BaseException:
            child.node.close()
            raise

    def remove_child(self, name: str) -> None:
        """Forget a child that rests.

        Raises:
            ChildNotFound: there is none of this name.
            AlreadyRunning: it runs.
            ChildRestarting: it is between two lives.
        """
        self._children.forget(self._resting(name))

    # ---------------------------------------------------------------- as a node

    def doze(self, rouser: Waker) -> bool:  # noqa: ARG002  # it has children to watch
        """See `Node`."""
        return False

    def end_doze(self) -> bool:
        """See `Node`."""
        return False

    async def incarnate(self, started: Callable[[], None]) -> None:
        """Keep the children alive until told to end.

        Raises:
            RestartIntensityExceeded: they crashed too often.
            Exception: one of them could not start.
        """
        self.incarnation += 1

        def all_started() -> None:
            self.states.value = State.DRAINING if self._is_draining else State.RUNNING
            for instrument in self._shared.instruments:
                instrument.actor_started(ActorEvent(self.path, self.incarnation))
            started()

        await self._children.live(all_started)

    def open(self) -> None:
        """See `Node`."""
        self._is_draining = False
        self.states.value = State.STARTING
        self._children.open()

    def drain(self) -> None:
        """See `Node`."""
        self._is_draining = True
        self.states.value = State.DRAINING
        self._children.end("drain")

    def halt(self) -> None:
        """See `Node`."""
        self._children.end("halt")

    @property
    def is_drained(self) -> bool:
        """See `Node`."""
        return self._children.are_drained

    def end_now(self) -> None:
        """Cancel all below it."""
        self._children.end_now()

    def close(self) -> None:
        """See `Node`."""
        for child in reversed(self._children.by_name.values()):
            child.node.close()
        if self.states.value is not State.STOPPED:
            self.states.value = State.STOPPED
            for instrument in self._shared.instruments:
                instrument.actor_stopped(ActorEvent(self.path, self.incarnation))

    def snapshot(self, now: float) -> SupervisorSnapshot:
        """See `Node`."""
        children = self._children
        return SupervisorSnapshot(
            path=self.path,
            state=self.states.value,
            incarnation=self.incarnation,
            strategy=children.strategy,
            restarts_left=children.restarts_left(now),
            stop_s=self.stop_s,
            children=tuple(child.node.snapshot(now) for child in children.by_name.values()),
        )

    # ---------------------------------------------------------------- children

    async def _add(self, node: Node) -> None:
        present = self._children.by_name.get(node.name)
        if present is not None:
            if present.node.states.value is State.STOPPED:
                raise AlreadyPresent(
                    f"{self.path} has a child {node.name!r}, which is stopped; restart_child "
                    "starts it again"
                )
            raise AlreadyRunning(f"{self.path} has a child {node.name!r}, which runs")
        child = self._children.new(node)
        for instrument in self._shared.instruments:
            instrument.actor_spawned(ActorEvent(node.path, 0))
        try:
            await self._children.start(child)
        except BaseException:
            self._children.forget(child)
            raise

    def _find(self, name: str) -> Child:
        child = self._children.by_name.get(name)
        if child is None:
            known = ", ".join(self._children.by_name) or "nobody"
            raise ChildNotFound(f"{self.path} has no child {name!r}; it has {known}")
        return child

    def _resting(self, name: str) -> Child:
        child = self._find(name)
        if child.is_restarting:
            raise ChildRestarting(f"{child.node.path} is between two lives; wait, or stop it")
        if child.scope is not None or child.node.states.value is not State.STOPPED:
            raise AlreadyRunning(f"{child.node.path} runs; stop_child stops it")
        return child

    async def stop_and_forget(self, node: Node) -> None:
        """See `Keeper`."""
        child = self._children.by_name.get(node.name)
        if child is not None and child.node is node:  # another one may have its name by now
            await self._children.stop(child, drain=True)
            if child.is_closing:  # else it was started again in the moment in which it ended
                self._children.forget(child)


def _check(name: str, strategy: str, restart: str, stop_s: float) -> None:
    """Refuse settings that make no sense, by the field's name."""
    if not name or "/" in name:
        raise ValueError(f"name must be a text without '/' that is not empty, not {name!r}")
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy must be one of {', '.join(STRATEGIES)}, not {strategy!r}")
    if restart not in RESTARTS:
        raise ValueError(f"restart must be one of {', '.join(RESTARTS)}, not {restart!r}")
    if not stop_s >= 0:
        raise ValueError(f"stop_s must be at least 0 seconds, not {stop_s}")
