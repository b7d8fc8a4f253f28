"""What a limiter says of itself."""

from collections.abc import Mapping
from typing import Literal

import attrs

from ..permit import Dimension
from .finder import FinderStatistics
from .limits import Cost

__all__ = [
    "BucketState",
    "Explanation",
    "LimiterSnapshot",
    "ScopeState",
]


@attrs.frozen
class Explanation:
    """What a call would wait for.

    Args:
        wait_s: for how long, in seconds, if nobody came meanwhile; infinity for ever.
        because: what would be in its way last.
        before: how many would go before it.
        cost: what it would take.
    """

    wait_s: float
    because: str
    before: int
    cost: Cost


@attrs.frozen(kw_only=True)
class BucketState:
    """One limit.

    Args:
        scope: the model, or group of models, that it is for; "" for all.
        dimension: of what.
        limit: how much in `per_s` seconds.
        per_s: the time.
        used: how much is missing.
        depth: how much may be missing before calls wait.
        source: "set" by the user, or "learned" from the provider's answers.
        others_per_s: how much a second others seem to take of it.
    """

    scope: str
    dimension: Dimension
    limit: float
    per_s: float
    used: float
    depth: float
    source: Literal["set", "learned"]
    others_per_s: float = 0.0


@attrs.frozen(kw_only=True)
class ScopeState:
    """A model, or a group of models.

    Args:
        name: the model's, or the group's pattern.
        in_flight: calls under way.
        waiting: calls that wait, by lane.
        renewals: calls under way that wait to be sent once more.
        parked_s: seconds for which nobody goes, because the provider said so.
        found: limits that were found by trying.
    """

    name: str
    in_flight: int
    waiting: Mapping[str, int]
    renewals: int
    parked_s: float
    found: FinderStatistics


@attrs.frozen(kw_only=True)
class LimiterSnapshot:
    """All that a limiter knows.

    Args:
        in_flight: calls under way.
        max_in_flight: as many as may be.
        waiting: calls that wait.
        next_wake_s: in how many seconds somebody can go; None if that takes somebody's end.
        buckets: every limit.
        scopes: every model that was asked for.
    """

    in_flight: int
    max_in_flight: int
    waiting: int
    next_wake_s: float | None
    buckets: tuple[BucketState, ...]
    scopes: tuple[ScopeState, ...]
