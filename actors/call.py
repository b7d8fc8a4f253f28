"""One call of a post, how it stands, and the chain of calls that bounds how fast a post can be."""

from collections.abc import Iterable, Mapping
from typing import Literal

import attrs

from .messages import Request

__all__ = ["Call", "CallState", "Failure", "State", "critical_path"]

State = Literal["waiting", "ready", "done", "failed", "skipped"]


@attrs.frozen
class Call:
    """One call that may start now.

    Args:
        id: the step's name, and for one of several calls its index: "sections[2]".
        step: the step it belongs to.
        index: which of the step's calls it is, from 1; None where a step makes one call.
        prompt: the step's template, filled in.
        request: what to ask the provider.
        needs: the ids of the calls whose end it waited for.
    """

    id: str
    step: str
    index: int | None
    prompt: str
    request: Request
    needs: tuple[str, ...]


@attrs.frozen
class CallState:
    """How one call stands, for a display.

    Args:
        id: the call's id; the step's name as long as nobody knows which calls it will make.
        step: the step it belongs to.
        index: which of the step's calls it is, from 1; None where there is one, or none is known.
        state: "waiting" for what it needs; "ready", which includes in flight; "done"; "failed";
            "skipped" where there was nothing to do, or the post had failed before it began.
    """

    id: str
    step: str
    index: int | None
    state: State


@attrs.frozen
class Failure:
    """Why a post failed: the required call that failed first, and its error."""

    call: str
    step: str
    error: Exception


def critical_path(
    calls: Iterable[Call], durations: Mapping[str, float]
) -> tuple[float, tuple[str, ...]]:
    """The chain of calls that no way of running them could have made shorter.

    With d(c) the duration of call c and f(c) = d(c) + max f(n) over the calls n that c waited for,
    it is the chain that ends in the greatest f(c).

    Args:
        calls: the calls as they were made, each after those it needs.
        durations: seconds by call id; a call that is not there counts for nothing.

    Returns:
        Seconds, and the ids along the chain from its first call to its last.
    """
    none: tuple[float, tuple[str, ...]] = (0.0, ())
    chains: dict[str, tuple[float, tuple[str, ...]]] = {}
    for call in calls:
        seconds, ids = max((chains[need] for need in call.needs), key=_seconds, default=none)
        if call.id in durations:
            seconds, ids = seconds + durations[call.id], (*ids, call.id)
        chains[call.id] = (seconds, ids)
    return max(chains.values(), key=_seconds, default=none)


def _seconds(chain: tuple[float, tuple[str, ...]]) -> float:
    return chain[0]
