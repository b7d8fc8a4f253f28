"""How a limit, and a number of calls in flight, are divided among lanes and processes. Pure (R14).

Both are weighted max-min fair ("water-filling", Bertsekas and Gallager, Data Networks, 6.5.2):
each gets what it demands, up to a level times its weight that is the same for all.

Sums over processes are kept up to date rather than added up for each question, in whole
microseconds, so that they are exact whatever the order.
"""

from math import floor, inf
from typing import final

import attrs

from .exchange import OVERFLOW, LaneDemand, PlacesAsk

TICKS = 1e6
"""Units of demand in a second."""

MOST_LANES = 128
"""The most lanes of a scope that are told apart."""

_MOST_TICKS = 1e12  # of one process: sums stay exact
_ROUNDS = 8  # of filling; after them, what is left is divided as it is
_HELD_S = 3.0  # a claim that is not repeated is forgotten
_MOST_PLACES = 1e9
_TURN_S = 1.0  # for which a process has a place that others could have as well
_EPSILON = 1e-9


def ticks_of(seconds: float) -> float:
    """Return a demand in ticks."""
    return min(_MOST_TICKS, max(0.0, floor(seconds * TICKS + 0.5)))


@attrs.define(eq=False)
class LaneTotal:
    """A lane over all processes.

    Args:
        weight: its weight; for `OVERFLOW`, the sum of the weights.
        priority: the priority of the lane.
        ticks: the demand of all processes.
        claims: the number of processes that named it.
        came: when its first call came, less its head start, by the last report of `owner`.
        owner: the process that has its first call, or had when it last asked.
    """

    weight: float
    priority: int
    ticks: float
    claims: int
    came: float
    owner: str


@attrs.frozen
class Claim:
    """The demand of one process in one lane, as it was added to the totals.

    Args:
        scope: the scope of the calls.
        lane: the name of the lane.
        key: the name by which it is in the totals; `OVERFLOW` beyond `MOST_LANES`.
        weight: the weight of the lane.
        ticks: the demand, in ticks.
    """

    scope: str
    lane: str
    key: str
    weight: float
    ticks: float


@final
class ScopeDemand:
    """The calls of all processes that wait in one scope, by lane."""

    __slots__ = ("_need", "_need_at", "_need_owner", "lanes", "users")

    def __init__(self) -> None:
        self.lanes: dict[str, LaneTotal] = {}
        self.users = 0  # processes that named the scope
        self._need = 0.0
        self._need_owner = ""
        self._need_at = 0.0

    def add(self, worker: str, asked: LaneDemand, now: float) -> Claim:
        """Add the demand of a process in a lane."""
        key, lanes, came = asked.lane, self.lanes, now - asked.age_s
        if key not in lanes and len(lanes) >= MOST_LANES:
            key = OVERFLOW
        total = lanes.get(key)
        if total is None:
            total = lanes[key] = LaneTotal(0.0, asked.priority, 0.0, 0, came, worker)
        total.weight = total.weight + asked.weight if key == OVERFLOW else asked.weight
        total.priority = asked.priority
        ticks = ticks_of(asked.seconds)
        total.ticks += ticks
        total.claims += 1
        if ticks > 0.0 and (came <= total.came or total.owner in (worker, "")):
            total.came, total.owner = came, worker
        return Claim(asked.scope, asked.lane, key, asked.weight, ticks)

    def remove(self, worker: str, claim: Claim) -> None:
        """Remove what `add` added. `tidy` then removes the lanes that no process names."""
        total = self.lanes[claim.key]
        total.ticks -= claim.ticks
        total.claims -= 1
        if claim.key == OVERFLOW:
            total.weight -= claim.weight
        if total.owner == worker:
            total.owner = ""  # the next report of another process has it

    def tidy(self) -> None:
        """Remove the lanes that no process names."""
        for name in [name for name, lane in self.lanes.items() if lane.claims <= 0]:
            del self.lanes[name]

    def window(self, least_s: float, most_s: float) -> float:
        """Return for how many seconds of its limits is leased, so that each gets one call."""
        return min(most_s, max(least_s, self._need))

    def note_need(self, worker: str, need_s: float, now: float) -> None:
        """Record the window in which a process would get one call; the longest one counts."""
        if need_s >= self._need or self._need_owner == worker or now - self._need_at > _HELD_S:
            self._need, self._need_owner, self._need_at = need_s, worker, now

    def fill(self, window_s: float) -> tuple[dict[str, float], float]:
        """Divide a window among the lanes, the priority with the oldest call first.

        Returns:
            The seconds of the lanes that have any, {lane: seconds}, and their sum.
        """
        classes: dict[int, list[tuple[str, LaneTotal]]] = {}
        first_came: dict[int, float] = {}
        for name, lane in self.lanes.items():
            if lane.ticks > 0.0:
                classes.setdefault(lane.priority, []).append((name, lane))
                came = first_came.get(lane.priority, inf)
                first_came[lane.priority] = min(came, lane.came)
        filled: dict[str, float] = {}
        left = window_s
        for priority in sorted(classes, key=lambda one: (first_came[one], -one)):
            if left > _EPSILON:
                left = _pour(left, classes[priority], filled)
        return filled, window_s - left


