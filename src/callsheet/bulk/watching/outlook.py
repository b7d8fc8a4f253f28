"""How fast a run is, when it will be over, and what it will have cost: from its last minute."""

import math
from collections.abc import Callable
from decimal import Decimal

import attrs

from ..progress import Progress
from .history import History, worked
from .limit_use import LimitUse, limit_uses

__all__ = ["Outlook", "mean_rate", "outlook", "projected_usd", "remaining"]

_NOW_S = 10.0  # what "now" means: shorter looks nervous, longer looks late
_LEAST_S = 1e-3  # from less than that, nothing follows


@attrs.frozen(kw_only=True)
class Outlook:
    """What can be said of a run beyond how it stands.

    Args:
        rate: rows a second over the last seconds; None where no time has passed.
        mean_rate: rows a second since the start; None where no time has passed.
        remaining: rows that have not ended; None where that is not known.
        eta_s: seconds until they have; None where nothing tells.
        projected_usd: what the run will have cost, as far as prices are known; None where nothing
            tells.
        limits: the use of each limit over the last minute.
    """

    rate: float | None
    mean_rate: float | None
    remaining: int | None
    eta_s: float | None
    projected_usd: Decimal | None
    limits: tuple[LimitUse, ...]


def outlook(history: History) -> Outlook:
    """What the last minute tells."""
    progress = history.latest
    return Outlook(
        rate=_rate(history.since(_NOW_S), progress),
        mean_rate=mean_rate(progress),
        remaining=remaining(progress),
        eta_s=_eta(history),
        projected_usd=projected_usd(progress),
        limits=limit_uses(history.snapshots),
    )


def remaining(progress: Progress) -> int | None:
    """Rows that have not ended, and will; None where that is not known."""
    if progress.is_draining:
        return progress.in_flight
    return None if progress.total is None else max(0, progress.total - progress.ended)


def mean_rate(progress: Progress) -> float | None:
    """Rows a second since the start; None where no time has passed."""
    passed = progress.now - progress.started_at
    return _counted(progress)(progress) / passed if passed >= _LEAST_S else None


def projected_usd(progress: Progress) -> Decimal | None:
    """USD of the whole run: each row that remains costs what the rows so far did on average.

    It is never less than what was spent, and None where a row's cost or their number is not known.
    """
    rows = remaining(progress)
    priced = worked(progress) - progress.unpriced
    if rows == 0:
        return progress.cost_usd
    if rows is None or priced <= 0:
        return None
    return progress.cost_usd + progress.cost_usd / priced * rows


def _eta(history: History) -> float | None:
    """By the last minute's rate; by that since the start where nothing ended in the last minute."""
    progress = history.latest
    rows = remaining(progress)
    if rows is None or not rows:
        return None if rows is None else 0.0
    if progress.trouble or (progress.is_paused and not progress.is_draining):
        return None
    lately = _rate(history.snapshots[0], progress) or mean_rate(progress) or 0.0
    eta = rows / lately if lately > 0 else math.inf
    return eta if math.isfinite(eta) else None


def _rate(before: Progress, after: Progress) -> float | None:
    passed = after.now - before.now
    if passed < _LEAST_S:
        return None
    count = _counted(after)
    return max(0, count(after) - count(before)) / passed


def _counted(progress: Progress) -> Callable[[Progress], int]:
    """Counts the rows that tell how fast it goes: those asked for, or all where nobody is asked.

    Reused rows pass in no time, so that they say nothing of those that have to be asked for.
    """
    return worked if worked(progress) > 0 or progress.in_flight > 0 else _ended


def _ended(progress: Progress) -> int:
    return progress.ended
