"""The calls in flight that a process may have, of those that all processes share. Pure (R14).

The store grants places: of all calls, of each member of a pool, and of each model or group of
models whose number is limited. A process asks for as many as its calls need, and for some besides;
it gives back those that it does not need, at once if other processes wait for them.
"""

from collections.abc import Iterator, Sequence
from math import ceil, inf
from typing import final

from .core import Limiter
from .lane_queue import Waiting
from .lease_demand import LeaseDemand, group_of, members_of
from .leased_limits import LeasedLimits
from .pool import Limiting, PoolLimiter
from .shared import PlacesAsk

_IDLE_S = 0.2  # for which places may be unused
_SPARE_PLACES = 0.25  # of those in use, which are asked for besides
_GIVEN_BACK = 0.8  # of the places that other processes wait for, when that is reported
_FEW_PLACES = 4  # beyond twice those in use, which may stay unused until the heartbeat


@final
class LeasedPlaces:
    """The places in flight of one limiter.

    Args:
        leased: what this process has leased.
        limiter: the limiter, which was made with the same leases.
    """

    def __init__(self, leased: LeasedLimits, limiter: Limiting[Waiting]) -> None:
        self._leased = leased
        self._limiter = limiter
        self._wanted = 0  # places that were asked for
        self._held = 0  # calls in flight that were reported
        self._peak = 0  # calls in flight or waiting since then
        self._of_scopes: dict[str, PlacesAsk] = {}  # the places that were asked for, by scope
        self._spare_since = inf  # when more places were granted than are needed

    def attach(self) -> None:
        """Apply what is granted to the limiter and its members; scopes look for themselves."""
        limiter, leased = self._limiter, self._leased
        limiter.max_in_flight = _places(leased, "", limiter)
        limiter.likely_in_flight = _likely(leased, limiter)
        for source, member in members_of(leased, limiter):
            is_own = member.set_in_flight < limiter.set_in_flight
            if is_own and isinstance(limiter, PoolLimiter):
                member.max_in_flight = _places(leased, source.key(""), member)
                member.likely_in_flight = _likely(leased, member)

    def due_at(self, now: float) -> float:
        """Return when places are needed, or to be given back.

        Args:
            now: the current time.
        """
        return min(self._all_due_at(now), self._scopes_due_at(now))

    def _all_due_at(self, now: float) -> float:
        limiter = self._limiter
        most = limiter.max_in_flight
        needed = limiter.in_flight + limiter.waiting
        self._peak = max(self._peak, needed)
        if most >= limiter.set_in_flight and self._leased.processes <= 1:
            return inf
        if self._held > most and limiter.in_flight <= max(most, _GIVEN_BACK * self._held):
            return now  # others wait for what has ended since
        if limiter.in_flight >= most < limiter.set_in_flight and limiter.waiting:
            return now if self._wanted < needed else inf
        if most > 2 * needed + _FEW_PLACES:
            self._spare_since = min(self._spare_since, now)
        else:
            self._spare_since = inf
        return self._spare_since + _IDLE_S

    def _scopes_due_at(self, now: float) -> float:
        """Return when places of a model, or group of models, are needed or to be given back."""
        at, is_alone = inf, self._leased.processes <= 1
        for source, member in members_of(self._leased, self._limiter):
            if member.max_in_flight < member.set_in_flight < self._limiter.set_in_flight:
                at = min(at, self._member_due_at(source.key(""), member, now))
            for scope in member.scopes.by_name.values():
                most = scope.most
                if scope.set_most == inf or (most >= scope.set_most and is_alone):
                    continue
                needed = scope.in_flight + len(scope.queue)
                asked = self._of_scopes.get(source.key(scope.name))
                held, wanted = (0, 0) if asked is None else (asked.held, asked.wanted)
                if held > most and scope.in_flight <= max(most, _GIVEN_BACK * held):
                    return now  # others wait for what has ended since
                if scope.in_flight >= most < scope.set_most and wanted < needed and scope.queue:
                    return now
                if most > 2 * needed + _FEW_PLACES:
                    at = min(at, self._leased.asked_at + _IDLE_S)
        return at

    def _member_due_at(self, key: str, member: Limiter[Waiting], now: float) -> float:
        """Return when places of one member of a pool are needed or to be given back."""
        asked, most = self._of_scopes.get(key), member.max_in_flight
        held, wanted = (0, 0) if asked is None else (asked.held, asked.wanted)
        if held > most and member.in_flight <= max(most, _GIVEN_BACK * held):
            return now
        waiting = self._limiter.waiting
        is_short = member.in_flight >= most and wanted < member.set_in_flight
        return self._leased.asked_at + _IDLE_S if waiting and is_short else inf

    def asks(self, demands: Sequence[LeaseDemand]) -> Iterator[PlacesAsk]:
        """Yield the calls in flight, as far as their number is limited.

        No more than what is reported as held come to be in flight before the grant arrives: the
        store may give all other places to other processes.

        Args:
            demands: the calls that wait, by scope.
        """
        limiter = self._limiter
        self._spare_since = inf
        self._wanted = _with_spare(max(self._peak, limiter.in_flight + limiter.waiting))
        self._peak = 0
        self._held = max(limiter.in_flight, min(limiter.max_in_flight, self._wanted))
        limiter.max_in_flight = min(limiter.max_in_flight, self._held)
        yield PlacesAsk("", limiter.set_in_flight, self._held, self._wanted)
        waiting = {demand.scope: ceil(demand.calls) for demand in demands}
        is_pool = isinstance(limiter, PoolLimiter)
        for source, member in members_of(self._leased, self._limiter):
            key = source.key("")
            if is_pool and member.set_in_flight < limiter.set_in_flight:
                names = ("", *member.scopes.by_name)
                calls = sum(waiting.get(source.key(name), 0) for name in names)
                wanted = _with_spare(member.in_flight + calls)
                held = max(member.in_flight, min(member.max_in_flight, wanted))
                member.max_in_flight = min(member.max_in_flight, held)
                self._of_scopes[key] = PlacesAsk(key, member.set_in_flight, held, wanted)
                yield self._of_scopes[key]
            for scope in member.scopes.by_name.values():
                if scope.set_most < inf:
                    calls = waiting.get(source.key(group_of(scope)), 0)
                    wanted = _with_spare(scope.in_flight + calls)
                    held = max(scope.in_flight, int(min(scope.most, wanted)))
                    scope.most = min(scope.most, held)
                    asked = PlacesAsk(source.key(scope.name), scope.set_most, held, wanted)
                    self._of_scopes[asked.scope] = asked
                    yield asked


def _places(leased: LeasedLimits, scope: str, limiter: Limiting[Waiting]) -> int:
    """Return the most calls in flight here, as far as they are granted."""
    return int(leased.most(scope, limiter.set_in_flight))


def _likely(leased: LeasedLimits, limiter: Limiting[Waiting]) -> int:
    """Return the most calls in flight here when the processes have what they need."""
    return int(leased.likely_most(limiter.set_in_flight, limiter.max_in_flight))


def _with_spare(needed: int) -> int:
    return needed + ceil(_SPARE_PLACES * needed)
