"""The nodes of the tree as their supervisor sees them, their state, and what all nodes share."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from threading import get_ident
from typing import Literal, Protocol, final

import attrs
import trio
from attrs.validators import ge, gt
from trio_util import AsyncValue

from .checks import check_seconds, is_count
from .child_group import ChildGroupFactory
from .deadlines import Deadlines
from .instruments import Guarded, LostMessage
from .snapshot import CrashSnapshot, Snapshot, State
from .worker import Worker

Restart = Literal["permanent", "transient", "temporary"]
"""When a child is restarted: always ("permanent"), only after a crash ("transient"), or never
("temporary")."""

_MAX_CRASHES = 50  # that a snapshot has

RESTARTS: tuple[Restart, ...] = ("permanent", "transient", "temporary")


def _is_time(_: object, field: "attrs.Attribute[float]", value: float) -> None:
    check_seconds(field.name, value)


@attrs.frozen(kw_only=True)
class RestartPolicy:
    """How often a supervisor restarts its children, and how long it waits before each restart.

    Args:
        max_restarts: the restart intensity. When more children than this have crashed within
            `period_s`, the supervisor stops all of them and fails upward.
        period_s: length of the sliding window, in seconds.
        base_s: upper bound of the pause before the first restart, in seconds. The bound doubles
            with each crash in a row.
        cap_s: upper bound of every pause, in seconds.
        healthy_s: an incarnation that ran for at least this many seconds resets the bound to
            `base_s`.

    Raises:
        ValueError: a value is out of its range; the message names the argument.
    """

    max_restarts: int = attrs.field(default=5, validator=is_count(0))
    period_s: float = attrs.field(default=30.0, validator=[_is_time, gt(0)])
    base_s: float = attrs.field(default=0.1, validator=[_is_time, ge(0)])
    cap_s: float = attrs.field(default=10.0, validator=[_is_time, ge(0)])
    healthy_s: float = attrs.field(default=30.0, validator=[_is_time, ge(0)])


@final
class States:
    """The current state of a node, and waiting for a state.

    The `AsyncValue` takes 1.5 KiB and is made when a task first waits; hardly any node is waited
    for.
    """

    __slots__ = ("_value", "_watched")

    def __init__(self) -> None:
        self._value = State.STARTING
        self._watched: AsyncValue[State] | None = None

    @property
    def value(self) -> State:
        """The current state."""
        return self._value

    @value.setter
    def value(self, state: State) -> None:
        self._value = state
        if self._watched is not None:
            self._watched.value = state

    async def wait_for(self, state: State) -> None:
        """Wait until the state is `state`, or was in the meantime; always a checkpoint."""
        if self._watched is None:
            self._watched = AsyncValue(self._value)
        await self._watched.wait_value(state)


class Waker(Protocol):
    """Starts a task for an idle node."""

    def wake(self) -> None:
        """Start a task that runs `Node.run`."""
        ...


class Stopper(Protocol):
    """Stops an actor for `Runtime.stop`."""

    async def stop_and_remove(self, node: object) -> None:
        """Drain a node and remove it from the tree; do nothing if that was done already."""
        ...


class Node(Protocol):
    """An actor's or a supervisor's place in the tree; it outlives its incarnations.

    Attributes:
        name: unique among its siblings.
        path: the names from the root down to this node, joined with "/".
        restart: when its supervisor restarts it.
        stop_s: seconds that it may take to stop.
        stop_by: when the current stop must be over, in seconds on Trio's clock; else infinity.
        incarnation: number of incarnations so far.
        states: the current state.
        lost: messages that were in progress at the last crash.
        failure: the exception that ended it for good; None if it runs or was stopped.
    """

    name: str
    path: str
    restart: Restart
    stop_s: float
    stop_by: float
    incarnation: int
    states: States
    lost: tuple[LostMessage, ...]
    failure: Exception | None

    @property
    def start_s(self) -> float | None:
        """Seconds that it may take to start; None: no limit."""
        ...

    @property
    def work_left(self) -> int:
        """How often a handler may still be called for the messages that wait."""
        ...

    def limit_stop(self, when: float) -> None:
        """End, with hooks and all that is owned, by a time in seconds on Trio's clock."""
        ...

    @property
    def is_drained(self) -> bool:
        """Whether no message can arrive any more, and none waits."""
        ...

    @property
    def working(self) -> Sequence[Worker]:
        """The workers that must end before a stop of this node ends."""
        ...

    def start_after(self, other: "Node | None") -> None:
        """Note that this node is to be started, and waits until another one has started.

        Args:
            other: the node that is being started; None: this one no longer waits.
        """
        ...

    def start_idle(self, waker: Waker) -> bool:
        """Start an incarnation without a task, if it needs none yet; return whether it started.

        Args:
            waker: called when a task is needed.
        """
        ...

    def stop_idle(self) -> bool:
        """End an incarnation that has no task; return whether there was one."""
        ...

    async def run(self, started: Callable[[], None]) -> None:
        """Run one incarnation, or continue an idle one; raise the exception that ended it, if any.

        Args:
            started: called when the incarnation has started.
        """
        ...

    def open(self) -> None:
        """Prepare for another incarnation after `close`."""
        ...

    def drain(self) -> None:
        """Accept no more messages, handle those that wait, and end."""
        ...

    def halt(self) -> None:
        """End after the messages in progress; the others wait for the next incarnation."""
        ...

    def close(self) -> None:
        """Stop, for good or until `open`; fail the asks that wait (R3)."""
        ...

    def find_child(self, name: str) -> "Node | None":
        """Return the node below with this name, if there is one."""
        ...

    @property
    def child_names(self) -> Iterable[str]:
        """The names of the nodes below."""
        ...

    def snapshot(self, now: float) -> Snapshot:
        """Return the node's state at this moment."""
        ...


@attrs.define
class TreeContext:
    """What all nodes of one tree share.

    Args:
        seed: seed of all randomness (R13).
        make_group: makes the group for the children of an actor (R15).
        hosts: the nursery of the tasks that hold what actors own, which is the runtime's; None
            until it is open.
        instruments: the instruments of the runtime.
        joined: called with each node that is added to the tree; None until the runtime shuts down.
        deadlines: the deadlines of all asks and timers.
        crashes: the last crashes, the latest last.
        now: returns the current time on Trio's clock, without looking the clock up each time.
        token: identifies the Trio run of the runtime; calls from any other are refused.
        thread: identifies the thread of that run; faster to compare.
    """

    seed: str
    make_group: ChildGroupFactory
    instruments: tuple[Guarded, ...] = ()
    deadlines: Deadlines = attrs.field(factory=Deadlines)
    hosts: trio.Nursery | None = None
    joined: Callable[[Node], None] | None = None
    now: Callable[[], float] = attrs.field(
        factory=lambda: trio.lowlevel.current_clock().current_time
    )
    crashes: deque[CrashSnapshot] = attrs.field(factory=lambda: deque(maxlen=_MAX_CRASHES))
    token: trio.lowlevel.TrioToken = attrs.field(factory=trio.lowlevel.current_trio_token)
    thread: int = attrs.field(factory=get_ident)
