"""Supervisors: the nodes of the tree, or of one actor (R15), that keep their children running (R7).

The children of a supervisor are actors and further supervisors. A child that crashes loses the
messages in progress and nothing else: its mailbox and all refs to it stay (R2). Beyond its restart
intensity a supervisor stops its children, the last started first, and raises an error. The
supervisor above handles that as the crash of a child; the root raises it out of `open_runtime`.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from math import inf
from typing import final

from .._core import (
    ActorEvent,
    Cell,
    LostMessage,
    Node,
    PoolRef,
    Ref,
    Restart,
    RestartPolicy,
    Snapshot,
    Spec,
    State,
    States,
    Supervisor,
    SupervisorSnapshot,
    SupervisorSpec,
    TreeContext,
    Waker,
    Worker,
    waiting,
)
from ..errors import ChildNotFound, TooManyChildren
from .child import Child, refusal
from .lifecycle import Phase
from .pool import Pool
from .restarter import Restarter


@final
class SupervisorNode:
    """A supervisor's place in the tree; a `Node` for the supervisor above.

    Args:
        spec: the supervisor's settings.
        parent: path of the supervisor above; empty for the root.
        shared: what all nodes of the tree share.
        is_owned: an actor owns it: it has that actor's path, and no events of its own.
    """

    def __init__(
        self, spec: SupervisorSpec, parent: str, shared: TreeContext, *, is_owned: bool = False
    ) -> None:
        self.name = spec.name
        self.path = f"{parent}/{spec.name}" if parent else spec.name
        self.restart: Restart = spec.restart
        self.stop_s = spec.stop_s
        self.stop_by = inf
        self.start_s = spec.start_s
        self.incarnation = 0
        self.states = States()
        self.lost: tuple[LostMessage, ...] = ()
        self.failure: Exception | None = None
        self.shared = shared
        self.max_children = spec.max_children
        self.restarter = Restarter(self.path, shared, spec)
        self.children = self.restarter.children
        self._instruments = () if is_owned else shared.instruments
        self._is_draining = False

    # ---------------------------------------------------------------- as a `Node`

    def start_idle(self, waker: Waker) -> bool:  # noqa: ARG002  # it needs a task for its children
        """Return False: a supervisor always needs a task."""
        return False

    def stop_idle(self) -> bool:
        """Return False: a supervisor is never idle."""
        return False

    async def run(self, started: Callable[[], None]) -> None:
        """Start the children and restart them after crashes until `drain` or `halt`.

        Args:
            started: called when all children have started.

        Raises:
            RestartIntensityExceeded: the children crashed too often.
            Exception: a child could not start.
        """
        self.incarnation += 1

        def all_started() -> None:
            self.states.value = State.DRAINING if self._is_draining else State.RUNNING
            for instrument in self._instruments:
                instrument.actor_started(ActorEvent(self.path, self.incarnation))
            started()

        await self.restarter.run(all_started)

    def open(self) -> None:
        """See `Node`."""
        self._is_draining = False
        self.failure = None
        self.states.value = State.STARTING
        self.restarter.open()

    def drain(self) -> None:
        """See `Node`."""
        self._is_draining = True
        self.states.value = State.DRAINING
        self.restarter.end("drain")

    def halt(self) -> None:
        """See `Node`."""
        self.restarter.end("halt")

    @property
    def work_left(self) -> int:
        """See `Node`."""
        return sum(child.node.work_left for child in self.children.by_name.values())

    def limit_stop(self, when: float) -> None:
        """See `Node`."""
        self.stop_by = self.children.stop_by = when
        for child in self.children.by_name.values():
            child.node.limit_stop(min(when, child.node.stop_by))

    @property
    def is_drained(self) -> bool:
        """See `Node`."""
        return self.children.are_drained

    def close(self) -> None:
        """See `Node`."""
        for child in reversed(self.children.by_name.values()):
            if child.node.states.value is not State.STOPPED:
                child.node.failure = self.failure
            child.node.close()
        if self.states.value is not State.STOPPED:
            self.states.value = State.STOPPED
            for instrument in self._instruments:
                instrument.actor_stopped(ActorEvent(self.path, self.incarnation))

    @property
    def working(self) -> Sequence[Worker]:
        """See `Node`; without the children that are cancelled after a time."""
        nodes = [child.node for child in self.children.by_name.values()]
        return [worker for node in nodes if node.stop_s == inf for worker in node.working]

    def start_after(self, other: Node | None) -> None:
        """See `Node`."""
        for child in self.children.by_name.values():
            child.node.start_after(other)

    def find_child(self, name: str) -> Node | None:
        """See `Node`."""
        child = self.children.by_name.get(name)
        return None if child is None else child.node

    @property
    def child_names(self) -> Iterable[str]:
        """See `Node`."""
        return self.children.by_name.keys()

    def snapshot(self, now: float) -> SupervisorSnapshot:
        """See `Node`."""
        children = self.children
        return SupervisorSnapshot(
            path=self.path,
            state=self.states.value,
            incarnation=self.incarnation,
            strategy=self.restarter.strategy,
            restarts_left=self.restarter.restarts_left(now),
            stop_s=self.stop_s,
            children=tuple(child.node.snapshot(now) for child in children.by_name.values()),
            stop_order=children.stop_order,
        )

    # ---------------------------------------------------------------- as a `SupervisorPlace`

    async def spawn(self, spec: Spec) -> Ref:
        """See `Supervisor.spawn`."""
        cell = Cell(spec, self.path, self.shared, self)
        await self._add(cell)
        return cell.ref

    async def spawn_pool(self, spec: Spec, size: int, restarts: RestartPolicy) -> PoolRef:
        """See `Supervisor.spawn_pool`."""
        pool = Pool(spec, size, restarts, self.path, self.shared, self)
        await self._add(pool)
        return pool.pool_ref

    async def supervise(self, spec: SupervisorSpec) -> "SupervisorNode":
        """See `Supervisor.supervise`."""
        node = SupervisorNode(spec, self.path, self.shared)
        await self._add(node)
        return node

    async def stop_child(self, name: str) -> None:
        """See `Supervisor.stop_child`."""
        child = self._find(name)
        with _waiting_for_stop(child.node):
            await self.children.stop(child, drain=True)

    async def restart_child(self, name: str) -> None:
        """See `Supervisor.restart_child`."""
        child = self._find_stopped(name)
        child.is_leaving = False
        child.node.open()
        try:
            with waiting(lambda: child.node.working):
                await self.children.start(child)
        except BaseException:
            if not child.life.is_alive:  # else it was stopped, and has been started again
                child.node.close()
            raise

    def remove_child(self, name: str) -> None:
        """See `Supervisor.remove_child`."""
        self.children.remove(self._find_stopped(name))

    async def stop_and_remove(self, node: object) -> None:
        """See `Stopper`."""
        child = self.children.by_name.get(getattr(node, "name", ""))
        if child is None or child.node is not node:  # a new child may have the name
            return
        with _waiting_for_stop(child.node):
            child.is_leaving = True  # removed when it stops, even if the caller is cancelled
            await self.children.stop(child, drain=True)
        if child.life.phase is Phase.STOPPED:
            self.children.remove(child)

    async def _add(self, node: Node) -> None:
        """Start a node as the last child; if it cannot start, no child is added."""
        present = self.children.by_name.get(node.name)
        if present is not None:
            raise refusal(present)
        if self.max_children is not None and len(self.children.by_name) >= self.max_children:
            raise TooManyChildren(
                f"{self.path} has {self.max_children} children, which is its max_children"
            )
        child = self.children.add(node)
        for instrument in self.shared.instruments:
            instrument.actor_spawned(ActorEvent(node.path, 0))
        try:
            with waiting(lambda: node.working):
                await self.children.start(child)
        except BaseException:
            if not child.life.is_alive:  # else it was stopped, and has been started again
                self.children.remove(child)
            raise

    def _find(self, name: str) -> Child:
        child = self.children.by_name.get(name)
        if child is None:
            known = ", ".join(self.children.by_name) or "none"
            raise ChildNotFound(f"{self.path} has no child {name!r}; its children: {known}")
        return child

    def _find_stopped(self, name: str) -> Child:
        child = self._find(name)
        if child.life.phase is not Phase.STOPPED:
            raise refusal(child)
        return child


def _waiting_for_stop(node: Node) -> AbstractContextManager[None]:
    return waiting(lambda: node.working, node.stop_s)


@final
class OwnedChildren:
    """A supervisor that belongs to one incarnation of an actor, and has the actor's path.

    It restarts one child for one that has crashed. Beyond its restart intensity the actor crashes.

    Args:
        name: name of the actor.
        parent: path of the supervisor of the actor.
        shared: what all nodes of the tree share.
    """

    def __init__(self, name: str, parent: str, shared: TreeContext) -> None:
        self._node = SupervisorNode(SupervisorSpec(name=name), parent, shared, is_owned=True)
        self.supervisor = Supervisor(self._node)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """See `ChildGroup`."""
        return tuple(child.node for child in self._node.children.by_name.values())

    async def run(self, started: Callable[[], None]) -> None:
        """See `ChildGroup`."""
        await self._node.run(started)

    async def stop(self, node: Node, *, drain: bool) -> None:
        """See `ChildGroup`."""
        children = self._node.children
        child = children.by_name.get(node.name)
        if child is None or child.node is not node or node.states.value is State.STOPPED:
            return
        await children.stop(child, drain=drain)
        child.life.give_up()
        node.close()

    def end(self) -> None:
        """See `ChildGroup`."""
        self._node.halt()

    def close(self) -> None:
        """See `ChildGroup`."""
        self._node.close()

    def snapshot(self, now: float) -> tuple[Snapshot, ...]:
        """See `ChildGroup`."""
        return self._node.snapshot(now).children
