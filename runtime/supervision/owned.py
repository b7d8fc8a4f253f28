"""The children that one incarnation of an actor owns (R15)."""

from collections.abc import Callable
from typing import final

from .._core import Node, Snapshot, State, Supervisor, SupervisorSpec, TreeContext
from .supervisor import SupervisorNode


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
