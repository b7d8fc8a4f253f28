"""One child of a supervisor: its place, and how it lives just now."""

import attrs
import trio

from .node import Node
from .restarts import Backoff
from .snapshot import State

__all__ = ["Child"]


@attrs.define(eq=False)
class Child:
    """A node, and how it lives just now.

    Attributes:
        node: the place.
        backoff: its pauses before restarts.
        scope: of its present life; None if it does not live.
        began: when that began.
        ended: that has ended.
        is_stopping: this life was told to end, which is no reason to restart it.
        is_closing: it was told to drain, and rests when that is done.
        is_restarting: it is between two lives.
        settled: it is so no more, one way or the other.
    """

    node: Node
    backoff: Backoff
    scope: trio.CancelScope | None = None
    began: float = 0.0
    ended: trio.Event = attrs.field(factory=trio.Event)
    is_stopping: bool = False
    is_closing: bool = False
    is_restarting: bool = False
    settled: trio.Event = attrs.field(factory=trio.Event)

    @property
    def is_resting(self) -> bool:
        """Whether only `restart_child` starts it again."""
        return self.is_closing or self.node.states.value is State.STOPPED

    def leave_life(self) -> None:
        """It is between two lives from now on."""
        self.is_restarting = True
        self.settled = trio.Event()

    def settle(self) -> None:
        """It lives again, or never will."""
        self.is_restarting = False
        self.settled.set()
