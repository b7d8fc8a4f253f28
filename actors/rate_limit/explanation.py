"""The state of a limiter, as it reports it, and the explanation of a call's wait."""

from collections.abc import Mapping
from math import inf
from typing import Literal

import attrs

from ..permit import Dimension
from .finder import FinderStatistics
from .limits import Cost


@attrs.frozen
class Explanation:
    """How long a call would wait, and for what.

    Args:
        wait_s: the wait in seconds, if no further call arrives; infinity if it never ends.
        because: what it would wait for last, in words: "the limit of 60 requests a minute".
        before: number of calls that would be admitted before it.
        cost: what it would take of each dimension: requests, tokens, USD.
        member: the member of a pool that would serve it; "" without a pool.
    """

    wait_s: float
    because: str
    before: int
    cost: Cost
    member: str = ""


@attrs.frozen(kw_only=True)
class BucketState:
    """The state of one limit. Amounts are requests, tokens or USD, by its dimension.

    Args:
        scope: the model, or group of models, that it applies to; "" for all.
        dimension: what it limits: requests, tokens of one side or both, or USD.
        limit: the amount in `per_s` seconds.
        per_s: the period, in seconds.
        used: the amount that is missing from a full bucket.
        depth: the amount that may be missing before calls wait.
        source: "set" by the user, or "learned" from the provider's responses.
        others_per_s: the amount that other clients use a second, by estimate.
        header: the header that reports a learned limit; "" for one that is set.
        member: the member of a pool that it is the limit of; "" without a pool.
        part: the part of it that is due to this process, if processes share it; 1 otherwise.
    """

    scope: str
    dimension: Dimension
    limit: float
    per_s: float
    used: float
    depth: float
    source: Literal["set", "learned"]
    others_per_s: float = 0.0
    header: str = ""
    member: str = ""
    part: float = 1.0

    @property
    def subject(self) -> str:
        """The model and the member of a pool that it applies to, for texts; "" for all."""
        return ", ".join(filter(None, (self.scope, self.member)))


@attrs.frozen(kw_only=True)
class ScopeState:
    """The state of a model, or a group of models.

    Args:
        name: the model, or the pattern of the group.
        in_flight: number of calls in flight.
        waiting: number of calls that wait, by lane.
        renewals: number of calls in flight that wait for one more attempt.
        parked_s: seconds for which no call is admitted, after a refusal by the provider.
        found: limits that were found by trying.
        max_in_flight: the most calls in flight that the provider reports; infinity if it reports
            no such limit.
        member: the member of a pool whose calls these are; "" without a pool, and for the calls of
            a pool that wait, since each member may serve them.
    """

    name: str
    in_flight: int
    waiting: Mapping[str, int]
    renewals: int
    parked_s: float
    found: FinderStatistics
    max_in_flight: float = inf
    member: str = ""


@attrs.frozen(kw_only=True)
class SharedState:
    """What a limiter knows of the processes that share its limits.

    Args:
        processes: their number, this one included; 0 before the first exchange.
        leased: what is leased here and not used yet, by the name of the limit.
        is_away: whether the store of the limits does not answer.
        exchanges: the number of exchanges with the store so far.
    """

    processes: int
    leased: Mapping[str, float]
    is_away: bool
    exchanges: int


@attrs.frozen(kw_only=True)
class LimiterSnapshot:
    """The state of a limiter.

    Args:
        in_flight: number of calls in flight.
        max_in_flight: the most calls in flight at a time.
        waiting: number of calls that wait.
        next_wake_s: seconds until the next call can be admitted; None if a call must end first.
        buckets: the state of each limit, whether it was set, learned or found.
        scopes: every model, or group of models, that had a call.
        shared: what is known of the processes that share the limits; None if none does.
    """

    in_flight: int
    max_in_flight: int
    waiting: int
    next_wake_s: float | None
    buckets: tuple[BucketState, ...]
    scopes: tuple[ScopeState, ...]
    shared: SharedState | None = None
