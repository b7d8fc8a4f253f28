"""The user's handle of a supervisor, and the settings of one (R7)."""

from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Protocol, TypeVar, final

import attrs
from attrs.validators import optional

from .actor import Actor
from .checks import check_name, check_seconds, check_thread, is_one_of
from .inbox import Spec
from .keyed import KeyFunction
from .node import RESTARTS, Node, Restart, RestartPolicy, TreeContext
from .queues import Overflow, Priority
from .reply import Message
from .snapshot import STOP_ORDERS, STRATEGIES, StopOrder, Strategy, SupervisorSnapshot

if TYPE_CHECKING:
    from .pool import PoolRef
    from .ref import Ref

M = TypeVar("M", bound=Message[object])


def _is_name(_: object, __: object, value: str) -> None:
    check_name(value)


def _is_duration(_: object, field: "attrs.Attribute[float]", value: float) -> None:
    check_seconds(field.name, value, at_least=0)


def _is_bound(_: object, field: "attrs.Attribute[int]", value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(
            f"{field.name} must be None or a whole number of at least 0, not {value!r}"
        )


def _policy_of(policy: object) -> RestartPolicy:
    if policy is None:
        return RestartPolicy()
    if not isinstance(policy, RestartPolicy):
        raise TypeError(
            f"restarts must be a RestartPolicy, as RestartPolicy(max_restarts=5), not {policy!r}"
        )
    return policy


@attrs.frozen(kw_only=True)
class SupervisorSpec:
    """The settings of one supervisor; `Supervisor.supervise` documents each.

    Raises:
        ValueError: a value is out of its range; the message names the field.
    """

    name: str = attrs.field(validator=_is_name)
    strategy: Strategy = attrs.field(default="one_for_one", validator=is_one_of(STRATEGIES))
    restarts: RestartPolicy = attrs.field(default=None, converter=_policy_of)
    restart: Restart = attrs.field(default="permanent", validator=is_one_of(RESTARTS))
    stop_s: float = attrs.field(default=inf, validator=_is_duration)
    start_s: float | None = attrs.field(default=None, validator=optional(_is_duration))
    stop_order: StopOrder = attrs.field(default="reverse", validator=is_one_of(STOP_ORDERS))
    max_children: int | None = attrs.field(default=None, validator=optional(_is_bound))


class SupervisorPlace(Node, Protocol):
    """A supervisor's place in the tree, as its handle uses it; `supervision` implements it.

    Attributes:
        shared: what all nodes of the tree share.
    """

    shared: TreeContext

    def snapshot(self, now: float) -> SupervisorSnapshot:
        """See `Node`."""
        ...

    async def spawn(self, spec: Spec) -> "Ref":
        """Start an actor as the last child; see `Supervisor.spawn`."""
        ...

    async def spawn_pool(self, spec: Spec, size: int, restarts: RestartPolicy) -> "PoolRef":
        """Start a pool as the last child; see `Supervisor.spawn_pool`."""
        ...

    async def supervise(self, spec: SupervisorSpec) -> "SupervisorPlace":
        """Start a supervisor as the last child; see `Supervisor.supervise`."""
        ...

    async def stop_child(self, name: str) -> None:
        """See `Supervisor.stop_child`."""
        ...

    async def restart_child(self, name: str) -> None:
        """See `Supervisor.restart_child`."""
        ...

    def remove_child(self, name: str) -> None:
        """See `Supervisor.remove_child`."""
        ...


@final
class Supervisor:
    """Adds, stops and restarts the children of one supervisor.

    `Runtime.root` is one; `Runtime.supervise` and `Supervisor.supervise` make others.
    """

    def __init__(self, node: SupervisorPlace) -> None:
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
        count = len(tuple(node.child_names))
        return f"<Supervisor {node.path} {node.states.value.value}, {count} children>"

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
    ) -> "Ref[M]":
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
        check_thread(self._node.shared)
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
        return await self._node.spawn(spec)

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
    ) -> "PoolRef[M]":
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
        check_thread(self._node.shared)
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
        return await self._node.spawn_pool(spec, size, _policy_of(restarts))

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
        check_thread(self._node.shared)
        spec = SupervisorSpec(
            name=name,
            strategy=strategy,
            restarts=restarts,
            restart=restart,
            stop_s=stop_s,
            start_s=start_s,
            stop_order=stop_order,
            max_children=max_children,
        )
        return Supervisor(await self._node.supervise(spec))

    async def stop_child(self, name: str) -> None:
        """Drain a child within its `stop_s`; it stays stopped until `restart_child`.

        Args:
            name: the child's name.

        Raises:
            ChildNotFound: there is no child with this name.
        """
        check_thread(self._node.shared)
        await self._node.stop_child(name)

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
        check_thread(self._node.shared)
        await self._node.restart_child(name)

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
        check_thread(self._node.shared)
        self._node.remove_child(name)
