"""Plan and report a shutdown (R11)."""

from collections.abc import Iterable, Iterator
from math import inf
from typing import Literal, final

import attrs

from ._core import ActorSnapshot, Cell, MessageCounts, Node, Snapshot, State, SupervisorSnapshot


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
        together: paths of the supervisors above that stop their children side by side, the root
            first.
    """

    path: str
    action: Literal["drain", "cancel"]
    within_s: float
    waiting: int
    in_progress: int
    deferred: int
    together: tuple[str, ...] = ()

    def __str__(self) -> str:
        how = f" side by side in {' and '.join(self.together)}" if self.together else ""
        if self.action == "cancel":
            lost = f"{self.in_progress} in progress and {self.waiting} waiting"
            return f"cancel {self.path}{how}: {lost} will be lost"
        within = "" if self.within_s == inf else f" within {self.within_s:g} s"
        return (
            f"drain {self.path}{within}{how}: {self.in_progress} in progress, "
            f"{self.waiting} waiting, {self.deferred} deferred"
        )


@attrs.frozen
class ShutdownPlan:
    """What the end of the runtime's block would do.

    Args:
        deadline_s: seconds for the whole shutdown; what is left then is cancelled.
        stops: the actors, in the order in which they would be stopped; those below a supervisor
            whose ``stop_order`` is "together" are stopped side by side.
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
        drained: number of messages that were handled, replied to if a reply was deferred, or failed
            with a declared error.
        expired: number of messages whose deadline passed or whose caller was cancelled.
        lost: number of messages that crashed the actor, were interrupted, never started, or were
            not replied to.
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


@final
class ShutdownRecord:
    """Counts what happens to the messages of all actors while the runtime shuts down.

    Actors that are added or leave the tree meanwhile count too: an actor that crashes in the drain
    takes its children with it, and its next incarnation starts others, with the same paths.

    Args:
        root: the root of the tree, when the shutdown begins.
        now: the current time on Trio's clock, in seconds.
    """

    def __init__(self, root: Node, now: float) -> None:
        self._began = now
        # The counts and the number of deferred messages of each, in the order of stops.
        self._before: dict[Node, tuple[MessageCounts, int]] = {}
        for node in _nodes(root):
            snapshot = node.snapshot(now)
            if isinstance(snapshot, ActorSnapshot):
                self._before[node] = snapshot.counts, snapshot.deferred

    def add(self, node: Node) -> None:
        """Note that a node was added to the tree."""
        self._before[node] = MessageCounts(), 0

    def report(self, now: float) -> ShutdownReport:
        """Return what has happened until `now`, which is when everything has stopped."""
        stops: dict[str, StopReport] = {}
        for node, (was, deferred) in self._before.items():
            snapshot = node.snapshot(now)
            if not isinstance(snapshot, ActorSnapshot):
                continue
            stop = _report(node.path, was, deferred, snapshot.counts)
            other = stops.get(node.path)  # an actor that had the path before
            stops[node.path] = stop if other is None else _sum(other, stop)
        return ShutdownReport(now - self._began, tuple(stops.values()))


def _nodes(node: Node) -> Iterator[Node]:
    """Yield a node and those below it, the last started first."""
    yield node
    if isinstance(node, Cell):
        below: Iterable[Node] = () if node.group is None else node.group.nodes
    else:
        found = (node.find_child(name) for name in node.child_names)
        below = (child for child in found if child is not None)
    for child in reversed(tuple(below)):
        yield from _nodes(child)


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
                together=together,
            )
            for actor, within_s, together in _actors(root)
            if actor.state is not State.STOPPED
        ),
    )


def _actors(
    node: Snapshot, limit_s: float = inf, together: tuple[str, ...] = ()
) -> Iterator[tuple[ActorSnapshot, float, tuple[str, ...]]]:
    """Yield the actors below a node, the last started first.

    Each comes with its time limit in seconds, and the supervisors above it that stop their
    children side by side.
    """
    limit_s = min(limit_s, node.stop_s)
    if isinstance(node, SupervisorSnapshot):
        if node.stop_order == "together":
            together = (*together, node.path)
    else:
        yield node, limit_s, together  # it drains before its own children, which it may need
    for child in reversed(node.children):
        yield from _actors(child, limit_s, together)


def _sum(one: StopReport, other: StopReport) -> StopReport:
    return StopReport(
        path=one.path,
        drained=one.drained + other.drained,
        expired=one.expired + other.expired,
        lost=one.lost + other.lost,
    )


def _report(path: str, was: MessageCounts, deferred: int, now: MessageCounts) -> StopReport:
    unanswered = now.unanswered - was.unanswered
    crashed = now.crashed - was.crashed
    undone = crashed + max(0, unanswered - deferred)  # the others were handled before
    return StopReport(
        path=path,
        drained=now.handled + now.failed - was.handled - was.failed - undone,
        expired=now.expired + now.cancelled - was.expired - was.cancelled,
        lost=now.dead_lettered - was.dead_lettered + unanswered + crashed,
    )
