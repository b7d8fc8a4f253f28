"""The nodes of the tree as their supervisor sees them, their state, and what all nodes share."""

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, Protocol, final

import attrs
import trio
from trio_util import AsyncValue

from .deadlines import Deadlines
from .instruments import Instrument, LostMessage
from .snapshot import Snapshot, State
from .worker import Worker

Restart = Literal["permanent", "transient", "temporary"]
"""When a child is restarted: always ("permanent"), only after a crash ("transient"), or never
("temporary")."""

RESTARTS: tuple[Restart, ...] = ("permanent", "transient", "temporary")


@final
class States:
    """The current state of a node, and waiting for a state.

    The `AsyncValue` takes 1.5 KiB and is made when a task first waits; hardly any node is waited
    for.
    """

    __slots__ = ("_value", "_watched")

    def __init__(self) -> None:
        self._value = State.STARTING
        self._watched: AsyncValue[State] | None = None

    @property
    def value(self) -> State:
        """The current state."""
        return self._value

    @value.setter
    def value(self, state: State) -> None:
        self._value = state
        if self._watched is not None:
            self._watched.value = state

    async def wait_for(self, state: State) -> None:
        """Wait until the state is `state`, or was in the meantime; always a checkpoint."""
        if self._watched is None:
            self._watched = AsyncValue(self._value)
        await self._watched.wait_value(state)


class Waker(Protocol):
    """Starts a task for an idle node."""

    def wake(self) -> None:
        """Start a task that runs `Node.run`."""
        ...


class Stopper(Protocol):
    """Stops an actor for `Runtime.stop`."""

    async def stop_and_remove(self, node: object) -> None:
        """Drain a node and remove it from the tree; do nothing if that was done already."""
        ...


class Node(Protocol):
    """An actor's or a supervisor's place in the tree; it outlives its incarnations.

    Attributes:
        name: unique among its siblings.
        path: the names from the root down to this node, joined with "/".
        restart: when its supervisor restarts it.
        stop_s: seconds that it may take to stop.
        incarnation: number of incarnations so far.
        states: the current state.
        lost: messages that were in progress at the last crash.
        failure: the exception that ended it for good; None if it runs or was stopped.
    """

    name: str
    path: str
    restart: Restart
    stop_s: float
    incarnation: int
    states: States
    lost: tuple[LostMessage, ...]
    failure: Exception | None

    @property
    def is_drained(self) -> bool:
        """Whether no message can arrive any more, and none waits."""
        ...

    @property
    def working(self) -> Sequence[Worker]:
        """The workers that must end before a stop of this node ends."""
        ...

    def start_after(self, other: "Node | None") -> None:
        """Note that this node is to be started, and waits until another one has started.

        Args:
            other: the node that is being started; None: this one no longer waits.
        """
        ...

    def start_idle(self, waker: Waker) -> bool:
        """Start an incarnation without a task, if it needs none yet; return whether it started.

        Args:
            waker: called when a task is needed.
        """
        ...

    def stop_idle(self) -> bool:
        """End an incarnation that has no task; return whether there was one."""
        ...

    async def run(self, started: Callable[[], None]) -> None:
        """Run one incarnation, or continue an idle one; raise the exception that ended it, if any.

        Args:
            started: called when the incarnation has started.
        """
        ...

    def open(self) -> None:
        """Prepare for another incarnation after `close`."""
        ...

    def drain(self) -> None:
        """Accept no more messages, handle those that wait, and end."""
        ...

    def halt(self) -> None:
        """End after the messages in progress; the others wait for the next incarnation."""
        ...

    def close(self) -> None:
        """Stop, for good or until `open`; fail the asks that wait (R3)."""
        ...

    def find_child(self, name: str) -> "Node | None":
        """Return the node below with this name, if there is one."""
        ...

    @property
    def child_names(self) -> Iterable[str]:
        """The names of the nodes below."""
        ...

    def snapshot(self, now: float) -> Snapshot:
        """Return the node's state at this moment."""
        ...


@attrs.frozen
class TreeContext:
    """What all nodes of one tree share.

    Args:
        seed: seed of all randomness (R13).
        instruments: the instruments of the runtime.
        deadlines: the deadlines of all asks and timers.
        now: returns the current time on Trio's clock, without looking the clock up each time.
    """

    seed: str
    instruments: tuple[Instrument, ...] = ()
    deadlines: Deadlines = attrs.field(factory=Deadlines)
    now: Callable[[], float] = attrs.field(
        factory=lambda: trio.lowlevel.current_clock().current_time
    )
