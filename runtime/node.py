"""What a supervisor keeps: a place in the tree that lives again and again."""

from collections.abc import Callable
from typing import Protocol

from .lost import Lost
from .snapshot import Snapshot
from .states import States
from .strategy import Restart

__all__ = ["Node"]


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

    async def incarnate(self, started: Callable[[], None]) -> None:
        """Live once; raises what it crashed with."""
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
