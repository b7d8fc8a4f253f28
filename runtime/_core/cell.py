"""An actor's place in the tree: its inbox, and the incarnations that take messages from it (R2)."""

from collections.abc import Callable, Iterable, Sequence
from math import inf
from random import Random
from sys import maxsize
from typing import TYPE_CHECKING, Never, cast

import attrs
import trio

from .actor import Actor
from .child_group import ChildGroup
from .inbox import Inbox, Spec
from .incarnation import Incarnation
from .instruments import ActorEvent, LostMessage
from .node import Node, Restart, Stopper, TreeContext, Waker
from .reply import current_slot
from .snapshot import ActorSnapshot, InProgress, State
from .tracing import current_trace
from .worker import Worker

if TYPE_CHECKING:
    from .pool import PoolInbox


class Cell(Inbox):
    """An actor's place in the tree; a `Node` for its supervisor, and the target of all refs.

    Args:
        spec: the actor's settings.
        parent: path of the supervisor.
        shared: what all nodes of the tree share.
        stopper: stops the actor when `Runtime.stop` is called.
    """

    __slots__ = (
        "_actor",
        "_random",
        "_start_after",
        "_waker",
        "current",
        "full",
        "group",
        "lost",
        "max_deferred",
        "pool",
        "restart",
        "stop_by",
        "stop_s",
    )

    def __init__(self, spec: Spec, parent: str, shared: TreeContext, stopper: Stopper) -> None:
        super().__init__(spec, parent, shared, stopper)
        self.restart: Restart = spec.restart
        self.stop_s = spec.stop_s
        self.stop_by: float = inf
        # An int even without a limit: it is compared for each message.
        self.max_deferred = maxsize if spec.max_deferred is None else spec.max_deferred
        self.current: Incarnation | None = None
        self.pool: PoolInbox | None = None  # set if the inbox is that of a pool
        self.full = self.parked  # workers that wait for room for deferred messages
        self.lost: tuple[LostMessage, ...] = ()
        self.group: ChildGroup | None = None  # the children of the last incarnation
        self._start_after: Node | None = None
        self._actor: Actor[Never] | None = None  # made, but not running in a task
        self._waker: Waker | None = None  # set while it is idle
        self._random: Random | None = None  # made at its first use: it takes 2.5 KiB

    @property
    def random(self) -> Random:
        """The current incarnation's random source (R13)."""
        if self._random is None:
            seed = f"{self._shared.seed}/{self.path}/{self.incarnation}"
            self._random = Random(seed)  # noqa: S311  # not a secret
        return self._random

    @property
    def load(self) -> int:
        """The number of messages that wait or are in progress."""
        busy = 0 if self.current is None else self.current.busy
        return len(self.mailbox) + len(self.urgent) + len(self.redeliveries) + busy

    @property
    def blockers(self) -> Sequence[Worker]:
        """The workers that take messages from here; empty if one is free (see `find_cycle`)."""
        current = self.current
        if current is None:
            return () if self._start_after is None else self._start_after.working
        if current.hook is not None:  # it takes messages only after, or not any more
            return (current.hook,)
        return () if current.is_idle else current.workers

    @property
    def working(self) -> Sequence[Worker]:
        """See `Node`."""
        current = self.current
        if current is None:
            return ()
        if current.hook is not None:
            return (current.hook,)
        return [one for one in current.workers if one.message is not None or one.is_draining]

    def start_after(self, other: Node | None) -> None:
        """See `Node`."""
        self._start_after = other

    # ---------------------------------------------------------------- one incarnation

    def start_idle(self, waker: Waker) -> bool:
        """Make an actor and start its incarnation, without a task until the first message.

        The incarnation starts only if the actor has no hooks, which need a task, and if no message
        waits.

        Args:
            waker: called at the first message, to run `run` in a task.

        Returns:
            Whether the incarnation has started. If not, `run` starts it, with the actor that was
            made.

        Raises:
            Exception: the factory raised.
        """
        actor = self._actor = self._make()
        if not self.is_open or self.has_work or _has_hooks(actor):
            return False
        self._waker = waker
        self.is_idle = True
        self._report_started()
        return True

    def rouse(self) -> None:
        """See `Inbox`."""
        self.wake()

    def wake(self) -> Incarnation | None:
        """Request a task for an idle actor; return the current incarnation, if there is one."""
        if self._waker is not None and self._actor is not None:
            self.current = Incarnation(self, self._actor)
            waker, self._waker, self._actor = self._waker, None, None
            self.is_idle = False
            waker.wake()
        return self.current

    def stop_idle(self) -> bool:
        """See `Node`."""
        if self._waker is None:  # an actor may be made whose task has not run yet
            return False
        self._waker = self._actor = None
        self.is_idle = False
        return True

    async def run(self, started: Callable[[], None]) -> None:
        """Run one incarnation until it drains, halts or crashes.

        Args:
            started: called when the actor has started and handles messages; not after `start_idle`.

        Raises:
            Exception: the actor crashed or could not start. Its asks have failed by then.
        """
        current_slot.set(None)  # the spawning task's deadline does not apply
        current_trace.set(None)
        current = self.current
        try:
            if current is None:
                actor, self._actor = self._actor or self._make(), None
                current = self.current = Incarnation(self, actor)

                def has_started() -> None:
                    self._report_started()
                    started()

                await current.run(has_started)
            else:
                await trio.lowlevel.checkpoint_if_cancelled()
                await current.run(None)
        finally:
            if current is not None:
                current.timers.end()
            self.current = None

    def _make(self) -> Actor[Never]:
        """Make the object of the next incarnation, without starting it."""
        self.incarnation += 1
        self._random = None
        self.group = None
        made = cast("object", self.spec.factory())
        if not isinstance(made, Actor):
            raise TypeError(f"the factory of {self.path} must return an actor, not {made!r}")
        actor = cast("Actor[Never]", made)
        if "_cell" in vars(actor):
            raise TypeError(f"the factory of {self.path} must make a new actor at each call")
        object.__setattr__(actor, "_cell", self)  # the class may be frozen
        self.table = actor.handlers
        return actor

    def make_group(self) -> ChildGroup:
        """Make the group for the children of the current incarnation."""
        parent = self.path.removesuffix(f"/{self.name}")
        self.group = self._shared.make_group(self.name, parent, self._shared)
        return self.group

    @property
    def hosts(self) -> trio.Nursery | None:
        """The nursery of the tasks that hold what incarnations own; see `TreeContext`."""
        return self._shared.hosts

    def _report_started(self) -> None:
        self.states.value = State.RUNNING if self.is_open else State.DRAINING
        for instrument in self.instruments:
            instrument.actor_started(ActorEvent(self.path, self.incarnation))

    def drain(self) -> None:
        """Accept no more messages, and end the incarnation when all accepted ones are handled.

        Like `halt`, this is a call and not a message, so it never waits in the mailbox (R6).
        """
        if self.is_open:
            self.is_open = False
            self.mailbox.close()
            if self.state is State.RUNNING:
                self.states.value = State.DRAINING
            if self.current is not None:
                self.current.wake_worker()

    def halt(self) -> None:
        """End the incarnation after the messages in progress; queued ones wait for the next."""
        if self.current is not None:
            self.current.halt()

    def limit_stop(self, when: float) -> None:
        """See `Node`."""
        self.stop_by = when
        if self.current is not None and self.current.closing is not None:
            self.current.closing.deadline = min(self.current.closing.deadline, when)

    def find_child(self, name: str) -> Node | None:
        """See `Node`."""
        nodes = () if self.group is None else self.group.nodes
        return next((node for node in nodes if node.name == name), None)

    @property
    def child_names(self) -> Iterable[str]:
        """See `Node`."""
        return () if self.group is None else tuple(node.name for node in self.group.nodes)

    @property
    def class_name(self) -> str:
        """The name of the actor's class; "" if no incarnation runs and the factory hides it."""
        actor = self._actor if self.current is None else self.current.actor
        return self.spec.class_name if actor is None else type(actor).__name__

    def snapshot(self, now: float) -> ActorSnapshot:
        """Return the actor's state at this moment (R12)."""
        mailbox = self.mailbox.statistics()
        current = self.current
        workers = (
            [] if current is None else [one for one in current.workers if one.message is not None]
        )
        return ActorSnapshot(
            path=self.path,
            state=self.state,
            incarnation=self.incarnation,
            mailbox=mailbox,
            oldest_s=None if mailbox.oldest_at is None else now - mailbox.oldest_at,
            in_progress=tuple(
                InProgress(type(worker.message).__name__, now - worker.started_at)
                for worker in workers
                if worker.message is not None
            ),
            deferred=0 if current is None else len(current.deferred),
            urgent=len(self.urgent)
            + len(self.redeliveries)
            + (0 if current is None else len(current.timers.due)),
            stop_s=self.stop_s,
            counts=attrs.evolve(self.counts, accepted=self.counts.accepted + mailbox.accepted),
            children=() if self.group is None else self.group.snapshot(now),
            class_name=self.class_name,
        )


def _has_hooks(actor: Actor[Never]) -> bool:
    """Whether the actor overrides a hook, which must run in its task even if no message comes."""
    own = type(actor)
    return (
        own.started is not Actor.started
        or own.draining is not Actor.draining
        or own.stopped is not Actor.stopped
    )
