"""Telling of a crash: one event for the instruments, and one for the log."""

import traceback
from collections.abc import Iterable
from typing import Literal

import structlog

from .instruments import ActorCrash, Instrument
from .node import Node

__all__ = ["Decision", "tell_crash"]

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
