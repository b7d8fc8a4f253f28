"""One child of a supervisor: its place, and how it lives just now."""

from collections.abc import Callable
from contextvars import Context

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
        begin: gives it a task to live in; its supervisor's.
        backoff: its pauses before restarts; None before the first.
        scope: of its present life; None if it does not live.
        context: what that began in.
        began: when that began.
        is_stopping: this life was told to end, which is no reason to restart it.
        is_closing: it was told to drain, and rests when that is done.
        is_restarting: it is between two lives.
    """

    node: Node
    begin: Callable[["Child"], None]
    backoff: Backoff | None = None
    scope: trio.CancelScope | None = None
    context: Context | None = None
    began: float = 0.0
    is_stopping: bool = False
    is_closing: bool = False
    is_restarting: bool = False
    _ended: trio.Event | None = None  # made when somebody waits
    _settled: trio.Event | None = None

    @property
    def is_resting(self) -> bool:
        """Whether only `restart_child` starts it again."""
        return self.is_closing or self.node.states.value is State.STOPPED

    @property
    def ended(self) -> trio.Event:
        """Set when its present life is over; ask for it only while it lives."""
        if self._ended is None:
            self._ended = trio.Event()
        return self._ended

    @property
    def settled(self) -> trio.Event:
        """Set when it is no more between the two lives it is between; ask for it only then."""
        if self._settled is None:
            self._settled = trio.Event()
        return self._settled

    def rouse(self) -> None:
        """Give it a task, which it has done without so far."""
        self.begin(self)

    def end_life(self) -> None:
        """Its present life is over."""
        self.scope = None
        if self._ended is not None:
            self._ended.set()
            self._ended = None

    def leave_life(self) -> None:
        """It is between two lives from now on."""
        self.is_restarting = True

    def settle(self) -> None:
        """It lives again, or never will."""
        self.is_restarting = False
        if self._settled is not None:
            self._settled.set()
            self._settled = None
