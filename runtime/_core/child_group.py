"""What an actor sees of the supervisor of its own children; `supervision` implements it (R15)."""

from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Protocol, TypedDict, TypeVar

from .overflow import Overflow, Priority
from .reply import Message
from .snapshot import Snapshot, Strategy

if TYPE_CHECKING:
    from .actor import Actor
    from .keyed import KeyFunction
    from .node import Node, Restart, RestartPolicy, StopOrder, TreeContext
    from .pool import PoolRef
    from .ref import Ref


M = TypeVar("M", bound=Message[object])


class SpawnSettings(TypedDict, total=False):
    """The settings of `Actor.spawn`; `Supervisor.spawn` documents each."""

    capacity: int
    overflow: Overflow
    priority: Priority | None
    concurrency: int
    max_deferred: int | None
    restart: "Restart"
    start_s: float | None
    stop_s: float
    redeliver: int


class PoolSettings(SpawnSettings, total=False):
    """The settings of `Actor.spawn_pool`; `Supervisor.spawn_pool` documents each."""

    key: "KeyFunction | None"
    restarts: "RestartPolicy | None"


class SuperviseSettings(TypedDict, total=False):
    """The settings of `Actor.supervise`; `Supervisor.supervise` documents each."""

    strategy: Strategy
    restarts: "RestartPolicy | None"
    restart: "Restart"
    start_s: float | None
    stop_s: float
    stop_order: "StopOrder"
    max_children: int | None


class ChildSupervisor(Protocol):
    """A supervisor that an actor owns: a `Supervisor`, which documents each method."""

    @property
    def name(self) -> str:
        """The supervisor's name, unique among its siblings."""
        ...

    @property
    def path(self) -> str:
        """The names from the root down to this supervisor, joined with "/"."""
        ...

    async def spawn(
        self,
        name: str,
        factory: "Callable[[], Actor[M]]",
        *,
        capacity: int = 64,
        overflow: Overflow = "block",
        priority: Priority | None = None,
        concurrency: int = 1,
        max_deferred: int | None = None,
        restart: "Restart" = "permanent",
        start_s: float | None = None,
        stop_s: float = inf,
        redeliver: int = 0,
    ) -> "Ref[M]":
        """Start an actor as the last child; see `Supervisor.spawn`."""
        ...

    async def spawn_pool(
        self,
        name: str,
        factory: "Callable[[], Actor[M]]",
        *,
        size: int,
        key: "KeyFunction | None" = None,
        capacity: int = 64,
        overflow: Overflow = "block",
        priority: Priority | None = None,
        concurrency: int = 1,
        max_deferred: int | None = None,
        restart: "Restart" = "permanent",
        restarts: "RestartPolicy | None" = None,
        start_s: float | None = None,
        stop_s: float = inf,
        redeliver: int = 0,
    ) -> "PoolRef[M]":
        """Start a pool as the last child; see `Supervisor.spawn_pool`."""
        ...

    async def supervise(
        self,
        name: str,
        *,
        strategy: Strategy = "one_for_one",
        restarts: "RestartPolicy | None" = None,
        restart: "Restart" = "permanent",
        start_s: float | None = None,
        stop_s: float = inf,
        stop_order: "StopOrder" = "reverse",
        max_children: int | None = None,
    ) -> "ChildSupervisor":
        """Start a supervisor as the last child; see `Supervisor.supervise`."""
        ...

    async def stop_child(self, name: str) -> None:
        """Drain a child; it stays stopped until `restart_child`."""
        ...

    async def restart_child(self, name: str) -> None:
        """Start a stopped child."""
        ...

    def remove_child(self, name: str) -> None:
        """Remove a stopped child."""
        ...


class ChildGroup(Protocol):
    """The children of one incarnation, with their supervisor."""

    @property
    def supervisor(self) -> ChildSupervisor:
        """Starts children; use it only while `run` runs."""
        ...

    @property
    def nodes(self) -> "tuple[Node, ...]":
        """The children's places in the tree, in start order."""
        ...

    async def run(self, started: Callable[[], None]) -> None:
        """Restart the children after crashes until `end`.

        Args:
            started: called when children can be started.

        Raises:
            RestartIntensityExceeded: the children crashed too often.
        """
        ...

    async def stop(self, node: "Node", *, drain: bool) -> None:
        """Stop one child for good; return when it has ended.

        Args:
            node: the child's place in the tree.
            drain: handle all queued messages first; otherwise only finish those in progress.
        """
        ...

    def end(self) -> None:
        """End `run` when the children have finished their messages in progress."""
        ...

    def close(self) -> None:
        """Mark all children as stopped, after `run`; fail the asks that wait (R3)."""
        ...

    def snapshot(self, now: float) -> tuple[Snapshot, ...]:
        """Return the children at this moment, in start order."""
        ...


class ChildGroupFactory(Protocol):
    """Makes the group for the children of one incarnation."""

    def __call__(self, name: str, parent: str, shared: "TreeContext") -> ChildGroup:
        """Make a group without children.

        Args:
            name: name of the actor that owns it.
            parent: path of the supervisor of that actor.
            shared: what all nodes of the tree share.
        """
        ...
