"""The senders that wait for room in a mailbox, in the order in which they get it (R5)."""

import heapq
import itertools
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, final

import trio
from trio.lowlevel import current_task

from .instruments import MessageOutcome
from .queues import Envelope
from .reply import ReplySlot

if TYPE_CHECKING:
    from .mailbox import Mailbox
    from .worker import Worker


@final
class MailboxSender:
    """A task that waits for room; it has the slot of its message meanwhile (`ReplySlot.holder`)."""

    __slots__ = ("envelope", "error", "is_waiting", "key", "mailbox", "task")

    def __init__(self, mailbox: "Mailbox", envelope: Envelope, key: Any) -> None:  # noqa: ANN401  # see Queue
        self.mailbox = mailbox
        self.envelope = envelope
        self.key = key
        self.task: trio.lowlevel.Task = current_task()
        self.is_waiting = True
        self.error: Exception | None = None  # why the message was not accepted

    @property
    def path(self) -> str:
        """The path of the actor that the message is for."""
        return self.mailbox.path

    @property
    def blockers(self) -> "Sequence[Worker]":
        """See `Mailbox.blockers`."""
        return self.mailbox.blockers

    def blockers_of(self, slot: ReplySlot[Any]) -> "Sequence[Worker]":  # noqa: ARG002  # see `Mailbox`
        """The workers of which one must continue before the message of a slot does."""
        return self.blockers

    def end(self, outcome: MessageOutcome, error: Exception | None = None) -> None:
        """Report to the instruments, if there are any, that the message was not accepted."""
        trace = self.envelope[3]
        if trace is not None:
            trace.end(self.path, trio.current_time(), outcome, error)

    def released(self, slot: ReplySlot[Any]) -> None:  # noqa: ARG002  # it has one slot
        """The caller has given up, so the sender waits no longer (R4)."""
        self.mailbox.withdraw(self)


@final
class SenderLine:
    """Senders by priority, or first come, first served; pure (R14).

    Args:
        is_ranked: whether their messages have priorities.
    """

    __slots__ = ("_arrivals", "_ranked", "_waiting")

    def __init__(self, *, is_ranked: bool) -> None:
        # Ordered: a plain dict takes ever longer to find its first item.
        self._waiting: OrderedDict[MailboxSender, None] = OrderedDict()
        # (priority, order of arrival, sender); one that has left stays until it comes first.
        self._ranked: list[tuple[float, int, MailboxSender]] | None = [] if is_ranked else None
        self._arrivals = itertools.count()

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[MailboxSender]:
        """Iterate over the senders in the order in which they came."""
        return iter(self._waiting)

    def add(self, sender: MailboxSender, rank: float) -> None:
        """Add a sender whose message has a priority; without priorities it does not matter."""
        self._waiting[sender] = None
        if self._ranked is not None:
            heapq.heappush(self._ranked, (rank, next(self._arrivals), sender))

    def remove(self, sender: MailboxSender) -> None:
        """Remove a sender."""
        sender.is_waiting = False
        del self._waiting[sender]
        ranked = self._ranked
        if ranked is not None and len(ranked) > 2 * len(self._waiting) + 8:  # most have left
            ranked[:] = [one for one in ranked if one[2].is_waiting]
            heapq.heapify(ranked)

    def first(self) -> MailboxSender:
        """Return the sender whose turn it is; the line is not empty."""
        if self._ranked is None:
            return next(iter(self._waiting))
        while not self._ranked[0][2].is_waiting:
            heapq.heappop(self._ranked)
        return self._ranked[0][2]
