"""What a supervisor keeps: a place in the tree that lives again and again."""

from collections.abc import Callable
from typing import Protocol

from .lost import Lost
from .snapshot import Snapshot
from .states import States
from .strategy import Restart

__all__ = ["Keeper", "Node", "Rouser"]


class Rouser(Protocol):
    """Whoever gives a life its task, when it needs one."""

    def rouse(self) -> None:
        """Start to run `Node.incarnate`."""
        ...


class Keeper(Protocol):
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
    lost: tuple[Lost, ...]

    @property
    def is_drained(self) -> bool:
        """Whether nothing more can come, and nothing waits."""
        ...

    def doze(self, rouser: Rouser) -> bool:
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
