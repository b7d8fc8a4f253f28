"""What the calls that wait need of limits that processes share. Pure (R14)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from math import inf
from operator import add
from typing import final

import attrs

from .core import Limiter
from .lane_queue import LaneQueue, Waiting
from .lanes import FairQueue
from .leased_bucket import LeasedBucket
from .leased_limits import LeasedLimits, MemberLimits
from .limits import Cost, QueuedCall
from .pool import Limiting, PoolLimiter
from .scope import LimitScope

_EPSILON = 1e-9
_SMALL = 0.2  # of the depth
_MOST_WHOLE = 256  # calls that are counted one by one
_ROUNDED = 1.1  # of what may be leased: a call of so much more is leased for, too


@attrs.define
class LaneWait:
    """The calls of one lane that wait.

    Args:
        weight: the weight of the lane, as it is set.
        priority: the priority of the lane.
        seconds: how long its calls take of the limits if they use them alone.
        came: when its first call came, in seconds on the limiter's clock.
    """

    weight: float
    priority: int
    seconds: float
    came: float


@final
@attrs.define(eq=False)
class LeaseDemand:
    """The calls that wait for the same shared limits.

    Args:
        scope: the name of their scope in the store.
        buckets: the limits, each with the index of what it counts in `Cost`.
        first: what the first call needs, if nothing but leases can hold it back; None otherwise.
        totals: what all of them need of each dimension.
        calls: the number of calls.
        room: how many of them may be in flight at present; infinity if nothing but leases holds
            any of them back.
        due_room: how many may be in flight when this process has the places that are due to it.
        lanes: their lanes, by name.
        order: yields what they need of each dimension, in the order in which they are served.
        is_used: whether it has calls, of whatever kind.
        ageing_s: the head start of one step of priority, in seconds.
    """

    scope: str
    buckets: dict[LeasedBucket, int] = attrs.field(factory=dict[LeasedBucket, int])
    first: Sequence[float] | None = None
    totals: Sequence[float] = (0.0,) * len(Cost())
    calls: float = 0.0
    room: float = 0.0
    due_room: float = 0.0
    lanes: dict[str, LaneWait] = attrs.field(factory=dict[str, LaneWait])
    order: Iterator[Sequence[float]] = attrs.field(factory=lambda: iter(()))
    is_used: bool = False
    ageing_s: float = 0.0

    def add_scope(self, scope: LimitScope) -> None:
        """Add the limits of a scope.

        Args:
            scope: the scope of some of the calls.
        """
        for limit in scope.every:
            if isinstance(limit.bucket, LeasedBucket):
                self.buckets[limit.bucket] = limit.index

    def add_order(self, queue: FairQueue[QueuedCall]) -> None:
        """Add the calls of a queue to the order, behind those that were added before.

        Args:
            queue: the queue in which they wait.
        """
        self.order = chain(self.order, (place.waiting.request.cost for place in queue.upcoming()))

    def whole_calls(
        self, leased: Mapping[LeasedBucket, float], room: Mapping[LeasedBucket, float], most: float
    ) -> tuple[dict[str, float], dict[str, float], bool]:
        """Return what the next calls need beyond what is leased, in whole calls.

        A part of a call that is leased would be of no use before the next exchange.

        Args:
            leased: how much is leased of each limit.
            room: how much more may be leased at a time; the first call may take more.
            most: the most calls to lease for, those that are covered included.

        Returns:
            Of each limit, what the first call needs that is not covered by it; what all of them
            need; and whether these are all calls that wait. The store leases at least the first, so
            that no part of a call is leased of a slow limit while more is leased of a fast one.
        """
        needed = dict.fromkeys(self.buckets, 0.0)
        first: dict[str, float] = {}
        amounts: dict[str, float] = {}
        for number, cost in enumerate(self.order, 1):
            if number > most and first:
                return first, amounts, False
            more = {bucket: needed[bucket] + cost[index] for bucket, index in self.buckets.items()}
            missing = {
                bucket: amount - leased[bucket]
                for bucket, amount in more.items()
                if amount > leased[bucket] * (1 + _EPSILON)
            }
            if missing and first:
                if number > _MOST_WHOLE:
                    break
                if any(amount > _ROUNDED * room[bucket] for bucket, amount in missing.items()):
                    if self._are_alike(missing, more, cost, number):
                        amounts = {bucket.name: amount for bucket, amount in missing.items()}
                        first = amounts | first
                    return first, amounts, False
            if missing:
                amounts = {bucket.name: amount for bucket, amount in missing.items()}
                first = amounts | first
            needed = more
        else:
            return first, amounts, True
        for bucket, index in self.buckets.items():  # so many that a part of one is not much
            amount = self.totals[index] - leased[bucket]
            if amount > amounts.get(bucket.name, 0.0):
                amounts[bucket.name] = min(amount, max(room[bucket], first.get(bucket.name, 0.0)))
        return first, amounts, False

    def _are_alike(
        self,
        missing: Mapping[LeasedBucket, float],
        needed: Mapping[LeasedBucket, float],
        cost: Sequence[float],
        number: int,
    ) -> bool:
        """Return whether calls are small and take the same.

        Then a part of one is worth to be leased. In whole calls only, a process that is due 1.4 of
        them at a time would always have 1.
        """
        for bucket in missing:
            amount = cost[self.buckets[bucket]]
            if amount > _SMALL * bucket.depth:
                return False
            if abs(needed[bucket] - number * amount) > _EPSILON * needed[bucket]:
                return False
        return True

    def add_lane(self, lane: LaneQueue[QueuedCall], part: float) -> None:
        """Add the calls of a lane.

        Args:
            lane: the lane, which has calls.
            part: the part of them to add, from 0 to 1.
        """
        seconds, came = part * lane.size, lane.calls[0].came
        self.calls += part * len(lane.calls)
        self.totals = [
            total + part * more for total, more in zip(self.totals, lane.totals, strict=True)
        ]
        known = self.lanes.get(lane.name)
        if known is None:
            found = lane.lane
            self.lanes[lane.name] = LaneWait(found.weight, found.priority, seconds, came)
        else:
            known.seconds += seconds
            known.came = min(known.came, came)

    def add_renewal(self, cost: Cost) -> None:
        """Add one more attempt of a call in flight, which goes before all others.

        Args:
            cost: what it takes of each dimension.
        """
        self.calls += 1
        self.room += 1
        self.due_room += 1
        self.order = chain(self.order, (cost,))
        self.totals = list(map(add, self.totals, cost))


def demands_of(limiter: Limiting[Waiting], now: float) -> list[LeaseDemand]:
    """Return what the calls of a limiter need, by scope.

    Args:
        limiter: the limiter whose limits other processes share.
        now: the current time.
    """
    if isinstance(limiter, PoolLimiter):
        return _of_pool(limiter, now)
    return list(_of_endpoint(limiter, now).values())


def members_of(
    leased: LeasedLimits, limiter: Limiting[Waiting]
) -> Iterator[tuple[MemberLimits, Limiter[Waiting]]]:
    """Yield the limiter of each endpoint, with the names of its scopes in the store.

    Args:
        leased: what this process has leased.
        limiter: the limiter of one endpoint, or of a pool.
    """
    if isinstance(limiter, PoolLimiter):
        for name, member in limiter.members.items():
            yield MemberLimits(leased, name), member
    else:
        yield MemberLimits(leased), limiter


def group_of(scope: LimitScope) -> str:
    """Return the scope under which calls are leased for: "" without limits of their own.

    Args:
        scope: the scope of the calls in the limiter.
    """
    return scope.name if scope.limits or scope.learned else ""


def _of_endpoint(limiter: Limiter[Waiting], now: float) -> dict[str, LeaseDemand]:
    table, found = limiter.scopes, dict[str, LeaseDemand]()
    table.purge_if_left()
    free = limiter.max_in_flight - limiter.in_flight
    due = max(0, limiter.likely_in_flight - limiter.in_flight)
    for scope in table.by_name.values():
        group = _group(found, limiter, scope)
        for lane in scope.queue.demands():
            group.add_lane(lane, 1.0)
        for not_before, _, call in scope.renewals:
            if not_before <= now and not call.done:
                group.add_renewal(call.request.cost)
        if len(scope.queue):
            waiting = len(scope.queue)
            group.room += min(free, scope.max_in_flight - scope.in_flight, waiting)
            group.due_room += min(due, scope.likely_in_flight - scope.in_flight, waiting)
        group.is_used = group.is_used or not scope.is_idle
    for scope, head in limiter.heads(now):
        group = found[group_of(scope)]
        cost = head.waiting.request.cost
        if group.first is None and scope.unleased_ready_at(cost, now) <= now:
            group.first = cost
        group.add_order(scope.queue)
    for group in found.values():
        group.room = inf if group.room >= group.calls else group.room
    return found


def _group(
    found: dict[str, LeaseDemand], limiter: Limiter[Waiting], scope: LimitScope
) -> LeaseDemand:
    name = group_of(scope)
    group = found.get(name)
    if group is None:
        group = found[name] = LeaseDemand(limiter.scopes.key(name))
        group.ageing_s = limiter.ageing_s
    group.add_scope(scope)
    return group


# ------------------------------------------------------------------------------------ of a pool


def _of_pool(limiter: PoolLimiter[Waiting], now: float) -> list[LeaseDemand]:
    """Return the demand of each member: the calls that wait are divided among those that work."""
    found: dict[str, dict[str, LeaseDemand]] = {}
    for name, member in limiter.members.items():
        found[name] = _of_endpoint(member, now)
    free = limiter.max_in_flight - limiter.in_flight
    due = max(0, limiter.likely_in_flight - limiter.in_flight)
    for name, cost, model in limiter.renewals_at(now):
        member = limiter.members[name]
        group = _group(found[name], member, member.scopes.of(model, now))
        group.add_renewal(cost)
        group.first = group.first or cost
    limiter.purge_if_left()
    for queue in limiter.queues.values():
        head = queue.head()
        if head is None:
            continue
        request, count = head.waiting.request, len(queue)
        names, _ = limiter.health.may_serve(request.model, now)
        scopes = {name: limiter.members[name].scopes.of(request.model, now) for name in names}
        for name, calls in _divided(scopes, request.cost, count, now).items():
            scope = scopes[name]
            group = _group(found[name], limiter.members[name], scope)
            for lane in queue.demands():
                group.add_lane(lane, calls / count)
            group.room += min(free, scope.max_in_flight - scope.in_flight, calls)
            group.due_room += min(due, scope.likely_in_flight - scope.in_flight, calls)
            group.add_order(queue)
            is_open = free > 0 and scope.in_flight < scope.max_in_flight
            if (
                group.first is None
                and is_open
                and scope.unleased_ready_at(request.cost, now) <= now
            ):
                group.first = request.cost
            group.is_used = True
    every = [group for groups in found.values() for group in groups.values()]
    for group in every:
        group.room = inf if group.room >= group.calls else group.room
    return every


def _divided(scopes: dict[str, LimitScope], cost: Cost, count: int, now: float) -> dict[str, float]:
    """Return how many calls each member will serve: few go where they can go first."""
    order = sorted(scopes, key=lambda name: _likely_at(scopes[name], cost, now))
    chosen = order[:count]
    speeds = {name: _speed(scopes[name], cost) for name in chosen}
    fastest = [name for name in chosen if speeds[name] == inf]
    found = {name: count / len(fastest) for name in fastest}
    if any(scopes[name].in_flight < scopes[name].max_in_flight for name in fastest):
        return found  # without a shared limit, so that no other one is needed
    slower = {name: speed for name, speed in speeds.items() if speed < inf}
    total, left = sum(slower.values()), count - len(slower)
    return found | {name: 1 + left * speed / total for name, speed in slower.items()}


def _likely_at(scope: LimitScope, cost: Cost, now: float) -> float:
    at = scope.unleased_ready_at(cost, now)
    for limit in scope.every:
        at = max(at, limit.bucket.copy(now).ready_at(cost[limit.index], now))
    return inf if scope.in_flight >= scope.max_in_flight else at


def _speed(scope: LimitScope, cost: Cost) -> float:
    """Return how many such calls a second the limits allow this process."""
    amounts: Iterable[tuple[float, float]] = (
        (limit.bucket.rate * limit.bucket.part, cost[limit.index]) for limit in scope.every
    )
    return min((rate / amount for rate, amount in amounts if amount > 0), default=inf)
