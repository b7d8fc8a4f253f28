"""A limiter without an actor, with one model and one lane; and the provider's own bucket."""

from math import inf

import attrs

from callsheet.actors.rate_limit.bucket import Limit
from callsheet.actors.rate_limit.core import Limiter as WholeLimiter
from callsheet.actors.rate_limit.limits import Cost, PermitRequest, Rate


@attrs.define(eq=False)
class Waiter:
    """A call that waits, and its outcome."""

    number: int
    cost: Cost
    not_before: float = -inf
    is_renewal: bool = False
    done: bool = False
    went_at: float | None = None
    reservation: object = None


def tokens_of(count):
    return Cost(tokens=count)


def bucket_of(per_minute, burst_s, now):
    """Return the bucket of a limit of requests."""
    return Limit(Rate("requests", per_minute, burst_s=burst_s), now).bucket


class Limiter(WholeLimiter):
    """A limiter whose calls all have one model and one lane."""

    def push(self, waiter, cost, now=0.0):
        super().push(waiter, PermitRequest("m", cost), now)

    def pop(self, now):
        grant = super().pop(now)
        if grant is None:
            return None
        grant.waiting.reservation = self.last = grant.reservation
        return grant.waiting

    def push_renewal(self, waiter, cost, not_before):
        if not hasattr(self, "last"):  # it is let through elsewhere
            self.last = self._take(self._scopes.of("m", 0.0), Cost(0.0), 0.0)
        super().push_renewal(waiter, attrs.evolve(self.last, cost=cost), not_before)

    def release(self, waiter=None, now=0.0, *, happened=True):
        reservation = self.last if waiter is None else waiter.reservation
        super().release(reservation, now, happened=happened)

    def park(self, until):
        self._scopes.of("m", 0.0).parked_until = max(self._scopes.of("m", 0.0).parked_until, until)


class ProviderBucket:
    """A provider's own bucket, which refuses calls beyond its limit."""

    def __init__(self, per_minute, burst_s):
        self.rate = per_minute / 60
        self.capacity = max(1.0, self.rate * burst_s)
        self.level = self.capacity
        self.at = 0.0

    def admits(self, amount, now):
        self.level = min(self.capacity, self.level + self.rate * (now - self.at))
        self.at = now
        if self.level < min(amount, self.capacity) - 1e-6 * self.rate - 1e-9:
            return False
        self.level -= amount
        return True
