"""One child of a supervisor: its place, and how it lives just now.

Telling of a crash: one event for the instruments, and one for the log.
"""

import traceback
from collections.abc import Callable, Iterable
from contextvars import Context
from typing import Literal

import attrs
import structlog
import trio

from .._core import ActorCrash, Instrument, Node, State
from .restarts import Backoff

__all__ = [
    "Child",
    "Decision",
    "tell_crash",
]


@attrs.define(eq=False)
class Child:
    """A node, and how it lives just now.

    Attributes:
        node: the place.
        begin: gives it a task to live in; its supervisor's.
        backoff: its pauses before restarts; None before the first.
        scope: of its present life; None if it does not live.
        context: what that began in.
        began: when that began.
        is_stopping: this life was told to end, which is no reason to restart it.
        is_closing: it was told to drain, and rests when that is done.
        is_restarting: it is between two lives.
    """

    node: Node
    begin: Callable[["Child"], None]
    backoff: Backoff | None = None
    scope: trio.CancelScope | None = None
    context: Context | None = None
    began: float = 0.0
    is_stopping: bool = False
    is_closing: bool = False
    is_restarting: bool = False
    _ended: trio.Event | None = None  # made when somebody waits
    _settled: trio.Event | None = None

    @property
    def is_resting(self) -> bool:
        """Whether only `restart_child` starts it again."""
        return self.is_closing or self.node.states.value is State.STOPPED

    @property
    def ended(self) -> trio.Event:
        """Set when its present life is over; ask for it only while it lives."""
        if self._ended is None:
            self._ended = trio.Event()
        return self._ended

    @property
    def settled(self) -> trio.Event:
        """Set when it is no more between the two lives it is between; ask for it only then."""
        if self._settled is None:
            self._settled = trio.Event()
        return self._settled

    def rouse(self) -> None:
        """Give it a task, which it has done without so far."""
        self.begin(self)

    def end_life(self) -> None:
        """Its present life is over."""
        self.scope = None
        if self._ended is not None:
            self._ended.set()
            self._ended = None

    def leave_life(self) -> None:
        """It is between two lives from now on."""
        self.is_restarting = True

    def settle(self) -> None:
        """It lives again, or never will."""
        self.is_restarting = False
        if self._settled is not None:
            self._settled.set()
            self._settled = None


_log = structlog.stdlib.get_logger("callsheet.runtime")

Decision = Literal["restart", "leave", "fail upward"]


def tell_crash(
    node: Node,
    crash: Exception,
    *,
    lived_s: float,
    decision: Decision,
    restart_in_s: float | None,
    instruments: Iterable[Instrument],
) -> None:
    """Tell what crashed, with what in hand, why, and what comes of it.

    Args:
        node: what crashed.
        crash: the cause.
        lived_s: for how many seconds it had lived.
        decision: what its supervisor does.
        restart_in_s: seconds until it is started again; None if it is not, or at once.
        instruments: what is told beside the log.
    """
    event = ActorCrash(
        actor=node.path,
        incarnation=node.incarnation,
        lived_s=lived_s,
        lost=node.lost,
        error=crash,
        decision=decision,
        restart_in_s=restart_in_s,
    )
    for instrument in instruments:
        instrument.actor_crashed(event)
    _log.error(
        "actor_crashed",
        actor=node.path,
        incarnation=node.incarnation,
        lived_s=round(lived_s, 3),
        in_hand=[" -> ".join(lost.chain) for lost in node.lost],
        verdict=[lost.verdict.value for lost in node.lost],
        decision=decision,
        restart_in_s=None if restart_in_s is None else round(restart_in_s, 3),
        error=crash,
        # As text: renderers that show the locals of each frame would show secrets, too (L8).
        exception="".join(traceback.format_exception(crash)),
    )
