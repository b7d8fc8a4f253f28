"""One child of a supervisor: its node, its life, and its current incarnation."""

from collections.abc import Callable
from contextvars import Context

import attrs
import trio

from .._core import Node, State
from ..errors import AlreadyPresent, AlreadyRunning, ChildRestarting, ChildStopping
from .lifecycle import Life, Phase
from .restarts import Backoff


@attrs.define(eq=False)
class Child:
    """A node with what its supervisor knows about its current incarnation.

    Attributes:
        node: the actor's or supervisor's place in the tree.
        start_task: starts a task for an idle child; set by the supervisor.
        life: decides what happens to it.
        backoff: computes the pauses before restarts; None before the first restart.
        scope: cancel scope of the current incarnation; None if none runs.
        context: context variables with which the current incarnation was started.
        started_at: when the current incarnation started, in seconds on Trio's clock.
        is_leaving: it is removed when it has stopped.
    """

    node: Node
    start_task: Callable[["Child"], None]
    life: Life
    backoff: Backoff | None = None
    scope: trio.CancelScope | None = None
    context: Context | None = None
    started_at: float = 0.0
    is_leaving: bool = False
    _rests: trio.Event | None = None  # made when a task waits for it

    @property
    def rests(self) -> trio.Event:
        """An event for the end of the current stop; use only before it has ended."""
        if self._rests is None:
            self._rests = trio.Event()
        return self._rests

    def wake(self) -> None:
        """Start the task of an idle child."""
        self.start_task(self)

    def show(self) -> None:
        """Give the node the state that the child's life has reached, and end the waits for it."""
        life, states = self.life, self.node.states
        if life.phase is Phase.STOPPING:
            states.value = State.STOPPING
        elif life.phase is Phase.BACKING_OFF:
            states.value = State.RESTARTING
        if life.is_at_rest and self._rests is not None:
            self._rests.set()
            self._rests = None


def refusal(child: Child) -> Exception:
    """Return the error for a call that needs the child's name free, or the child stopped."""
    supervisor = child.node.path.rpartition("/")[0]
    name = repr(child.node.name)
    match child.life.phase:
        case Phase.STARTING:
            return AlreadyRunning(
                f"{supervisor} has a child {name} that is starting; stop_child stops it"
            )
        case Phase.RUNNING:
            return AlreadyRunning(f"{supervisor} has a running child {name}; stop_child stops it")
        case Phase.BACKING_OFF:
            return ChildRestarting(
                f"{supervisor} has a child {name} that is restarting; wait, or call stop_child"
            )
        case Phase.DRAINING | Phase.STOPPING:
            return ChildStopping(
                f"{supervisor} has a child {name} that is {child.life.phase.value}; "
                "wait until it has stopped"
            )
        case Phase.STOPPED:
            return AlreadyPresent(
                f"{supervisor} has a stopped child {name}; restart_child starts it again, and "
                "remove_child frees its name"
            )
