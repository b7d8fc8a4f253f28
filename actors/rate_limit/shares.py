"""The part of each limit that a lane has now."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

import attrs
import trio

from ...runtime import Message, Ref, UnhandledMessage
from ..permit import DIMENSIONS, Reported
from .explanation import BucketState, LimiterSnapshot
from .limits import Limits, Rate
from .pending import PendingCall, WaitingRenewal
from .pool import Limiting
from .turns import SentCalls

_MAX_AGE_S = 1.0  # of what is known of the lanes in use


@attrs.frozen(kw_only=True)
class LimitShare:
    """The part of one limit that a lane has.

    Args:
        dimension: what the limit counts; "in_flight" for calls in flight.
        limit: the amount that the lane has of it: in `per_s` seconds, or at a time.
        per_s: the period, in seconds; 0 for calls in flight.
        remaining: the amount that the lane could use without a wait.
        reset_s: seconds until all of its part is available, if no more of it is used.
    """

    dimension: Reported
    limit: float
    per_s: float
    remaining: float
    reset_s: float


@attrs.frozen
class LaneShare:
    """The part of all limits of a model that a lane has.

    Args:
        limits: one for each limit, those of the model first.
    """

    limits: tuple[LimitShare, ...] = ()

    def of(self, dimension: Reported) -> LimitShare | None:
        """Return the limit of a dimension that has the smallest part left; None without one.

        Args:
            dimension: what the limit counts.
        """
        found = [share for share in self.limits if share.dimension == dimension]
        return min(found, key=lambda one: (one.remaining / one.limit, one.limit), default=None)


@attrs.frozen
class LaneLoad:
    """The calls of a lane in a scope.

    Args:
        in_flight: the number of calls in flight.
        waiting: what the calls that wait take of each dimension; empty without any.
    """

    in_flight: int = 0
    waiting: Sequence[float] = ()


@attrs.frozen
class LimiterShares:
    """What the shares of lanes follow from.

    Args:
        at: the time that this is from, in seconds on Trio's clock.
        limits: the limits that are set, with the weights of lanes.
        snapshot: the state of all limits.
        loads: the lanes in use and their calls, by model or group of models.
    """

    at: float
    limits: Limits
    snapshot: LimiterSnapshot
    loads: Mapping[str, Mapping[str, LaneLoad]]
    _all: Mapping[str, LaneLoad] = attrs.field(
        default=attrs.Factory(lambda self: _together(self.loads.values()), takes_self=True),
        init=False,
    )
    _weights: dict[str, float] = attrs.field(factory=dict[str, float], init=False)
    _known: dict[tuple[str, str], LaneShare] = attrs.field(
        factory=dict[tuple[str, str], LaneShare], init=False
    )

    def of(self, model: str, lane: str) -> LaneShare:
        """Return the share of a lane: its weight over the weights of the lanes in use and its own.

        Args:
            model: the model of its calls.
            lane: the name of the lane.
        """
        found = self._known.get((model, lane))
        if found is None:
            found = self._known[model, lane] = LaneShare(tuple(self._shares(model, lane)))
        return found

    def _shares(self, model: str, lane: str) -> list[LimitShare]:
        name, set_here = self.limits.group_of(model)
        kinds: dict[tuple[str, str, float, str], list[BucketState]] = {}
        for bucket in self.snapshot.buckets:  # one for each member of a pool
            if bucket.scope in ("", name):
                key = (bucket.scope, bucket.dimension, bucket.per_s, bucket.header)
                kinds.setdefault(key, []).append(bucket)
        own, everywhere = self._part(name, lane), self._part("", lane)
        shares = [self._share(buckets, lane, own, everywhere) for buckets in kinds.values()]
        if set_here is not None and all(not buckets[0].scope for buckets in kinds.values()):
            shares += map(_unused, set_here.all_rates)  # the model has had no call
        load, most = self._all.get(lane, LaneLoad()), self.snapshot.max_in_flight * everywhere
        remaining = 0.0 if load.waiting else max(0.0, most - load.in_flight)
        shares.append(
            LimitShare(
                dimension="in_flight", limit=most, per_s=0.0, remaining=remaining, reset_s=0.0
            )
        )
        return shares

    def _share(
        self, buckets: Sequence[BucketState], lane: str, own: float, everywhere: float
    ) -> LimitShare:
        first = buckets[0]
        part = own if first.scope else everywhere
        load = self._lanes(first.scope).get(lane, LaneLoad())
        limit = part * sum(bucket.part * bucket.limit for bucket in buckets)
        taken = part * sum(bucket.part * bucket.used for bucket in buckets)
        if load.waiting:
            taken += load.waiting[DIMENSIONS.index(first.dimension)]
        return LimitShare(
            dimension=first.dimension,
            limit=limit,
            per_s=first.per_s,
            remaining=max(0.0, limit - taken),
            reset_s=taken / limit * first.per_s,
        )

    def _lanes(self, scope: str) -> Mapping[str, LaneLoad]:
        return self.loads.get(scope, {}) if scope else self._all

    def _part(self, scope: str, lane: str) -> float:
        """Return the part of the limits of a scope that a lane has, from 0 to 1."""
        lanes, limits = self._lanes(scope), self.limits
        total = self._weights.get(scope)
        if total is None:
            total = self._weights[scope] = sum(limits.lane(name).weight for name in lanes)
        weight = limits.lane(lane).weight
        return weight / (total if lane in lanes else total + weight)


def _together(scopes: Iterable[Mapping[str, LaneLoad]]) -> Mapping[str, LaneLoad]:
    """Return the calls of each lane in all scopes together."""
    found: defaultdict[str, list[LaneLoad]] = defaultdict(list)
    for lanes in scopes:
        for lane, load in lanes.items():
            found[lane].append(load)
    return {
        lane: LaneLoad(
            sum(load.in_flight for load in loads),
            [
                sum(amounts)
                for amounts in zip(*(it.waiting for it in loads if it.waiting), strict=True)
            ],
        )
        for lane, loads in found.items()
    }


def _unused(rate: Rate) -> LimitShare:
    return LimitShare(
        dimension=rate.dimension,
        limit=rate.amount,
        per_s=rate.per_s,
        remaining=rate.amount,
        reset_s=0.0,
    )


@attrs.frozen
class GetShares(Message[LimiterShares]):
    """Ask a `RateLimiterActor` what the shares of lanes follow from."""


def shares_of(
    limiter: Limiting[PendingCall | WaitingRenewal], limits: Limits, sent: SentCalls, now: float
) -> LimiterShares:
    """Return what the shares of lanes follow from.

    Args:
        limiter: admits the calls.
        limits: the limits that are set.
        sent: the calls in flight.
        now: the current time.
    """
    waiting = limiter.loads()
    loads = {
        scope: {lane: LaneLoad(0, costs) for lane, costs in lanes.items()}
        for scope, lanes in waiting.items()
    }
    in_flight = Counter(
        (call.reservation.scope.name, pending.lane) for call, (pending, _) in sent.items()
    )
    for (scope, lane), count in in_flight.items():
        costs = waiting.get(scope, {}).get(lane, ())
        loads.setdefault(scope, {})[lane] = LaneLoad(count, costs)
    return LimiterShares(now, limits, limiter.snapshot(now), loads)


@attrs.define(eq=False)
class LaneShares:
    """Answers what the share of a lane is, from what the limiter said a second ago at most.

    Args:
        limiter: the limiter; one that does not handle `GetShares` has no limits.
    """

    limiter: Ref
    _latest: LimiterShares | None = attrs.field(default=None, init=False)
    _is_asked: bool = attrs.field(default=False, init=False)

    async def of(self, model: str, lane: str) -> LaneShare:
        """Return the share of a lane.

        Args:
            model: the model of its calls.
            lane: the name of the lane.
        """
        latest = self._latest
        is_old = latest is None or trio.current_time() - latest.at > _MAX_AGE_S
        if latest is None or (is_old and not self._is_asked):
            self._is_asked = True
            try:
                latest = self._latest = await self.limiter.ask(GetShares())
            except UnhandledMessage:
                return LaneShare()
            finally:
                self._is_asked = False
        return latest.of(model, lane)
