"""Shutdown is a plan (R11): it can be read beforehand, and afterwards it says what became of it."""

from collections.abc import Iterator
from math import inf
from typing import Literal

import attrs

from ._core import ActorSnapshot, MessageCounts, Snapshot, State, SupervisorSnapshot

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
        """Compare what was left of the tree with what it was when the shutdown began."""
        tallies = {actor.path: actor.counts for actor, _ in _actors(before)}
        stops = [
            _report(actor.path, tallies.get(actor.path, MessageCounts()), actor.counts)
            for actor, _ in _actors(after)
        ]
        return cls(seconds, tuple(stops))


def plan_shutdown(root: SupervisorSnapshot, deadline_s: float) -> ShutdownPlan:
    """What would be done, the last started first; below a supervisor, its children first."""
    return ShutdownPlan(
        deadline_s,
        tuple(
            PlannedStop(
                path=actor.path,
                action="drain" if within_s > 0 else "cancel",
                within_s=within_s,
                waiting=actor.mailbox.depth + actor.urgent,
                in_hand=len(actor.in_progress),
                held=actor.held,
            )
            for actor, within_s in _actors(root)
            if actor.state is not State.STOPPED
        ),
    )


def _actors(node: Snapshot, limit_s: float = inf) -> Iterator[tuple[ActorSnapshot, float]]:
    """Those at and below a node, the last started first, each with the seconds it has at most."""
    limit_s = min(limit_s, node.stop_s)
    if isinstance(node, ActorSnapshot):
        yield node, limit_s
    else:
        for child in reversed(node.children):
            yield from _actors(child, limit_s)


def _report(path: str, was: MessageCounts, now: MessageCounts) -> StopReport:
    return StopReport(
        path=path,
        drained=now.handled + now.failed - was.handled - was.failed,
        expired=now.expired + now.cancelled - was.expired - was.cancelled,
        lost=now.dead_lettered - was.dead_lettered,
    )
