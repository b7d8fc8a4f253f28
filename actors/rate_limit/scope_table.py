"""The scopes of a limiter, by model, and the limits that all of them share. Pure (R14)."""

from collections.abc import Callable, Sequence
from functools import partial
from operator import add, attrgetter
from typing import Protocol, final

from .bucket import Bucket, BucketMaker, Limit, changed, own_bucket
from .lane_order import LaneOrder
from .lane_queue import Place, Waiting
from .lanes import FairQueue
from .limits import Cost, Impossible, Limits, PermitRequest, QueuedCall, Rate
from .scope import LimitScope, Reservation
from .waits import Before, Bounds, Places, Wait, wait_for

_MAX_SCOPES = 256  # beyond it, models without calls are forgotten


class BucketSource(Protocol):
    """Limits that other processes share."""

    def key(self, scope: str) -> str:
        """Return the name of a scope that is unique among all members of a pool.

        Args:
            scope: the model or group of models; "" for all.
        """
        ...

    def bucket(self, scope: str, limit: Rate, rate: float, depth: float, now: float) -> Bucket:
        """Return the bucket of a limit; the same one for the same limit.

        Args:
            scope: the model or group of models; "" for all.
            limit: the limit, as it is set.
            rate: how much it refills a second.
            depth: how much it holds.
            now: the current time.
        """
        ...

    def attach(self, scope: LimitScope) -> None:
        """Apply what is known of other processes to a scope that is new, or has other limits.

        Args:
            scope: the scope of a model or group of models.
        """
        ...


