"""When a process leases again: what is leased is too little, or ends soon. Pure (R14).

A lease is asked for when the first call in line has too little of it, but no earlier than the call
could be sent if it had enough: what is leased earlier would be lost by then. While more calls wait
than what is leased will serve, the next lease is asked for shortly before the last one ends, so
that it continues it.
"""

from collections.abc import Sequence
from math import inf
from typing import final

from .lane_queue import Waiting
from .lease_demand import group_of
from .leased_bucket import LeasedBucket
from .leased_limits import LeasedLimits, MemberLimits
from .pool import Limiting, PoolLimiter
from .scope import LimitScope
from .shared import LimitAsk, LimitGrant

_AHEAD_S = 0.2  # calls that are expected within this time are leased for
_LEAST_MARGIN_S, _MOST_MARGIN_S = 0.01, 0.1  # before the end of a lease, at which the next is asked
_RETRY_S = 0.02  # until a lease is asked for again that was not granted
_EPSILON = 1e-9


@final
class LeaseTiming:
    """The times at which the scopes of one limiter lease again.

    Args:
        leased: what this process has leased.
        limiter: the limiter, which was made with the same leases.

    Attributes:
        is_covered: whether no call waits beyond what is leased.
    """

    def __init__(self, leased: LeasedLimits, limiter: Limiting[Waiting]) -> None:
        self._leased = leased
        self._limiter = limiter
        self.is_covered = False
        self._retry_at: dict[str, float] = {}  # {scope: when to ask for a lease again}
        self._line_until: dict[str, float] = {}  # {scope: when all of its leases can be used}
        self._took_s = 0.0  # mean seconds of an exchange

    @property
    def margin_s(self) -> float:
        """Seconds before the end of a lease at which the next is asked for: a few exchanges."""
        return min(_MOST_MARGIN_S, max(_LEAST_MARGIN_S, 3 * self._took_s))

    def due_at(self, now: float) -> float:
        """Return when a lease is needed: a call waits for it, or the leases in use end.

        Args:
            now: the current time.
        """
        limiter, at = self._limiter, inf
        if isinstance(limiter, PoolLimiter):
            return self._pool_due_at(limiter, now)
        for scope, head in limiter.heads(now):
            cost = head.waiting.request.cost
            if _is_short(scope, cost, now):
                line_at = self._line_at(limiter.scopes.key(group_of(scope)))
                leased_at = _leased_at(scope, cost, now) - self.margin_s
                at = min(at, max(scope.unleased_ready_at(cost, now), line_at, leased_at))
            elif len(scope.queue) > 1 and not self.is_covered:
                key = limiter.scopes.key(group_of(scope))
                ready_at = scope.unleased_ready_at(cost, now)  # no earlier: it may pause
                at = min(at, max(_ends_at(scope) - self.margin_s, self._line_at(key), ready_at))
        return at

    def _pool_due_at(self, limiter: PoolLimiter[Waiting], now: float) -> float:
        at = inf
        for queue in limiter.queues.values():
            head = queue.head()
            if head is None or limiter.in_flight >= limiter.max_in_flight:
                continue
            request = head.waiting.request
            names, _ = limiter.health.may_serve(request.model, now)
            scopes = [(name, limiter.members[name].scopes.of(request.model, now)) for name in names]
            open_ = [one for one in scopes if one[1].in_flight < one[1].max_in_flight]
            short = [one for one in open_ if _is_short(one[1], request.cost, now)]
            if short and len(short) == len(open_):
                for name, scope in short:
                    key = MemberLimits(self._leased, name).key(group_of(scope))
                    ready_at = scope.unleased_ready_at(request.cost, now)
                    leased_at = _leased_at(scope, request.cost, now) - self.margin_s
                    at = min(at, max(ready_at, leased_at, self._line_at(key)))
            elif not self.is_covered and len(queue) > 1:
                for name, scope in open_:
                    key = MemberLimits(self._leased, name).key(group_of(scope))
                    ready_at = scope.unleased_ready_at(request.cost, now)
                    ends_at = _ends_at(scope) - self.margin_s
                    at = min(at, max(ends_at, self._line_at(key), ready_at))
        if any(True for _ in limiter.renewals_at(now)) and not self.is_covered:
            at = min(at, max(now, self._leased.asked_at + _RETRY_S))
        return at

    def _line_at(self, scope: str) -> float:
        """Return when a scope may lease again: shortly before the end of its place in line."""
        lead_s = max(self.margin_s, _AHEAD_S * self._leased.part(scope))
        until = self._line_until.get(scope, -inf) - lead_s
        return max(until, self._retry_at.get(scope, -inf))

    def granted(self, ask: LimitAsk, grant: LimitGrant, now: float) -> None:
        """Record what was granted: the places in line, and what is asked for again later.

        Args:
            ask: the question that was asked.
            grant: the answer to it, which has arrived.
            now: the current time.
        """
        self._took_s += 0.2 * (now - self._leased.asked_at - self._took_s)
        for lease in grant.leases:
            until = now + (lease.amount - lease.at_once) / lease.rate
            self._line_until[lease.scope] = max(until, self._line_until.get(lease.scope, until))
        self._note_starved(ask, grant, now)
        self.is_covered = False

    def _note_starved(self, ask: LimitAsk, grant: LimitGrant, now: float) -> None:
        """Wait before a lease is asked for again that was not granted."""
        self._retry_at.clear()
        granted = {(lease.scope, lease.limit): lease.amount for lease in grant.leases}
        for lease in ask.leases:
            for name, amount in lease.first.items():
                if granted.get((lease.scope, name), 0.0) < amount * (1 - _EPSILON):
                    self._retry_at[lease.scope] = now + _RETRY_S


def _ends_at(scope: LimitScope) -> float:
    """Return when all leases of a scope can be used up."""
    ends = (limit.bucket.ends_at for limit in scope.every if isinstance(limit.bucket, LeasedBucket))
    return max(ends, default=inf)


def _leased_at(scope: LimitScope, cost: Sequence[float], now: float) -> float:
    """Return when a call has its turn at the limits of which enough is leased for it.

    What is leased earlier of a faster limit would be lost by then.
    """
    at = now
    for limit in scope.every:
        if isinstance(limit.bucket, LeasedBucket):
            ready_at = limit.bucket.ready_at(cost[limit.index], now)
            at = max(at, ready_at) if ready_at < inf else at
    return at


def _is_short(scope: LimitScope, cost: Sequence[float], now: float) -> bool:
    """Whether too little is leased for a call."""
    for limit in scope.every:
        bucket, amount = limit.bucket, cost[limit.index]
        if (
            amount > 0
            and isinstance(bucket, LeasedBucket)
            and bucket.leased(now) < amount * (1 - _EPSILON)
        ):
            return True
    return False
