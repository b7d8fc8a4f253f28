"""One child of a supervisor: its node, and the state of its current incarnation."""

from collections.abc import Callable
from contextvars import Context

import attrs
import trio

from .._core import Node, State
from .restarts import Backoff


@attrs.define(eq=False)
class Child:
    """A node with what its supervisor knows about its current incarnation.

    Attributes:
        node: the actor's or supervisor's place in the tree.
        start_task: starts a task for an idle child; set by the supervisor.
        backoff: computes the pauses before restarts; None before the first restart.
        scope: cancel scope of the current incarnation; None if none runs.
        context: context variables with which the current incarnation was started.
        started_at: when the current incarnation started, in seconds on Trio's clock.
        is_stopping: the current incarnation was asked to end, so its end is no reason to restart.
        is_closing: the child drains and then stays stopped.
        is_restarting: the child has ended, or is about to, and will be started again.
    """

    node: Node
    start_task: Callable[["Child"], None]
    backoff: Backoff | None = None
    scope: trio.CancelScope | None = None
    context: Context | None = None
    started_at: float = 0.0
    is_stopping: bool = False
    is_closing: bool = False
    is_restarting: bool = False
    _ended: trio.Event | None = None  # made when a task waits for it
    _settled: trio.Event | None = None

    @property
    def has_stopped(self) -> bool:
        """Whether it was told to stay stopped, and no incarnation runs.

        Another task may have started it again, and even told it to stop again, since it ended.
        """
        return self.is_closing and self.scope is None

    @property
    def stays_stopped(self) -> bool:
        """Whether only `Supervisor.restart_child` starts the child again."""
        return self.is_closing or self.node.states.value is State.STOPPED

    @property
    def ended(self) -> trio.Event:
        """An event for the end of the current incarnation; use only while one runs."""
        if self._ended is None:
            self._ended = trio.Event()
        return self._ended

    @property
    def settled(self) -> trio.Event:
        """An event for the end of the current restart; use only while `is_restarting` is set."""
        if self._settled is None:
            self._settled = trio.Event()
        return self._settled

    def wake(self) -> None:
        """Start the task of an idle child."""
        self.start_task(self)

    def mark_ended(self) -> None:
        """Record that the current incarnation has ended."""
        self.scope = None
        if self._ended is not None:
            self._ended.set()
            self._ended = None

    def mark_restarting(self) -> None:
        """Record that the child will be started again."""
        self.is_restarting = True

    def settle(self) -> None:
        """Record that the restart is over: the child runs again, or never will."""
        self.is_restarting = False
        if self._settled is not None:
            self._settled.set()
            self._settled = None
