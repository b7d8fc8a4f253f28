"""Shutdown is a plan (R11): it can be read beforehand, and afterwards it says what became of it."""

from collections.abc import Iterator
from math import inf
from typing import Literal

import attrs

from .snapshot import ActorSnapshot, Snapshot, State, SupervisorSnapshot

__all__ = ["PlannedStop", "ShutdownPlan", "ShutdownReport", "StopReport", "plan_shutdown"]


@attrs.frozen
class PlannedStop:
    """What will be done about one actor.

    Args:
        path: the actor's.
        action: stop its intake and let it finish what there is; or cancel it at once.
        within_s: seconds that takes at most; infinity if only the deadline of all ends it.
        waiting: messages it has to do first.
        in_hand: messages that its handlers have now.
        held: messages it has put off answering.
    """

    path: str
    action: Literal["drain", "cancel"]
    within_s: float
    waiting: int
    in_hand: int
    held: int

    def __str__(self) -> str:
        if self.action == "cancel":
            return f"cancel {self.path}: {self.in_hand} in hand, {self.waiting} waiting are lost"
        within = "" if self.within_s == inf else f" within {self.within_s:g} s"
        return (
            f"drain {self.path}{within}: {self.in_hand} in hand, {self.waiting} waiting, "
            f"{self.held} held"
        )


@attrs.frozen
class ShutdownPlan:
    """What leaving the block would do.

    Args:
        deadline_s: seconds for all of it; then whatever is left is cancelled.
        stops: in the order in which they would be made.
    """

    deadline_s: float
    stops: tuple[PlannedStop, ...]

    def __str__(self) -> str:
        lines = [f"shutdown, {self.deadline_s:g} s for all:"]
        lines += [f"{number:3}. {stop}" for number, stop in enumerate(self.stops, 1)]
        return "\n".join(lines)


@attrs.frozen
class StopReport:
    """What became of the work of one actor during the shutdown.

    Args:
        path: the actor's.
        drained: messages that were handled, or failed by a declared error.
        expired: messages whose deadline passed, or whose asker went away.
        lost: messages that were cut off or never begun.
        is_clean: nothing was lost.
    """

    path: str
    drained: int
    expired: int
    lost: int

    @property
    def is_clean(self) -> bool:
        """Whether nothing was lost."""
        return self.lost == 0

    def __str__(self) -> str:
        return f"{self.path}: {self.drained} drained, {self.expired} expired, {self.lost} lost"


@attrs.frozen
class ShutdownReport:
    """What became of everything.

    Args:
        seconds: how long it took.
        stops: in the order in which they were made.
    """

    seconds: float
    stops: tuple[StopReport, ...]

    @property
    def is_clean(self) -> bool:
        """Whether nothing was lost."""
        return all(stop.is_clean for stop in self.stops)

    def __str__(self) -> str:
        lines = [f"shut down in {self.seconds:.2f} s:"]
        lines += [f"  {stop}" for stop in self.stops]
        return "\n".join(lines)

    @classmethod
    def of(
        cls, before: SupervisorSnapshot, after: SupervisorSnapshot, seconds: float
    ) -> "ShutdownReport":
        """Compare the tree as it was when the shutdown began with what was left of it."""
        afterwards = {actor.path: actor for actor in _actors(after)}
        stops = [
            _report(actor, afterwards[actor.path])
            for actor in _actors(before)
            if actor.path in afterwards
        ]
        return cls(seconds, tuple(stops))


def plan_shutdown(root: SupervisorSnapshot, deadline_s: float) -> ShutdownPlan:
    """What would be done, the last started first; below a supervisor, its children first."""
    return ShutdownPlan(
        deadline_s,
        tuple(
            PlannedStop(
                path=actor.path,
                action="drain" if actor.stop_s > 0 else "cancel",
                within_s=actor.stop_s,
                waiting=actor.mailbox.depth + actor.urgent,
                in_hand=len(actor.doing),
                held=actor.held,
            )
            for actor in _actors(root)
            if actor.state is not State.STOPPED
        ),
    )


def _actors(node: Snapshot) -> Iterator[ActorSnapshot]:
    """Those at and below a node, the last started first."""
    if isinstance(node, ActorSnapshot):
        yield node
    else:
        for child in reversed(node.children):
            yield from _actors(child)


def _report(before: ActorSnapshot, after: ActorSnapshot) -> StopReport:
    was, now = before.tally, after.tally
    # A handler that is cut off with nobody waiting any more loses nothing that anyone misses; one
    # that is cut off by the shutdown itself counts as cancelled only once it has begun.
    cut_off = min(now.cancelled - was.cancelled, len(before.doing) + before.pending)
    lost = now.dead_lettered - was.dead_lettered + cut_off
    return StopReport(
        path=before.path,
        drained=now.handled + now.failed - was.handled - was.failed,
        expired=now.expired - was.expired,
        lost=lost,
    )
