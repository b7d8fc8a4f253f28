"""What a supervisor keeps: a place in the tree that lives again and again.

The state a place in the tree is in, and waiting for it to be in another.

What all places of one tree share.
"""

from collections.abc import Callable
from typing import Protocol, final

import attrs
import trio
from trio_util import AsyncValue

from .deadlines import Deadlines
from .instruments import Instrument
from .snapshot import Snapshot, State
from .states import LostMessage, Restart

__all__ = [
    "Node",
    "States",
    "Stopper",
    "TreeContext",
    "Waker",
]


@final
class States:
    """One state after another.

    An `AsyncValue`, which takes 1.5 KiB, is made when somebody waits; hardly any place is waited
    for.
    """

    __slots__ = ("_value", "_watched")

    def __init__(self) -> None:
        self._value = State.STARTING
        self._watched: AsyncValue[State] | None = None

    @property
    def value(self) -> State:
        """The present one."""
        return self._value

    @value.setter
    def value(self, state: State) -> None:
        self._value = state
        if self._watched is not None:
            self._watched.value = state

    async def wait_for(self, state: State) -> None:
        """Return when it is `state`, or was meanwhile; a checkpoint always."""
        if self._watched is None:
            self._watched = AsyncValue(self._value)
        await self._watched.wait_value(state)


class Waker(Protocol):
    """Whoever gives a life its task, when it needs one."""

    def rouse(self) -> None:
        """Start to run `Node.incarnate`."""
        ...


class Stopper(Protocol):
    """Whoever stops an actor when `Runtime.stop` is asked for it."""

    async def stop_and_forget(self, node: "Node") -> None:
        """Drain it and give up its place; harmless if that was done."""
        ...


class Node(Protocol):
    """An actor's place, or a supervisor's.

    Attributes:
        name: unique among its siblings.
        path: where it stands in the tree.
        restart: when it is started again.
        stop_s: seconds it may take to end.
        incarnation: how often it has lived.
        states: what it is in.
        lost: what was in hand when it last crashed.
    """

    name: str
    path: str
    restart: Restart
    stop_s: float
    incarnation: int
    states: States
    lost: tuple[LostMessage, ...]

    @property
    def is_drained(self) -> bool:
        """Whether nothing more can come, and nothing waits."""
        ...

    def doze(self, rouser: Waker) -> bool:
        """Begin a life without a task, if it needs none yet; `rouser` is told when it does."""
        ...

    def end_doze(self) -> bool:
        """End a life that has no task yet; whether there was one."""
        ...

    async def incarnate(self, started: Callable[[], None]) -> None:
        """Live once, or on from a doze; raises what it crashed with."""
        ...

    def open(self) -> None:
        """It will live again."""
        ...

    def drain(self) -> None:
        """Take no more work, finish what there is, and end."""
        ...

    def halt(self) -> None:
        """End after what is in hand; what waits, waits for the next life."""
        ...

    def close(self) -> None:
        """It will not live again, for now or for ever; whoever waits is told (R3)."""
        ...

    def snapshot(self, now: float) -> Snapshot:
        """What it looks like."""
        ...


@attrs.frozen
class TreeContext:
    """What all places of one tree share.

    Args:
        seed: all randomness is drawn from it (R13).
        instruments: what is told of everything that happens.
        deadlines: all there are.
        now: Trio's clock, without the way through Trio to it.
    """

    seed: str
    instruments: tuple[Instrument, ...] = ()
    deadlines: Deadlines = attrs.field(factory=Deadlines)
    now: Callable[[], float] = attrs.field(
        factory=lambda: trio.lowlevel.current_clock().current_time
    )
