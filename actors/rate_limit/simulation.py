"""How long a call would wait: a limiter's future, simulated on a copy. Pure (R14)."""

import heapq
import itertools
from math import inf
from typing import Any, Generic, Protocol, TypeVar, final

import attrs

from .explanation import Explanation
from .lanes import Waiting
from .scope import PermitRequest, Reservation

W = TypeVar("W", bound=Waiting)


@final
@attrs.frozen
class Grant(Generic[W]):
    """One admitted call.

    Args:
        waiting: what was pushed for it.
        reservation: what it has taken of the limits.
    """

    waiting: W
    reservation: Reservation


class Simulated(Protocol):
    """What a simulation needs of a limiter; see `Limiter`."""

    @property
    def mean_s(self) -> float:
        """The mean duration of a call in flight, in seconds."""
        ...

    def push(self, waiting: Any, request: PermitRequest, now: float) -> bool:  # noqa: ANN401  # a `Waiting`
        """Add a call."""
        ...

    def advance(self, now: float) -> Grant[Any] | float:
        """Admit the next call, or return when to call this again."""
        ...

    def release(self, reservation: Reservation, now: float) -> None:
        """Record the end of an admitted call."""
        ...

    def places(self, now: float) -> list[Reservation]:
        """Return a reservation for each call in flight."""
        ...

    def obstacle(self, request: PermitRequest, now: float) -> str:
        """Return which limit delays the next call of a model."""
        ...


@final
class SimulatedWaiter:
    """The call whose wait is simulated."""

    done = False


def simulate(limiter: Simulated, request: PermitRequest, now: float) -> Explanation:
    """Admit calls, until the given one is admitted.

    Args:
        limiter: a copy, whose state is changed.
        request: what the call needs; its deadline is ignored.
        now: the current time.
    """
    start, before, because = now, 0, "no limit"
    mine, order = SimulatedWaiter(), itertools.count()
    limiter.push(mine, attrs.evolve(request, deadline=inf), now)
    ends = [(now + limiter.mean_s, next(order), place) for place in limiter.places(now)]
    heapq.heapify(ends)
    while True:
        while isinstance(found := limiter.advance(now), Grant):
            if found.waiting is mine:
                return Explanation(
                    now - start, because, before, request.cost, found.reservation.member
                )
            before += 1
            if found.reservation.is_first:
                heapq.heappush(ends, (now + limiter.mean_s, next(order), found.reservation))
        because, at = limiter.obstacle(request, now), found
        if ends and ends[0][0] <= at:
            end, _, place = heapq.heappop(ends)
            now = max(now, end)
            limiter.release(place, now)
        elif at == inf:
            return Explanation(inf, because, before, request.cost)
        else:
            now = at
