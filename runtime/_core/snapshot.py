"""The tree at one moment, as frozen values (R12)."""

import enum
from collections.abc import Iterator
from typing import Literal

import attrs

Strategy = Literal["one_for_one", "one_for_all", "rest_for_one"]
"""Which children a supervisor restarts after a crash: the one that crashed ("one_for_one"), all of
them ("one_for_all"), or the one that crashed and those started after it ("rest_for_one")."""

STRATEGIES: tuple[Strategy, ...] = ("one_for_one", "one_for_all", "rest_for_one")

StopOrder = Literal["reverse", "together"]
"""How a supervisor stops its children: one after another, the last started first ("reverse"), or
side by side ("together")."""

STOP_ORDERS: tuple[StopOrder, ...] = ("reverse", "together")


class Outcome(enum.Enum):
    """How the slot of a message was filled."""

    REPLIED = "replied"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class State(enum.Enum):
    """The state of an actor or supervisor."""

    STARTING = "starting"
    RUNNING = "running"
    RESTARTING = "restarting"
    DRAINING = "draining"
    STOPPING = "stopping"
    STOPPED = "stopped"


EndReason = Literal["stopped", "crashed", "gave up"]
"""Why an actor has stopped: it was asked to, or ended by itself ("stopped"); it crashed and is not
restarted ("crashed"); or it or a supervisor above it crashed too often ("gave up")."""


@attrs.frozen
class Ended:
    """The end of an actor, for good or until it is started again.

    Args:
        path: path of the actor.
        reason: why it has stopped.
        error: the exception of the crash, or the supervisor's `RestartIntensityExceeded`; None if
            the actor was stopped.
    """

    path: str
    reason: EndReason
    error: Exception | None = None


@attrs.define
class MessageCounts:
    """How many messages of one actor ended in which way (R9).

    `accepted` + `bypassed` is the sum of the others up to `dead_lettered`, and of the pending
    messages.

    Attributes:
        accepted: messages that the mailbox accepted.
        bypassed: messages that were never in the mailbox: urgent ones, those of timers, and those
            of `drop_newest`.
        handled: messages whose handler returned.
        failed: messages whose handler raised a declared error, or crashed.
        cancelled: messages whose caller was cancelled, or whose timer's incarnation ended.
        expired: messages whose deadline passed.
        dropped: messages that were dropped because the mailbox was full (R5).
        dead_lettered: messages in progress or still queued when the actor was stopped.
        late: replies to callers that had given up; these messages are counted as handled, too.
        crashed: messages whose handler crashed; they are counted as failed, too.
        unanswered: messages whose deferred reply the actor's end left open; they are counted as
            handled, too.
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
    crashed: int = 0
    unanswered: int = 0

    @property
    def ended(self) -> int:
        """The number of messages that have ended."""
        return (
            self.handled
            + self.failed
            + self.cancelled
            + self.expired
            + self.dropped
            + self.dead_lettered
        )

    def count_abandoned(self, outcome: Outcome | None) -> None:
        """Count a message that was skipped or interrupted because its caller gave up.

        Args:
            outcome: the outcome of its slot.
        """
        if outcome is Outcome.EXPIRED:
            self.expired += 1
        else:
            self.cancelled += 1


@attrs.frozen
class MailboxStatistics:
    """The state of a mailbox at one moment, named as in Trio's channel statistics.

    Args:
        depth: number of messages that wait, without those whose caller has given up.
        capacity: how many messages may wait.
        senders_waiting: number of tasks that wait for room.
        accepted: number of messages accepted since the mailbox was made.
        peak: the largest depth so far.
        oldest_at: when the oldest waiting message was accepted, in seconds on Trio's clock; None if
            no message waits.
    """

    depth: int
    capacity: int
    senders_waiting: int
    accepted: int
    peak: int
    oldest_at: float | None


@attrs.frozen
class InProgress:
    """A message that a handler works on.

    Args:
        message: name of the message's type.
        seconds: seconds since the handler started.
    """

    message: str
    seconds: float


@attrs.frozen
class ActorSnapshot:
    """One actor at one moment.

    Args:
        path: the names from the root down to the actor, joined with "/".
        state: the actor's state.
        incarnation: number of incarnations so far.
        mailbox: depth, capacity and waiting senders of the mailbox.
        oldest_s: seconds that the oldest message has waited; None if no message waits.
        in_progress: the messages that its handlers work on.
        deferred: number of messages whose reply the actor has deferred.
        urgent: number of messages that wait outside the mailbox: urgent ones, timers and
            redelivered ones.
        stop_s: seconds that the actor may take to stop.
        counts: how its messages have ended so far (R9).
        children: the children of its last incarnation, in start order (R15).
        size: how many members a pool has; None for an actor.
        class_name: name of the actor's class, or of that of a pool's members; "" if it is not known
            because no incarnation runs and the factory is a function.
        member_restarts: how often members of a pool were started again; 0 for an actor.
    """

    path: str
    state: State
    incarnation: int
    mailbox: MailboxStatistics
    oldest_s: float | None
    in_progress: tuple[InProgress, ...]
    deferred: int
    urgent: int
    stop_s: float
    counts: MessageCounts
    children: tuple["Snapshot", ...] = ()
    size: int | None = None
    class_name: str = ""
    member_restarts: int = 0

    @property
    def restarts(self) -> int:
        """How often it was started again, the members of a pool included."""
        return max(0, self.incarnation - 1) + self.member_restarts

    @property
    def pending(self) -> int:
        """The number of messages that were accepted and have not ended."""
        return self.mailbox.depth + self.urgent + len(self.in_progress)

    @property
    def is_conserved(self) -> bool:
        """Whether R9's sum holds: no message was lost or counted twice."""
        return self.counts.accepted + self.counts.bypassed == self.counts.ended + self.pending