@final
class ScopeTable:
    """One scope for each model, or group of models, that a call was pushed for.

    Args:
        limits: the limits that calls are kept within.
        now: the current time, in seconds of a monotonic clock.
        source: makes the buckets, and knows of the calls of other processes, if they share the
            limits.

    Attributes:
        by_name: the scopes, by the model or the pattern of the group.
        shared: the limits of all models.
        order: the order of lanes at these limits.
        may_have_left: whether calls that wait may have been given up.
    """

    def __init__(self, limits: Limits, now: float, source: BucketSource | None = None) -> None:
        self._limits = limits
        self._source = source
        make = self._maker("")
        self.shared = [Limit(rate, now, make) for rate in limits.all_rates]
        self.by_name: dict[str, LimitScope] = {}
        self._of_model: dict[str, LimitScope] = {}
        self.order = LaneOrder()
        self.may_have_left = False

    def of(self, model: str, now: float) -> LimitScope:
        """Return the scope of a model; it is made if there is none.

        Args:
            model: the model of a call.
            now: the current time.
        """
        scope = self._of_model.get(model)
        if scope is not None:
            return scope
        name, own = self._limits.group_of(model)
        scope = self.by_name.get(name)
        if scope is None:
            if len(self.by_name) >= _MAX_SCOPES:
                idle = [one.name for one in self.by_name.values() if one.is_idle]
                for gone in idle:
                    del self.by_name[gone]
                self._of_model.clear()
            make, source = self._maker(name), self._source
            scope = LimitScope(name, self._limits, own, self.shared, now, make=make)
            self.by_name[name] = scope
            if source is not None:
                source.attach(scope)
        self._of_model[model] = scope
        return scope

    def of_reservation(self, reservation: Reservation, now: float) -> LimitScope:
        """Return the scope of a reservation, which may come from a limiter before a restart."""
        scope = self.by_name.get(reservation.scope.name)
        return self.of(reservation.scope.name, now) if scope is None else scope

    def owns(self, reservation: Reservation) -> bool:
        """Whether a reservation is of this table, and not of one before or after a restart."""
        return self.by_name.get(reservation.scope.name) is reservation.scope

    def shared_ready_at(self, cost: Cost, now: float) -> float:
        """Return when the limits of all models allow a call, `now` at the earliest."""
        at = now
        for limit in self.shared:
            ready = limit.bucket.ready_at(cost[limit.index], now)
            at = max(at, ready)
        return at

    def shared_size(self, cost: Sequence[float]) -> float:
        """Return the most seconds that calls take of a limit of all models.

        Without such a limit it is their number.

        Args:
            cost: what they take of each dimension.
        """
        sizes = (cost[limit.index] / limit.bucket.rate for limit in self.shared)
        return max(sizes, default=0.0) or cost[0]

    def wait(
        self,
        request: PermitRequest,
        in_flight: Places,
        mean_s: float,
        now: float,
        is_it: Callable[[Waiting], bool] | None = None,
    ) -> Wait:
        """Estimate how long a call would wait; see `Limiter.wait`.

        The calls of other models that are served before it at limits of all models are estimated
        by what their lanes have had. They count for the likely wait only.

        Args:
            request: what the call needs.
            in_flight: the limit of all calls in flight.
            mean_s: seconds that a call in flight takes; 0 if they are not known.
            now: the current time.
            is_it: recognises what waits for it already; None if it would be pushed now.

        Raises:
            Impossible: the call exceeds a limit, so that it could never be admitted.
        """
        self.purge_if_left()
        scope, cost = self.of(request.model, now), request.cost
        scope.check_possible(cost)
        before = before_in(scope.queue, request, now, is_it)
        bounds = scope.bounds(now)
        bounds.places.append(in_flight)
        wait = wait_for(bounds, before, cost, mean_s)
        if len(self.by_name) > 1 and (others := self._others_before(scope, request))[0]:
            count, ahead = before
            both = count + others[0], list(map(add, ahead, others[1]))
            shared = Bounds(
                [limit.bucket.flow(limit.index, now) for limit in self.shared], [], [in_flight]
            )
            likely_s = wait_for(shared, both, cost, mean_s).likely_s
            return Wait(wait.least_s, max(wait.likely_s, likely_s))
        return wait

    def purge_if_left(self) -> None:
        """Remove the calls that were given up from all queues, if there may be any."""
        if self.may_have_left:
            self.may_have_left = False
            for one in self.by_name.values():
                one.queue.purge()

    def key(self, scope: str) -> str:
        """Return the name of a scope for the processes that share its limits.

        Args:
            scope: the model or group of models; "" for all.
        """
        return scope if self._source is None else self._source.key(scope)

    def _others_before(self, scope: LimitScope, request: PermitRequest) -> Before:
        """Return what other models take of limits of all models before a call, by estimate."""
        lane = self._limits.lane(request.lane)
        mine = [one.queue.ahead(request.lane) for one in self.by_name.values()]
        ahead = sum(self.shared_size(totals) for totals in mine if totals)
        start = self.order.start(request.lane, lane.priority) + ahead / lane.weight
        count, costs = 0.0, [0.0] * len(request.cost)
        for other in self.by_name.values():
            for name, its_lane, calls, totals in other.queue.loads() if other is not scope else ():
                part = (start - self.order.start(name, its_lane.priority)) * its_lane.weight
                if part < 0:
                    continue
                least = calls if name == request.lane else 1  # an earlier call of its own lane
                size = self.shared_size(totals)
                share = min(1.0, max(part / size, least / calls))
                count += share * calls
                costs = [cost + share * total for cost, total in zip(costs, totals, strict=True)]
        return count, costs

    def change(self, limits: Limits, now: float) -> list[tuple[QueuedCall, Impossible]]:
        """Replace the limits. What was taken stays taken, and calls that wait keep their places.

        A call keeps its place among those of its lane if other models share its limits now.

        Returns:
            The calls that exceed a new limit, removed from their lanes, each with the reason.
        """
        before, self._limits = self._limits, limits
        self.shared = changed(self.shared, limits.all_rates, now, self._maker(""))
        self._of_model.clear()
        scopes = list(self.by_name.values())
        for scope in scopes:
            scope.change(limits, limits.models.get(scope.name), self.shared, now)
            if self._source is not None:
                self._source.attach(scope)
        impossible: list[tuple[QueuedCall, Impossible]] = []
        moved: list[Place[QueuedCall]] = []

        def size_in(scope: LimitScope, place: Place[QueuedCall]) -> float | None:
            request = place.waiting.request
            its_scope = self.of(request.model, now)
            try:
                its_scope.check_possible(request.cost)
            except Impossible as error:
                impossible.append((place.waiting, error))
                return None
            if its_scope is not scope:
                moved.append(place)
                return None
            return scope.size(request.cost)

        for scope in scopes if not limits.differs_by_lanes(before) else ():
            scope.queue.revise(partial(size_in, scope))
        for place in sorted(moved, key=attrgetter("came", "order")):
            request = place.waiting.request
            scope = self.of(request.model, now)
            size = scope.size(request.cost)
            scope.queue.push(place.waiting, request.lane, size, place.came, request.cost)
        return impossible

    def _maker(self, scope: str) -> BucketMaker:
        return own_bucket if self._source is None else partial(self._source.bucket, scope)

    def copy(self, now: float) -> "ScopeTable":
        """Return an independent copy."""
        other = ScopeTable(self._limits, now)
        other.shared = [limit.copy(now) for limit in self.shared]
        scopes = self.by_name.items()
        other.by_name = {name: scope.copy(other.shared, now) for name, scope in scopes}
        other.order = self.order.copy()
        return other


def before_in(
    queue: FairQueue[QueuedCall],
    request: PermitRequest,
    now: float,
    is_it: Callable[[Waiting], bool] | None,
) -> Before:
    """Return what is served before a call.

    Args:
        queue: the queue in which it waits, or would wait.
        request: what it needs.
        now: the current time.
        is_it: recognises what waits for it already; None if it would be pushed now.
    """
    return queue.before(
        request.lane,
        request.came_at(now),
        len(request.cost),
        None if is_it is None else lambda call: is_it(call.waiting),
    )
