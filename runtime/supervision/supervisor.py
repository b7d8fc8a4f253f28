"""Supervisors: the nodes of the tree that keep their children running (R7).

The children of a supervisor are actors and further supervisors. A child that crashes loses the
messages in progress and nothing else: its mailbox and all refs to it stay (R2). Beyond its restart
intensity a supervisor stops its children, the last started first, and raises an error. The
supervisor above handles that as the crash of a child; the root raises it out of `open_runtime`.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from math import inf
from typing import TypeVar, final

from .._core import (
    RESTARTS,
    STOP_ORDERS,
    Actor,
    ActorEvent,
    Cell,
    KeyFunction,
    LostMessage,
    Message,
    Node,
    Overflow,
    PoolRef,
    Priority,
    Ref,
    Restart,
    Spec,
    State,
    States,
    StopOrder,
    Strategy,
    SupervisorSnapshot,
    TreeContext,
    Waker,
    Worker,
    check_seconds,
    check_thread,
    waiting,
)
from ..errors import ChildNotFound, TooManyChildren
from .child import Child, refusal
from .children import Children
from .lifecycle import Phase
from .pool import Pool
from .restarts import STRATEGIES, RestartPolicy

M = TypeVar("M", bound=Message[object])


@final
class Supervisor:
    """Adds, stops and restarts the children of one supervisor.

    `Runtime.root` is one; `Runtime.supervise` and `Supervisor.supervise` make others.
    """

    def __init__(self, node: "SupervisorNode") -> None:
        self._node = node

    @property
    def name(self) -> str:
        """The supervisor's name, unique among its siblings."""
        return self._node.name

    @property
    def path(self) -> str:
        """The names from the root down to this supervisor, such as ``blog/workers``."""
        return self._node.path

    def __repr__(self) -> str:
        node = self._node
        return (
            f"<Supervisor {node.path} {node.states.value.value}, "
            f"{len(node.children.by_name)} children>"
        )

    async def spawn(
        self,
        name: str,
        factory: Callable[[], Actor[M]],
        *,
        capacity: int = 64,
        overflow: Overflow = "block",
        priority: Priority | None = None,
        concurrency: int = 1,
        max_deferred: int | None = None,
        restart: Restart = "permanent",
        stop_s: float = inf,
        start_s: float | None = None,
        redeliver: int = 0,
    ) -> Ref[M]:
        """Start an actor as the last child; return when it has started.

        Args:
            name: the actor's name, unique among the children, without "/".
            factory: makes one incarnation; use `functools.partial` to pass arguments.
            capacity: how many messages may wait in the mailbox.
            overflow: what happens to a message that finds the mailbox full (R5).
            priority: returns the priority of a message; messages with a smaller value are handled
                first. None: first in, first out.
            concurrency: how many handlers may run at the same time.
            max_deferred: how many messages the actor's `defers` handlers may hold without a reply;
                at that number the actor takes no more messages from its mailbox. None: no limit.
            restart: "permanent": restart the actor whenever it ends. "transient": only after a
                crash. "temporary": never; the actor is removed when it has ended.
            stop_s: seconds that the actor may take to stop before it is cancelled. 0 cancels it at
                once. Infinity waits without a limit, or for 5 seconds if the stop is part of a
                group restart, since the actor may wait for the sibling that crashed. The time
                includes the `stopped` hook, which has at most 5 seconds without a limit, and does
                not run when no time is left.
            start_s: seconds that the `started` hook may take before the start is cancelled and
                fails. None: no limit.
            redeliver: how often a message that was in progress at a crash is delivered again (R8).

        Returns:
            A ref to the actor; it stays valid over restarts (R2).

        Raises:
            AlreadyRunning: there is a child with this name; `ChildRestarting` if it is being
                restarted, `ChildStopping` if it is being stopped.
            AlreadyPresent: there is a stopped child with this name; `restart_child` starts it.
            TooManyChildren: the supervisor has `max_children` children.
            ValueError: an argument is out of its range; the message names it.
            StartTimedOut: the actor did not start within `start_s`; no child is added.
            Exception: the factory or the `started` hook raised; then no child is added.
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
            start_s=start_s,
            redeliver=redeliver,
        )
        node = self._node
        cell = Cell(spec, node.path, node.shared, node)
        await node.add(cell)
        return cell.ref

    async def spawn_pool(
        self,
        name: str,
        factory: Callable[[], Actor[M]],
        *,
        size: int,
        key: KeyFunction | None = None,
        capacity: int = 64,
        overflow: Overflow = "block",
        priority: Priority | None = None,
        concurrency: int = 1,
        max_deferred: int | None = None,
        restart: Restart = "permanent",
        restarts: RestartPolicy | None = None,
        start_s: float | None = None,
        stop_s: float = inf,
        redeliver: int = 0,
    ) -> PoolRef[M]:
        """Start several actors of one kind as the last child; return when all have started.

        The members of the pool, ``worker-1`` to ``worker-<size>``, have one mailbox. An idle member
        takes the next message, so no message waits while a member is idle. Each member has its own
        state, timers and incarnations. A member that crashes loses its messages in progress, and
        is restarted by itself; the others continue. Beyond `restarts` the pool fails upward, like a
        supervisor: the supervisor above restarts it according to `restart`.

        Args:
            name: the pool's name, unique among the children, without "/".
            factory: makes one incarnation of a member.
            size: number of members; `PoolRef.resize` changes it.
            key: returns the key of a message, or None. Messages with equal keys are handled one at
                a time, in their order, by any members; the next one waits until the handler of the
                one before has ended, and until a redelivery after a crash has been handled. A
                message whose key is None has no order. Urgent messages and timers have no key.
            capacity: how many messages may wait in the mailbox.
            overflow: what happens to a message that finds the mailbox full (R5). `Coalesce` does
                not go together with `key`.
            priority: returns the priority of a message, as for `spawn`; it also orders the messages
                of one key.
            concurrency: how many handlers each member may run at the same time.
            max_deferred: how many messages the `defers` handlers of each member may hold without a
                reply, as for `spawn`.
            restart: when a member is restarted, and the pool itself, as for `spawn`. A pool whose
                members have all ended has ended.
            restarts: how often members are restarted; by default five times in 30 seconds.
            start_s: seconds that the start of each member may take, as for `spawn`.
            stop_s: seconds that the pool, or a member that `resize` removes, may take to stop, as
                for `spawn`.
            redeliver: how often a message that was in progress at a crash is delivered again (R8).

        Returns:
            A ref to the pool; it stays valid over restarts (R2).

        Raises:
            AlreadyRunning: there is a child with this name.
            AlreadyPresent: there is a stopped child with this name; `restart_child` starts it.
            ValueError: an argument is out of its range; the message names it.
            Exception: the factory or the `started` hook raised; then no child is added.
        """
        spec = Spec(
            name=name,
            factory=factory,
            capacity=capacity,
            overflow=overflow,
            priority=priority,
            key=key,
            concurrency=concurrency,
            max_deferred=max_deferred,
            restart=restart,
            start_s=start_s,
            stop_s=stop_s,
            redeliver=redeliver,
        )
        node = self._node
        pool = Pool(spec, size, restarts or RestartPolicy(), node.path, node.shared, node)
        await node.add(pool)
        return pool.pool_ref

    async def supervise(
        self,
        name: str,
        *,
        strategy: Strategy = "one_for_one",
        restarts: RestartPolicy | None = None,
        restart: Restart = "permanent",
        stop_s: float = inf,
        start_s: float | None = None,
        stop_order: StopOrder = "reverse",
        max_children: int | None = None,
    ) -> "Supervisor":
        """Start a supervisor as the last child.

        Args:
            name: the supervisor's name, unique among the children, without "/".
            strategy: which of its children it restarts after a crash: the one that crashed
                ("one_for_one"), all of them ("one_for_all"), or the one that crashed and those
                started after it ("rest_for_one").
            restarts: how often it restarts children; by default five times in 30 seconds.
            restart: when this supervisor restarts the new one, as for `spawn`.
            stop_s: seconds that all its children together may take to stop, as for `spawn`.
            start_s: seconds that all its children together may take to start again after a crash,
                as for `spawn`.
            stop_order: how it stops its children: one after another, the last started first
                ("reverse"), or side by side ("together"), which takes as long as the slowest.
            max_children: how many children it may have, stopped ones included. None: no limit.

        Raises:
            TooManyChildren: this supervisor has `max_children` children.
            AlreadyRunning: there is a child with this name; `ChildRestarting` if it is being
                restarted, `ChildStopping` if it is being stopped.
            AlreadyPresent: there is a stopped child with this name.
            ValueError: an argument is out of its range; the message names it.
        """
        node = self._node
        child = SupervisorNode(
            name,
            node.path,
            node.shared,
            strategy=strategy,
            restarts=restarts,
            restart=restart,
            stop_s=stop_s,
            start_s=start_s,
            stop_order=stop_order,
            max_children=max_children,
        )
        await node.add(child)
        return Supervisor(child)

    async def stop_child(self, name: str) -> None:
        """Drain a child within its `stop_s`; it stays stopped until `restart_child`.

        Args:
            name: the child's name.

        Raises:
            ChildNotFound: there is no child with this name.
        """
        child = self._node.find(name)
        with _waiting_for_stop(child.node):
            await self._node.children.stop(child, drain=True)

    async def restart_child(self, name: str) -> None:
        """Start a stopped child; the refs to it are valid again.

        Args:
            name: the child's name.

        Raises:
            ChildNotFound: there is no child with this name.
            AlreadyRunning: the child runs.
            ChildRestarting: the child is being restarted.
            ChildStopping: the child is being stopped.
            Exception: the child could not start; it stays stopped.
        """
        child = self._node.find_stopped(name)
        child.is_leaving = False
        child.node.open()
        try:
            with waiting(lambda: child.node.working):
                await self._node.children.start(child)
        except BaseException:
            child.node.close()
            raise

    def remove_child(self, name: str) -> None:
        """Remove a stopped child.

        Args:
            name: the child's name.

        Raises:
            ChildNotFound: there is no child with this name.
            AlreadyRunning: the child runs.
            ChildRestarting: the child is being restarted.
            ChildStopping: the child is being stopped.
        """
        check_thread()
        self._node.children.remove(self._node.find_stopped(name))


@final
class SupervisorNode:
    """A supervisor's place in the tree; a `Node` for the supervisor above.

    Args:
        name: unique among its siblings.
        parent: path of the supervisor above; empty for the root.
        shared: what all nodes of the tree share.
        strategy: which children are restarted together.
        restarts: how often they are restarted; None: the defaults of `RestartPolicy`.
        restart: when this supervisor is restarted.
        stop_s: seconds that all children together may take to stop.
        start_s: seconds that all children together may take to start; None: no limit.
        stop_order: whether the children are stopped one after another, or side by side.
        max_children: how many children it may have; None: no limit.
        is_owned: an actor owns it: it has that actor's path, and no events of its own.

    Raises:
        ValueError: an argument is out of its range; the message names it.
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
        start_s: float | None = None,
        stop_order: StopOrder = "reverse",
        max_children: int | None = None,
        is_owned: bool = False,
    ) -> None:
        _check(name, strategy, restart, stop_s)
        if stop_order not in STOP_ORDERS:
            known = ", ".join(STOP_ORDERS)
            raise ValueError(f"stop_order must be one of {known}, not {stop_order!r}")
        _check_bound(max_children)
        if start_s is not None:
            check_seconds("start_s", start_s, at_least=0)
        self.name = name
        self.path = f"{parent}/{name}" if parent else name
        self.restart: Restart = restart
        self.stop_s = stop_s
        self.stop_by = inf
        self.start_s = start_s
        self.incarnation = 0
        self.states = States()
        self.lost: tuple[LostMessage, ...] = ()
        self.failure: Exception | None = None
        self.shared = shared
        self.max_children = max_children
        self.children = Children(
            self.path, shared, strategy, restarts or RestartPolicy(), stop_order
        )
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

        await self.children.run(all_started)

    def open(self) -> None:
        """See `Node`."""
        self._is_draining = False
        self.failure = None
        self.states.value = State.STARTING
        self.children.open()

    def drain(self) -> None:
        """See `Node`."""
        self._is_draining = True
        self.states.value = State.DRAINING
        self.children.end("drain")

    def halt(self) -> None:
        """See `Node`."""
        self.children.end("halt")

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
            strategy=children.strategy,
            restarts_left=children.restarts_left(now),
            stop_s=self.stop_s,
            children=tuple(child.node.snapshot(now) for child in children.by_name.values()),
        )

    # ---------------------------------------------------------------- children

    async def add(self, node: Node) -> None:
        """Start a node as the last child.

        Raises:
            AlreadyRunning: there is a child with this name; `ChildRestarting` if it is being
                restarted, `ChildStopping` if it is being stopped.
            AlreadyPresent: there is a stopped child with this name.
            Exception: the node could not start; then no child is added.
        """
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
            self.children.remove(child)
            raise

    def find(self, name: str) -> Child:
        """Return a child.

        Raises:
            ChildNotFound: there is no child with this name.
        """
        child = self.children.by_name.get(name)
        if child is None:
            known = ", ".join(self.children.by_name) or "none"
            raise ChildNotFound(f"{self.path} has no child {name!r}; its children: {known}")
        return child

    def find_stopped(self, name: str) -> Child:
        """Return a child that is stopped.

        Raises:
            ChildNotFound: there is no child with this name.
            AlreadyRunning: the child runs.
            ChildRestarting: the child is being restarted.
            ChildStopping: the child is being stopped.
        """
        child = self.find(name)
        if child.life.phase is not Phase.STOPPED:
            raise refusal(child)
        return child

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


def _waiting_for_stop(node: Node) -> AbstractContextManager[None]:
    return waiting(lambda: node.working, node.stop_s)


def _check(name: str, strategy: str, restart: str, stop_s: float) -> None:
    if not name or "/" in name:
        raise ValueError(f"name must be a text without '/' that is not empty, not {name!r}")
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy must be one of {', '.join(STRATEGIES)}, not {strategy!r}")
    if restart not in RESTARTS:
        raise ValueError(f"restart must be one of {', '.join(RESTARTS)}, not {restart!r}")
    check_seconds("stop_s", stop_s, at_least=0)


def _check_bound(max_children: object) -> None:
    if max_children is not None and (
        isinstance(max_children, bool) or not isinstance(max_children, int) or max_children < 0
    ):
        raise ValueError(
            f"max_children must be None or a whole number of at least 0, not {max_children!r}"
        )