@attrs.frozen
class SupervisorSnapshot:
    """One supervisor at one moment, with everything below it.

    Args:
        path: the names from the root down to the supervisor, joined with "/".
        state: the supervisor's state.
        incarnation: number of incarnations so far.
        strategy: which children it restarts together.
        restarts_left: how many more crashes lead to a restart at this moment.
        stop_s: seconds that everything below it may take to stop.
        children: the children, in start order.
        stop_order: whether it stops them one after another, or side by side.
    """

    path: str
    state: State
    incarnation: int
    strategy: Strategy
    restarts_left: int
    stop_s: float
    children: tuple["Snapshot", ...]
    stop_order: StopOrder

    @property
    def restarts(self) -> int:
        """How often it was started again."""
        return max(0, self.incarnation - 1)


Snapshot = ActorSnapshot | SupervisorSnapshot
"""An actor or a supervisor at one moment."""


@attrs.frozen
class CrashSnapshot:
    """A crash of an actor, a supervisor or a member of a pool.

    Args:
        path: the names from the root down to what crashed, joined with "/".
        at: when it crashed, in seconds on Trio's clock.
        kind: name of the class of the exception.
        text: the message of the exception, of which the first 1,000 characters are kept.
    """

    path: str
    at: float
    kind: str
    text: str


@attrs.frozen
class RuntimeSnapshot:
    """A runtime at one moment.

    Args:
        at: the time of the snapshot, in seconds on Trio's clock.
        root: the supervisor above all others.
        crashes: the last 50 crashes, the latest last.
    """

    at: float
    root: SupervisorSnapshot
    crashes: tuple[CrashSnapshot, ...] = ()

    def __iter__(self) -> Iterator[Snapshot]:
        """Iterate over all nodes, each before those below it."""
        nodes: list[Snapshot] = [self.root]
        while nodes:
            node = nodes.pop(0)
            yield node
            nodes[:0] = node.children

    def __getitem__(self, path: str) -> ActorSnapshot:
        """Return the actor at `path`.

        Args:
            path: the names from the root down to the actor, joined with "/".

        Raises:
            KeyError: there is no actor at this path.
        """
        for actor in self.actors:
            if actor.path == path:
                return actor
        raise KeyError(path)

    @property
    def actors(self) -> tuple[ActorSnapshot, ...]:
        """All actors, in start order."""
        return tuple(node for node in self if isinstance(node, ActorSnapshot))

    @property
    def restarts_left(self) -> int:
        """How many more crashes of its children the root answers with a restart at this moment."""
        return self.root.restarts_left
