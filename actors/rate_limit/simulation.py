"""How long a call would wait: a limiter's future, simulated on a copy. Pure (R14)."""

import heapq
import itertools
from collections.abc import Iterable, Iterator
from math import inf
from typing import Any, Generic, Protocol, TypeVar, final

import attrs

from .explanation import Explanation
from .lane_queue import Waiting
from .limits import PermitRequest
from .scope import Reservation

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

    def release(self, reservation: Reservation, now: float, *, happened: bool = True) -> None:
        """Record the end of an admitted call; refund it if it did not happen."""
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


@final
class Future:
    """What a limiter does from now on, if no further call arrives.

    Each call that waits is admitted as soon as the limits allow it.

    Args:
        limiter: a copy, whose state is changed.
        now: the current time.
        lasts_s: seconds that a call takes which is admitted from now on.
        ends: when each call that is in flight now ends; None after `lasts_s`.

    Attributes:
        now: the simulated time.
        needs_end: whether calls had to wait until one in flight ended.
    """

    def __init__(
        self,
        limiter: Simulated,
        now: float,
        lasts_s: float,
        ends: Iterable[tuple[float, Reservation]] | None = None,
    ) -> None:
        self.now = now
        self.needs_end = False
        self._limiter = limiter
        self._lasts_s = lasts_s
        self._next_at = now
        self._order = itertools.count()
        self._ends: list[tuple[float, int, Reservation]] = []  # a heap: (end, order, call)
        if ends is None:
            ends = [(now + lasts_s, place) for place in limiter.places(now)]
        for end, place in ends:
            self._add_end(end, place)

    def grants(self) -> Iterator[Grant[Any]]:
        """Admit the calls that the limits allow at this time, one after another."""
        while isinstance(found := self._limiter.advance(self.now), Grant):
            yield found
            if found.reservation.is_first:
                self._add_end(self.now + self._lasts_s, found.reservation)
        self._next_at = found

    def take_back(self, grant: Grant[Any]) -> None:
        """Return what the latest of `grants` has taken, because nothing is sent for it."""
        grant.reservation.is_first = False  # it has no end of its own
        self._limiter.release(grant.reservation, self.now, happened=False)

    def _add_end(self, end: float, place: Reservation) -> None:
        heapq.heappush(self._ends, (end, next(self._order), place))

    def move_on(self) -> bool:
        """Go to the next time at which a call may be admitted; return whether there is one."""
        if self._ends and self._ends[0][0] <= self._next_at:
            end, _, place = heapq.heappop(self._ends)
            self.now, self.needs_end = max(self.now, end), self.needs_end or self._next_at == inf
            self._limiter.release(place, self.now)
            return True
        self.now = max(self.now, self._next_at)
        return self._next_at < inf


def simulate(limiter: Simulated, request: PermitRequest, now: float) -> Explanation:
    """Admit calls, until the given one is admitted.

    Args:
        limiter: a copy, whose state is changed.
        request: what the call needs; its deadline is ignored.
        now: the current time.
    """
    before, because, mine = 0, "no limit", SimulatedWaiter()
    limiter.push(mine, attrs.evolve(request, deadline=inf), now)
    future = Future(limiter, now, limiter.mean_s)
    while True:
        for grant in future.grants():
            if grant.waiting is mine:
                member = grant.reservation.member
                return Explanation(future.now - now, because, before, request.cost, member)
            before += 1
        because = limiter.obstacle(request, future.now)
        if not future.move_on():
            return Explanation(inf, because, before, request.cost)
