"""The tree at one moment, as frozen values (R12)."""

import enum

import attrs

from .mailbox import MailboxStatistics
from .reply import Settlement

__all__ = ["ActorSnapshot", "CellState", "Doing", "RuntimeSnapshot", "Tally"]


class CellState(enum.Enum):
    """What an actor's place is in."""

    STARTING = "starting"
    RUNNING = "running"
    RESTARTING = "restarting"
    DRAINING = "draining"
    STOPPED = "stopped"


@attrs.define
class Tally:
    """How the messages of one actor ended (R9).

    Those its mailbox accepted and those that bypassed it are the sum of the others, without the
    late ones, and of what is pending.
    """

    bypassed: int = 0  # urgent messages and those of timers, which never are in the mailbox
    handled: int = 0
    failed: int = 0  # a declared error, or a crash
    cancelled: int = 0
    expired: int = 0
    dead_lettered: int = 0  # left in the mailbox when the actor stopped
    late: int = 0  # answers nobody waited for any more; these were handled, too

    def given_up(self, settlement: Settlement | None) -> None:
        """Count one that was skipped or interrupted because its slot was given up."""
        if settlement is Settlement.EXPIRED:
            self.expired += 1
        else:
            self.cancelled += 1


@attrs.frozen
class Doing:
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
        doing: what its handlers have in hand.
        held: messages it has put off answering.
        urgent: urgent messages and timers that wait.
        tally: how the messages it took in have ended so far (R9).
    """

    path: str
    state: CellState
    incarnation: int
    mailbox: MailboxStatistics
    oldest_s: float | None
    doing: tuple[Doing, ...]
    held: int
    urgent: int
    tally: Tally

    @property
    def pending(self) -> int:
        """Messages that were taken in and have not ended."""
        return self.mailbox.depth + self.urgent + len(self.doing)

    @property
    def is_conserved(self) -> bool:
        """Whether R9's sum holds: nothing that came in was lost or counted twice."""
        tally = self.tally
        ended = tally.handled + tally.failed + tally.cancelled + tally.expired + tally.dead_lettered
        return self.mailbox.accepted + tally.bypassed == ended + self.pending


@attrs.frozen
class RuntimeSnapshot:
    """A runtime at one moment.

    Args:
        name: the runtime's.
        at: when, in seconds on Trio's clock.
        restarts_left: crashes its supervisor would still answer with a restart.
        actors: in start order.
    """

    name: str
    at: float
    restarts_left: int
    actors: tuple[ActorSnapshot, ...]

    def __getitem__(self, path: str) -> ActorSnapshot:
        """The actor at `path`.

        Raises:
            KeyError: there is none.
        """
        for actor in self.actors:
            if actor.path == path:
                return actor
        raise KeyError(path)
