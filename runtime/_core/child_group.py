"""The children of an actor: the settings to start them with, and their group (R15)."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypedDict

from .queues import Overflow, Priority
from .snapshot import Snapshot, StopOrder, Strategy

if TYPE_CHECKING:
    from .keyed import KeyFunction
    from .node import Node, Restart, RestartPolicy, TreeContext
    from .supervisor import Supervisor


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
    stop_order: StopOrder
    max_children: int | None


class ChildGroup(Protocol):
    """The children of one incarnation, with their supervisor; `supervision` implements it."""

    @property
    def supervisor(self) -> "Supervisor":
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
