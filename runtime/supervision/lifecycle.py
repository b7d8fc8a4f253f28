"""The life of one child as a state machine (R7, R16).

Pure: no clock, no task and no await (R14). Each event is a method. It changes the state and returns
the next step, which the supervisor carries out.

    event           starting   running    backing off  draining   stopping   stopped
    start           -          -          starting     draining   -          starting
    started         running    -          -            draining   stopping   -
    start failed    (1)        (7)        -            stopped    (2)        -
    ended           -          (3)        -            (4)        (2)        -
    drain           (5)        draining   (6)          draining   stopping   stopped
    halt            stopping   stopping   backing off  stopping   stopping   stopped

(1) Backing off if the supervisor made the attempt, stopped if a caller of `spawn` or
`restart_child` did. (2) Backing off if its group restarts, else stopped. (3) By the child's
`restart` setting. (4) After a crash the next incarnation goes on, as long as each one gets on with
the queued messages; else stopped. (5) Draining if messages wait, else the start is cancelled.
(6) Draining if messages wait, the last start did not fail, and the pause ends in time; else
stopped. (7) The start was cancelled at its very end: as (1), but the supervisor makes no decision,
since it ends itself.
"""

import enum
from math import inf
from typing import final

from .._core import Restart
from .restarts import is_restarted


class Phase(enum.Enum):
    """Where a child is in its life."""

    STARTING = "starting"
    RUNNING = "running"
    BACKING_OFF = "restarting"
    DRAINING = "draining"
    STOPPING = "stopping"
    STOPPED = "stopped"


class NextStep(enum.Enum):
    """What the supervisor has to do after an event."""

    NOTHING = enum.auto()
    DRAIN = enum.auto()
    """Let the incarnation handle what waits, until the limit."""
    HALT = enum.auto()
    """Let the incarnation finish what is in progress, until the limit."""
    CANCEL = enum.auto()
    """Cancel the incarnation at once."""
    DECIDE = enum.auto()
    """Ask the strategy and the restart window; then back off, or fail upward."""
    RESUME = enum.auto()
    """Start the next incarnation of a drain at `resume_at`."""
    REST = enum.auto()
    """The incarnation has ended; the restart of the group goes on."""
    CLOSE = enum.auto()
    """Close the child; it is stopped."""


