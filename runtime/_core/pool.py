"""A pool's inbox, and its members: cells whose incarnations take messages from it.

An idle worker of any member takes the next message; no message belongs to a worker before. A put
wakes one idle worker, and a worker that takes a message wakes another one if more wait.
"""

from abc import abstractmethod
from collections.abc import Sequence
from math import inf
from typing import Never, final

import attrs
import trio
from trio.lowlevel import reschedule

from .actor import Actor
from .cell import Cell
from .checks import check_size, check_thread
from .inbox import Inbox, Spec
from .incarnation import Incarnation
from .keyed import Line
from .node import Node, Stopper, TreeContext
from .ref import M_contra, Ref
from .snapshot import ActorSnapshot
from .worker import Worker


@final
class PoolRef(Ref[M_contra]):
    """A reference to a pool: a `Ref` to all its members together.

    Args:
        pool: the pool's place in the tree.
    """

    __slots__ = ("_pool",)

    def __init__(self, pool: "PoolInbox") -> None:
        super().__init__(pool)
        self._pool = pool

    @property
    def size(self) -> int:
        """How many members the pool is to have, those that are restarting included."""
        return self._pool.size

    def resize(self, size: int) -> None:
        """Change the number of members.

        New members start in the background; one that cannot start is restarted like one that has
        crashed. Members that are too many, the last started first, end after their messages in
        progress, within the pool's `stop_s`. The messages in the mailbox stay there for the others.

        Args:
            size: the new number of members.

        Raises:
            RuntimeError: the current thread does not run Trio.
            ValueError: `size` is not a whole number of at least 1.
        """
        check_thread(self._pool)
        check_size(size)
        self._pool.resize(size)


