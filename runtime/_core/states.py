"""Whom a supervisor stops and starts when a child has crashed (R7). Pure (R14).

The three strategies and the three kinds of children are those of Erlang/OTP's supervisor.

What a crash has cost.
"""

from collections.abc import Sequence
from typing import Literal

import attrs

from ..errors import Verdict

__all__ = [
    "RESTARTS",
    "STRATEGIES",
    "LostMessage",
    "Restart",
    "Strategy",
    "is_restarted",
    "restart_group",
]


Strategy = Literal["one_for_one", "one_for_all", "rest_for_one"]
"""Restart the child that crashed; all children; or it and those started after it."""

Restart = Literal["permanent", "transient", "temporary"]
"""Restart always; only after a crash; never."""

STRATEGIES: tuple[Strategy, ...] = ("one_for_one", "one_for_all", "rest_for_one")
RESTARTS: tuple[Restart, ...] = ("permanent", "transient", "temporary")


def is_restarted(restart: Restart, *, crashed: bool) -> bool:
    """Whether a child that has ended is started again.

    Args:
        restart: its kind.
        crashed: it raised; otherwise it ended by itself.
    """
    return restart == "permanent" or (restart == "transient" and crashed)


def restart_group(strategy: Strategy, order: Sequence[str], failed: str) -> tuple[str, ...]:
    """The children that are stopped, in reverse, and started again, in this order.

    Args:
        strategy: the supervisor's.
        order: the names of all children, in start order.
        failed: the one that has ended; it is among them.
    """
    if strategy == "one_for_one":
        return (failed,)
    if strategy == "one_for_all":
        return tuple(order)
    return tuple(order[order.index(failed) :])


@attrs.frozen
class LostMessage:
    """A message that was in hand at a crash.

    Args:
        chain: the types of the messages that led to it, each with the path of its actor, the
            first cause first.
        verdict: whether the work may have run.
    """

    chain: tuple[str, ...]
    verdict: Verdict