@final
class Life:
    """The state of one child.

    Args:
        restart: when the child is restarted.
    """

    __slots__ = (
        "_cannot_start",
        "_is_restart",
        "_may_resume",
        "_returns",
        "_work_left",
        "has_started",
        "is_alive",
        "limit",
        "phase",
        "restart",
        "resume_at",
    )

    def __init__(self, restart: Restart) -> None:
        self.restart: Restart = restart
        self.phase = Phase.STOPPED
        self.is_alive = False
        """Whether there is an incarnation."""
        self.has_started = False
        """Whether the incarnation has started."""
        self.limit = inf
        """When the current stop must be over, in seconds on Trio's clock."""
        self.resume_at = 0.0
        """When the pause before the next start ends, in seconds on Trio's clock."""
        self._is_restart = False  # the supervisor makes the current attempt to start
        self._cannot_start = False  # the last attempt failed
        self._returns = False  # it is stopping because its group restarts
        self._may_resume = False  # it is stopping, and is to drain what waits then
        self._work_left = 0  # what waited when the current incarnation of a drain began

    def __repr__(self) -> str:
        return f"<Life {self.phase.value}{'' if self.is_alive else ', no incarnation'}>"

    @property
    def is_at_rest(self) -> bool:
        """Whether it neither runs nor drains, so that a stop of it is over."""
        return not self.is_alive and self.phase is not Phase.DRAINING

    @property
    def stays_stopped(self) -> bool:
        """Whether it is stopped, or will be when the current stop is over."""
        return self.phase in (Phase.DRAINING, Phase.STOPPED) or (
            self.phase is Phase.STOPPING and not self._returns
        )

    # ---------------------------------------------------------------- start

    def start(self, *, is_restart: bool) -> None:
        """Begin an incarnation.

        Args:
            is_restart: the supervisor starts it, and tries again if that fails; else a caller of
                `spawn` or `restart_child` hears of the failure.
        """
        assert not self.is_alive, f"{self!r} has an incarnation already"  # noqa: S101  # a bug of ours
        self.is_alive = True
        self.has_started = False
        self._is_restart = is_restart
        if self.phase is not Phase.DRAINING:
            self.phase = Phase.STARTING
            self.limit = inf
            self._returns = self._may_resume = False

    def started(self) -> None:
        """Note that the incarnation has started."""
        self.has_started = True
        self._cannot_start = False
        if self.phase is Phase.STARTING:
            self.phase = Phase.RUNNING

    def start_failed(self) -> NextStep:
        """Note that the start has failed, timed out or was cancelled, even at its very end."""
        self.is_alive = False
        if self.phase is Phase.STARTING:
            if not self._is_restart:
                return self._close()
            self._cannot_start = True
            self.phase = Phase.BACKING_OFF
            return NextStep.DECIDE
        if self.phase is Phase.RUNNING and self._is_restart:
            return self.cut()
        return self._end_stop(work_left=0)

    def back_off(self, until: float) -> None:
        """Note when the pause before the next start ends."""
        self.resume_at = until

    def open(self) -> None:
        """Let a stopped child be started again by its supervisor."""
        if self.phase is Phase.STOPPED:
            self.phase = Phase.BACKING_OFF
            self._cannot_start = False

    # ---------------------------------------------------------------- end

    def ended(self, now: float, work_left: int, *, crashed: bool) -> NextStep:
        """Note that an incarnation has ended which had started.

        Args:
            now: the current time.
            work_left: how often a handler may still be called for the messages that wait.
            crashed: whether it raised an exception.
        """
        self.is_alive = False
        if self.phase is Phase.RUNNING:
            if not is_restarted(self.restart, crashed=crashed):
                return self._close()
            self.phase = Phase.BACKING_OFF
            self.resume_at = now
            return NextStep.DECIDE
        if self.phase is Phase.DRAINING and not crashed:
            work_left = 0  # it was cancelled, or ended by itself
        if self.phase is Phase.DRAINING and work_left >= self._work_left:
            work_left = 0  # it would never get on
        if self.limit <= now:
            work_left = 0
        self.resume_at = now
        return self._end_stop(work_left)

    def cut(self) -> NextStep:
        """Note that no task runs any more, because the supervisor has ended."""
        self.is_alive = False
        if self.phase in (Phase.STARTING, Phase.RUNNING):
            self._returns = True
            self.phase = Phase.STOPPING
        return NextStep.NOTHING if self.is_settled else self._end_stop(work_left=0)

    @property
    def is_settled(self) -> bool:
        """Whether nothing happens to it by itself."""
        return self.phase in (Phase.STOPPED, Phase.BACKING_OFF)

    def _end_stop(self, work_left: int) -> NextStep:
        is_temporary = self.restart == "temporary"
        resumes = self.phase is Phase.DRAINING or self._may_resume
        if self.phase is Phase.STOPPING and self._returns and not is_temporary:
            self.phase = Phase.BACKING_OFF
            self._returns = False  # a later drain of it is for good
            return NextStep.REST
        if resumes and work_left and not is_temporary:
            self.phase = Phase.DRAINING
            self._may_resume = False
            self._work_left = work_left
            return NextStep.RESUME
        return self._close()

    def _close(self) -> NextStep:
        self.phase = Phase.STOPPED
        self._returns = self._may_resume = False
        return NextStep.CLOSE

    # ---------------------------------------------------------------- stop

    def drain(  # noqa: PLR0911  # one for each phase
        self, now: float, limit: float, work_left: int
    ) -> NextStep:
        """Ask it to handle what waits, and to stay stopped.

        Args:
            now: the current time.
            limit: when the drain must be over.
            work_left: how often a handler may still be called for the messages that wait.
        """
        phase = self.phase
        if phase is Phase.STOPPED:
            return NextStep.NOTHING
        self.limit = limit if self.is_settled or phase in _RUNS else min(self.limit, limit)
        if phase is Phase.BACKING_OFF:
            if not work_left or self._cannot_start or self.resume_at >= limit or limit <= now:
                return self._close()
            if self.restart == "temporary":
                return self._close()
            self.phase = Phase.DRAINING
            self._work_left = work_left
            return NextStep.RESUME
        if limit <= now:
            self.phase = Phase.STOPPING
            self._returns = self._may_resume = False
            return NextStep.CANCEL if self.is_alive else self._close()
        if phase is Phase.STOPPING:
            if self._returns and self.restart != "temporary":
                self._may_resume = True
            self._returns = False
            return NextStep.NOTHING
        if phase is Phase.STARTING and not work_left:
            self.phase = Phase.STOPPING
            self._returns = False
            return NextStep.CANCEL
        if phase is not Phase.DRAINING:
            self._work_left = work_left + 1  # what is in progress, or about to come
        self.phase = Phase.DRAINING
        return NextStep.DRAIN

    def halt(self, limit: float) -> NextStep:
        """Ask it to end after what is in progress, because its group restarts.

        A child that drains ends too, and stays stopped.

        Args:
            limit: when it must have ended.
        """
        if self.is_settled:
            return NextStep.NOTHING
        if self.phase is Phase.DRAINING and not self.is_alive:
            return self._close()
        if self.phase in _RUNS:
            self.limit = limit
            self._returns = True
        else:
            self.limit = min(self.limit, limit)
        self.phase = Phase.STOPPING
        return NextStep.HALT

    def give_up(self) -> NextStep:
        """Stop a child that backs off."""
        return self._close() if self.is_at_rest else NextStep.NOTHING


_RUNS = (Phase.STARTING, Phase.RUNNING)