class PoolInbox(Inbox):
    """What the ref of a pool sends to; its members share all of it.

    Args:
        spec: the settings of the pool and of each member.
        parent: path of the supervisor.
        shared: what all nodes of the tree share.
        stopper: stops the pool when `Runtime.stop` is called.
    """

    __slots__ = (
        "_has_woken_all",
        "_start_after",
        "dozing",
        "full",
        "member_restarts",
        "size",
    )

    def __init__(self, spec: Spec, parent: str, shared: TreeContext, stopper: Stopper) -> None:
        super().__init__(spec, parent, shared, stopper)
        self.size = 0  # how many members it is to have
        self.member_restarts = 0
        self.full: list[trio.lowlevel.Task] = []  # see `Cell.full`
        self.dozing: list[Member] = []  # started, but without a task until a message arrives
        self._has_woken_all = False  # since the mailbox was drained
        self._start_after: Node | None = None

    @abstractmethod
    def resize(self, size: int) -> None:
        """See `PoolRef.resize`."""

    @property
    @abstractmethod
    def members(self) -> "Sequence[Member]":
        """All members, those that are restarting included."""

    @property
    def load(self) -> int:
        """The number of messages that wait or are in progress."""
        busy = sum(one.current.busy for one in self.members if one.current is not None)
        return len(self.mailbox) + len(self.urgent) + len(self.redeliveries) + busy

    @property
    def tries_left(self) -> int:
        """How often a handler may still be called, also again for the messages in progress.

        It falls with each delivery. A crash does not raise it, as `work_left` does when the message
        of another member comes back.
        """
        tries = self.spec.redeliver
        return self.work_left + sum(
            tries - one.tries for one in self.working if one.message is not None
        )

    @property
    def blockers(self) -> Sequence[Worker]:
        """The workers that take messages from here; empty if one is free (see `find_cycle`)."""
        if self.parked or self.full or self.dozing:
            return ()
        if self._start_after is not None and all(one.current is None for one in self.members):
            return self._start_after.working
        workers: list[Worker] = []
        for member in self.members:
            current = member.current
            if current is not None and current.hook is not None:
                workers.append(current.hook)
            elif current is None or len(current.workers) < self.spec.concurrency:
                return ()
            else:
                workers += current.workers
        return workers

    def workers_with(self, line: Line) -> Sequence[Worker]:
        """See `Inbox`."""
        currents = [one.current for one in self.members if one.current is not None]
        return [worker for current in currents for worker in current.workers if worker.key is line]

    @property
    def working(self) -> Sequence[Worker]:
        """See `Node`."""
        return [worker for member in self.members for worker in member.working]

    def start_after(self, other: Node | None) -> None:
        """See `Node`."""
        self._start_after = other

    # ---------------------------------------------------------------- who takes what waits

    def rouse(self) -> None:
        """See `Inbox`."""
        if self.dozing:
            self.dozing[0].rouse()
        elif self.full and (self.urgent or self.redeliveries):
            reschedule(self.full.pop())
        self.is_idle = bool(self.dozing or self.full)

    def pass_on(self) -> None:
        """Let an idle worker take what waits, if there is one that may be taken."""
        if not (self.urgent or self.redeliveries or self.mailbox.can_take):
            return
        if self.parked:
            reschedule(self.parked.pop())
        elif self.is_idle:
            self.rouse()

    def doze(self, member: "Member") -> None:
        """Note that a member has started without a task."""
        self.dozing.append(member)
        self.is_idle = True

    def note_idle(self, *, is_full: bool) -> None:
        """Note that a worker has found nothing to take.

        Args:
            is_full: whether messages may wait, but the worker's actor has deferred too many.
        """
        if is_full:
            self.is_idle = True
            self.pass_on()
        if self.is_drained and not self._has_woken_all:
            self._has_woken_all = True
            self.wake_all()

    def wake_all(self) -> None:
        """Let all idle workers check whether they must end."""
        for line in (self.parked, self.full):
            tasks = list(line)
            line.clear()
            for task in tasks:
                reschedule(task)

    # ---------------------------------------------------------------- open and closed

    def open(self) -> None:
        """See `Inbox`."""
        super().open()
        self._has_woken_all = False
        self._share()

    def close_intake(self) -> None:
        """Accept no more messages; those that wait can still be taken."""
        self.is_open = False
        self.mailbox.close()
        self._share()
        self.wake_all()

    def _share(self) -> None:
        for member in self.members:
            member.share()

    def snapshot_with(self, now: float, size: int, stop_s: float) -> ActorSnapshot:
        """Return the state of the whole pool at this moment, as that of one actor (R12)."""
        mailbox = self.mailbox.statistics()
        members = [member.snapshot(now) for member in self.members]
        due = sum(len(one.current.timers.due) for one in self.members if one.current is not None)
        return ActorSnapshot(
            path=self.path,
            state=self.state,
            incarnation=self.incarnation,
            mailbox=mailbox,
            oldest_s=None if mailbox.oldest_at is None else now - mailbox.oldest_at,
            in_progress=tuple(one for member in members for one in member.in_progress),
            deferred=sum(member.deferred for member in members),
            urgent=len(self.urgent) + len(self.redeliveries) + due,
            stop_s=stop_s,
            counts=attrs.evolve(self.counts, accepted=self.counts.accepted + mailbox.accepted),
            size=size,
            class_name=next((one.class_name for one in self.members), self.spec.class_name),
            member_restarts=self.member_restarts,
        )


@final
class Member(Cell):
    """A place for the incarnations of one member of a pool.

    Args:
        pool: the pool whose messages it takes.
        number: the member's number, from 1.
        shared: what all nodes of the tree share.
    """

    __slots__ = ("number",)

    def __init__(self, pool: PoolInbox, number: int, shared: TreeContext) -> None:
        spec = attrs.evolve(pool.spec, name=f"worker-{number}", overflow="block", stop_s=inf)
        super().__init__(spec, pool.path, shared, pool.stopper)
        self.number = number
        self.pool = pool
        self.ref = pool.ref
        self.counts = pool.counts
        self.urgent = pool.urgent
        self.redeliveries = pool.redeliveries
        self.parked = pool.parked
        self.full = pool.full
        self.share()

    def share(self) -> None:
        """Take over what the pool has replaced."""
        if self.pool is not None:
            self.mailbox = self.pool.mailbox
            self.is_open = self.pool.is_open

    @property
    def blockers(self) -> Sequence[Worker]:
        """See `Inbox`; any member may take a message that is to be delivered again."""
        return () if self.pool is None else self.pool.blockers

    def wake(self) -> Incarnation | None:
        """See `Cell`."""
        if self.pool is not None and self in self.pool.dozing:
            self.pool.dozing.remove(self)
        return super().wake()

    def stop_idle(self) -> bool:
        """See `Node`."""
        if self.pool is not None and self in self.pool.dozing:
            self.pool.dozing.remove(self)
        return super().stop_idle()

    def _make(self) -> Actor[Never]:
        actor = super()._make()
        if self.pool is not None:
            self.pool.table = actor.handlers
        return actor
