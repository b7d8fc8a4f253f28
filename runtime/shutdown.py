"""Plan and report a shutdown (R11)."""

from collections.abc import Iterator
from math import inf
from typing import Literal

import attrs

from ._core import ActorSnapshot, MessageCounts, Snapshot, State, SupervisorSnapshot


@attrs.frozen
class PlannedStop:
    """What a shutdown would do with one actor.

    Args:
        path: path of the actor.
        action: "drain": close the mailbox and handle the messages in it. "cancel": cancel at once.
        within_s: seconds that the actor may take; infinity if only the plan's deadline limits it.
        waiting: number of messages that wait for the actor.
        in_progress: number of messages that its handlers work on.
        deferred: number of messages whose reply it has deferred.
    """

    path: str
    action: Literal["drain", "cancel"]
    within_s: float
    waiting: int
    in_progress: int
    deferred: int

    def __str__(self) -> str:
        if self.action == "cancel":
            lost = f"{self.in_progress} in progress and {self.waiting} waiting"
            return f"cancel {self.path}: {lost} will be lost"
        within = "" if self.within_s == inf else f" within {self.within_s:g} s"
        return (
            f"drain {self.path}{within}: {self.in_progress} in progress, {self.waiting} waiting, "
            f"{self.deferred} deferred"
        )


@attrs.frozen
class ShutdownPlan:
    """What the end of the runtime's block would do.

    Args:
        deadline_s: seconds for the whole shutdown; what is left then is cancelled.
        stops: the actors, in the order in which they would be stopped.
    """

    deadline_s: float
    stops: tuple[PlannedStop, ...]

    def __str__(self) -> str:
        lines = [f"shutdown, {self.deadline_s:g} s in total:"]
        lines += [f"{number:3}. {stop}" for number, stop in enumerate(self.stops, 1)]
        return "\n".join(lines)


@attrs.frozen
class StopReport:
    """What happened to the messages of one actor during the shutdown.

    Args:
        path: path of the actor.
        drained: number of messages that were handled, or failed with a declared error.
        expired: number of messages whose deadline passed or whose caller was cancelled.
        lost: number of messages that were interrupted or never started.
    """

    path: str
    drained: int
    expired: int
    lost: int

    @property
    def is_clean(self) -> bool:
        """Whether no message was lost."""
        return self.lost == 0

    def __str__(self) -> str:
        return f"{self.path}: {self.drained} drained, {self.expired} expired, {self.lost} lost"


@attrs.frozen
class ShutdownReport:
    """What happened to all messages during the shutdown.

    Args:
        seconds: duration of the shutdown, in seconds.
        stops: the actors, in the order in which they were stopped.
    """

    seconds: float
    stops: tuple[StopReport, ...]

    @property
    def is_clean(self) -> bool:
        """Whether no message was lost."""
        return all(stop.is_clean for stop in self.stops)

    def __str__(self) -> str:
        lines = [f"shut down in {self.seconds:.2f} s:"]
        lines += [f"  {stop}" for stop in self.stops]
        return "\n".join(lines)

    @classmethod
    def of(
        cls, before: SupervisorSnapshot, after: SupervisorSnapshot, seconds: float
    ) -> "ShutdownReport":
        """Compute the report from the tree before and after the shutdown.

        Args:
            before: the root when the shutdown began.
            after: the root when it had ended.
            seconds: duration of the shutdown, in seconds.
        """
        counts_before = {actor.path: actor.counts for actor, _ in _actors(before)}
        stops = [
            _report(actor.path, counts_before.get(actor.path, MessageCounts()), actor.counts)
            for actor, _ in _actors(after)
        ]
        return cls(seconds, tuple(stops))


def plan_shutdown(root: SupervisorSnapshot, deadline_s: float) -> ShutdownPlan:
    """Return the plan: the last started actor first, and a supervisor's children together.

    Args:
        root: the root of the tree.
        deadline_s: seconds for the whole shutdown.
    """
    return ShutdownPlan(
        deadline_s,
        tuple(
            PlannedStop(
                path=actor.path,
                action="drain" if within_s > 0 else "cancel",
                within_s=within_s,
                waiting=actor.mailbox.depth + actor.urgent,
                in_progress=len(actor.in_progress),
                deferred=actor.deferred,
            )
            for actor, within_s in _actors(root)
            if actor.state is not State.STOPPED
        ),
    )


def _actors(node: Snapshot, limit_s: float = inf) -> Iterator[tuple[ActorSnapshot, float]]:
    """Yield the actors below a node, the last started first, with their time limits in seconds."""
    limit_s = min(limit_s, node.stop_s)
    if isinstance(node, ActorSnapshot):
        yield node, limit_s  # it drains before its own children, which it may need
    for child in reversed(node.children):
        yield from _actors(child, limit_s)


def _report(path: str, was: MessageCounts, now: MessageCounts) -> StopReport:
    return StopReport(
        path=path,
        drained=now.handled + now.failed - was.handled - was.failed,
        expired=now.expired + now.cancelled - was.expired - was.cancelled,
        lost=now.dead_lettered - was.dead_lettered,
    )
