"""The tree at one moment, as frozen values (R12)."""

import enum
from collections.abc import Iterator

import attrs

from .mailbox import MailboxStatistics
from .reply import Outcome
from .states import Strategy

__all__ = [
    "ActorSnapshot",
    "InProgress",
    "MessageCounts",
    "RuntimeSnapshot",
    "Snapshot",
    "State",
    "SupervisorSnapshot",
]


class State(enum.Enum):
    """What a place in the tree is in."""

    STARTING = "starting"
    RUNNING = "running"
    RESTARTING = "restarting"
    DRAINING = "draining"
    STOPPED = "stopped"


@attrs.define
class MessageCounts:
    """How the messages of one actor have ended (R9).

    Those that were accepted and those that bypassed the mailbox are the sum of the others, but for
    `late`, and of what is pending.

    Attributes:
        accepted: taken into the mailbox.
        bypassed: never in the mailbox: urgent ones, those of timers, those dropped at the door.
        handled: the handler came to its end.
        failed: it raised a declared error, or crashed.
        cancelled: the asker was cancelled, or the life whose timer it was is over.
        expired: the deadline passed.
        dropped: for want of room (R5).
        dead_lettered: cut off or left over when the actor was stopped.
        late: answers that nobody waited for any more; these were handled, too.
    """

    accepted: int = 0
    bypassed: int = 0
    handled: int = 0
    failed: int = 0
    cancelled: int = 0
    expired: int = 0
    dropped: int = 0
    dead_lettered: int = 0
    late: int = 0

    @property
    def ended(self) -> int:
        """Messages that have come to an end."""
        return (
            self.handled
            + self.failed
            + self.cancelled
            + self.expired
            + self.dropped
            + self.dead_lettered
        )

    def given_up(self, outcome: Outcome | None) -> None:
        """Count one that was skipped or interrupted because its slot was given up."""
        if outcome is Outcome.EXPIRED:
            self.expired += 1
        else:
            self.cancelled += 1


@attrs.frozen
class InProgress:
    """A message in a handler's hands.

    Args:
        message: the name of its type.
        seconds: for how long.
    """

    message: str
    seconds: float


@attrs.frozen
class ActorSnapshot:
    """One actor at one moment.

    Args:
        path: where it stands in the tree.
        state: what its place is in.
        incarnation: how often it has been started.
        mailbox: depth, capacity, waiting senders.
        oldest_s: for how many seconds the oldest message has waited; None if none waits.
        in_progress: what its handlers have in hand.
        held: messages it has put off answering.
        urgent: messages that wait before the mailbox: urgent ones, timers, redelivered ones.
        stop_s: seconds it may take to end when it is stopped.
        counts: how the messages it took in have ended so far (R9).
    """

    path: str
    state: State
    incarnation: int
    mailbox: MailboxStatistics
    oldest_s: float | None
    in_progress: tuple[InProgress, ...]
    held: int
    urgent: int
    stop_s: float
    counts: MessageCounts

    @property
    def pending(self) -> int:
        """Messages that were taken in and have not ended."""
        return self.mailbox.depth + self.urgent + len(self.in_progress)

    @property
    def is_conserved(self) -> bool:
        """Whether R9's sum holds: nothing that came in was lost or counted twice."""
        return self.counts.accepted + self.counts.bypassed == self.counts.ended + self.pending


@attrs.frozen
class SupervisorSnapshot:
    """One supervisor at one moment, with all below it.

    Args:
        path: where it stands in the tree.
        state: what its place is in.
        incarnation: how often it has been started.
        strategy: whom it restarts with a child that has crashed.
        restarts_left: crashes it would still answer with a restart.
        stop_s: seconds that all below it may take to end when it is stopped.
        children: in start order.
    """

    path: str
    state: State
    incarnation: int
    strategy: Strategy
    restarts_left: int
    stop_s: float
    children: tuple["Snapshot", ...]


Snapshot = ActorSnapshot | SupervisorSnapshot


@attrs.frozen
class RuntimeSnapshot:
    """A runtime at one moment.

    Args:
        at: when, in seconds on Trio's clock.
        root: the supervisor that everything is below.
    """

    at: float
    root: SupervisorSnapshot

    def __iter__(self) -> Iterator[Snapshot]:
        """Every node, each before those below it."""
        nodes: list[Snapshot] = [self.root]
        while nodes:
            node = nodes.pop(0)
            yield node
            if isinstance(node, SupervisorSnapshot):
                nodes[:0] = node.children

    def __getitem__(self, path: str) -> ActorSnapshot:
        """The actor at `path`.

        Raises:
            KeyError: there is none.
        """
        for actor in self.actors:
            if actor.path == path:
                return actor
        raise KeyError(path)

    @property
    def actors(self) -> tuple[ActorSnapshot, ...]:
        """Every actor, in start order."""
        return tuple(node for node in self if isinstance(node, ActorSnapshot))

    @property
    def restarts_left(self) -> int:
        """Crashes that the root would still answer with a restart."""
        return self.root.restarts_left
