"""Report the crash of a child to snapshots, log and instruments, and to the supervisor above."""

import traceback
from collections.abc import Iterable
from typing import Literal, Protocol

import trio

from .._core import ActorCrash, CrashSnapshot, Node, RestartPolicy, TreeContext, get_logger
from ..errors import RestartIntensityExceeded, described, text_of

_log = get_logger("callsheet.runtime")

_MAX_TEXT = 1_000

Decision = Literal["restart", "leave", "fail upward"]
"""What the supervisor does about a crash: restart the child, leave it stopped, or escalate."""


class Crashed(Protocol):
    """A child of a supervisor, or a member of a pool."""

    @property
    def node(self) -> Node:
        """Its place in the tree."""
        ...

    @property
    def started_at(self) -> float:
        """When its incarnation started, in seconds on Trio's clock."""
        ...


def report_crash(
    child: Crashed,
    crash: Exception,
    decision: Decision,
    restart_in_s: float | None,
    shared: TreeContext,
) -> None:
    """Report a crash to snapshots and instruments, and as one `actor_crashed` event to the log.

    Args:
        child: the child that crashed.
        crash: the exception that ended the incarnation.
        decision: what the supervisor does about it.
        restart_in_s: seconds until the restart; None if there is no restart, or if it is immediate.
        shared: what all nodes of the tree share.
    """
    node = child.node
    uptime_s = trio.current_time() - child.started_at
    event = ActorCrash(
        actor=node.path,
        incarnation=node.incarnation,
        uptime_s=uptime_s,
        lost=node.lost,
        error=crash,
        decision=decision,
        restart_in_s=restart_in_s,
    )
    kind, text = type(crash).__name__, text_of(crash)[:_MAX_TEXT]
    shared.crashes.append(CrashSnapshot(node.path, trio.current_time(), kind, text))
    for instrument in shared.instruments:
        instrument.actor_crashed(event)
    _log.error(
        "actor_crashed",
        actor=node.path,
        incarnation=node.incarnation,
        uptime_s=round(uptime_s, 3),
        in_progress=[" -> ".join(lost.chain) for lost in node.lost],
        verdict=[lost.verdict.value for lost in node.lost],
        decision=decision,
        restart_in_s=None if restart_in_s is None else round(restart_in_s, 3),
        error=crash,
        # As text: renderers that print the locals of each frame would print secrets (L8).
        exception="".join(traceback.format_exception(crash)),
    )


def escalation_error(
    supervisor: str,
    policy: RestartPolicy,
    child: str,
    crash: Exception | None,
    also_crashed: Iterable[tuple[str, Exception]],
) -> RestartIntensityExceeded:
    """Return the error that a supervisor raises beyond its restart intensity.

    Its notes are the chain of failures, the first cause first.

    Args:
        supervisor: path of the supervisor.
        policy: the supervisor's policy.
        child: path of the child whose end exceeded the intensity.
        crash: the child's exception; None if the child ended by itself.
        also_crashed: path and exception of other children that crashed at the same time.
    """
    what = "ended" if crash is None else f"crashed with {described(crash)}"
    restarts = "restart" if policy.max_restarts == 1 else "restarts"
    error = RestartIntensityExceeded(
        f"{child} {what}; {supervisor} allows {policy.max_restarts} {restarts} in "
        f"{policy.period_s:g} s"
    )
    error.__cause__ = crash
    for note in getattr(crash, "__notes__", ()):
        error.add_note(note)
    error.add_note(
        f"{child} ended by itself" if crash is None else f"{child} crashed: {described(crash)}"
    )
    for path, other in also_crashed:
        error.add_note(f"{path} also crashed: {described(other)}")
    error.add_note(f"{supervisor} gave up")
    return error