def _pour(left: float, waiting: list[tuple[str, LaneTotal]], filled: dict[str, float]) -> float:
    """Fill lanes of one priority from what is left; return what is left then."""
    level = 0.0
    for _ in range(_ROUNDS):
        weights, rest = 0.0, list[tuple[str, LaneTotal]]()
        for _name, lane in waiting:
            weights += lane.weight
        level = left / weights
        for name, lane in waiting:
            demand = lane.ticks / TICKS
            if demand <= level * lane.weight:
                filled[name] = demand
                left -= demand
            else:
                rest.append((name, lane))
        if not rest or left <= 0.0:
            return left
        if len(rest) == len(waiting):
            break
        waiting = rest
    for name, lane in waiting:
        filled[name] = level * lane.weight
        left -= filled[name]
    return left


@attrs.define(eq=False)
class PlaceClaim:
    """The calls in flight of one process in one scope.

    Args:
        worker: the name of the process.
        wanted: how many there would be without the limit.
        given: how many it may have.
        taken: how many it has, if those are more.
        weight: its weight: that of its lanes, each by its part of the lane.
        turn_at: when it last took, or gave up, a place beyond the whole part of its due.
    """

    worker: str
    wanted: int
    given: int
    taken: int
    weight: float
    turn_at: float


@final
class PlacesDivision:
    """The calls in flight of all processes in one scope. Never more are given than there are."""

    __slots__ = ("claims", "hinted_at")

    def __init__(self) -> None:
        self.claims: dict[str, PlaceClaim] = {}
        self.hinted_at = -_TURN_S

    def ask(self, worker: str, ask: PlacesAsk, weight: float, now: float) -> tuple[int, bool]:
        """Return how many places a process has now, and whether others should ask again.

        Args:
            worker: the name of the process.
            ask: what it has and wants.
            weight: its weight; 0 leaves it as it was.
            now: the current time.
        """
        claims = self.claims
        claim = claims.get(worker)
        if claim is None:
            claim = claims[worker] = PlaceClaim(worker, 0, 0, 0, 1.0, now - _TURN_S)
        claim.wanted = max(ask.wanted, ask.held)
        if weight > 0.0:
            claim.weight = weight
        before, places = claim.taken, floor(min(ask.most, _MOST_PLACES) + _EPSILON)
        level = self._level(places)
        due = min(claim.wanted, level * claim.weight)
        base = floor(due + _EPSILON)
        others, reserved, is_short, is_behind, is_over = 0, 0, False, False, False
        for other in claims.values():
            if other is claim:
                continue
            its_due = min(other.wanted, level * other.weight)
            others += other.taken
            reserved += max(other.taken, floor(its_due + _EPSILON))
            if other.taken < its_due - _EPSILON:
                is_short = True
                is_behind = is_behind or other.turn_at < claim.turn_at
            is_over = is_over or other.taken > its_due + 1.0
        extra, is_recent = 0, now - claim.turn_at < _TURN_S
        if base < claim.wanted:
            if claim.given > base:  # it has one already
                extra = int(is_recent or not is_short)
            elif before > base:  # it gives one up, with the end of a call
                extra = int(not is_short)
            elif places - reserved - base >= 1:
                extra = int(not (is_behind and is_recent))
            if extra != (claim.given > base) or (before > base and not extra):
                claim.turn_at = now
        given = max(0, min(base + extra, places - others))
        claim.given, claim.taken = given, max(given, ask.held)
        news = is_short and claim.taken < before
        if is_over and given < base and now - self.hinted_at >= _TURN_S:
            self.hinted_at, news = now, True
        return given, news

    def leave(self, worker: str) -> bool:
        """Forget a process; return whether it had places."""
        claim = self.claims.pop(worker, None)
        return claim is not None and claim.taken > 0

    def _level(self, places: int) -> float:
        """Return the places for a weight of 1, of processes that want more than that."""
        waiting = list(self.claims.values())
        left = float(places)
        for _ in range(_ROUNDS):
            weights = 0.0
            for claim in waiting:
                weights += claim.weight
            if not weights:
                return inf
            level = left / weights
            rest: list[PlaceClaim] = []
            for claim in waiting:
                if claim.wanted <= level * claim.weight:
                    left -= claim.wanted
                else:
                    rest.append(claim)
            if not rest:
                return inf
            if len(rest) == len(waiting):
                return level
            waiting = rest
        weights = 0.0
        for claim in waiting:
            weights += claim.weight
        return max(0.0, left) / weights
