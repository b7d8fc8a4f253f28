"""The line of one tenant before its own limits: who has the next turn, and when. Pure (R14).

Calls have their turns in the order in which they came. The turn of a call is when the calls before
it have had theirs, both buckets hold what it takes, and a place in flight is free. What a call
takes is debited at its turn, and corrected when its tokens are known (L3).
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from math import inf
from typing import final

import attrs

from ...actors import Bucket, Dimension, LeasedBucket
from .key import KeyTerms

TurnBuckets = Callable[[Dimension, float, float, float], Bucket]
"""Makes the bucket of a limit; see `TurnLine`."""

_DIMENSIONS: tuple[Dimension, Dimension] = ("requests", "tokens")
_MINUTE_S = 60.0
_MOST_STEPS = 256  # calls ahead whose turns are computed one by one, about 0.1 ms
_PURGE_AT = 64  # calls in line; beyond it, those that have left are removed
_WEIGHT = 0.1  # of the latest duration in the mean


@attrs.frozen
class OwnLimit:
    """The state of one limit of a tenant, as the headers of a response tell it.

    Args:
        limit: what is allowed in a minute.
        remaining: what could be sent now without waiting.
        reset_s: seconds until the whole of it could be.
    """

    limit: float
    remaining: float
    reset_s: float


@attrs.frozen
class OwnLimits:
    """The state of the limits of a tenant; None for one that it does not have.

    Args:
        requests: of requests a minute.
        tokens: of tokens a minute.
    """

    requests: OwnLimit | None = None
    tokens: OwnLimit | None = None


@attrs.define(eq=False)
class TurnPlace:
    """A call that waits for its turn, or that had it.

    Args:
        tokens: what it takes, by estimate.
        came: when it came, in seconds; the order of the line.
        turn: when it had its turn; None before.
        has_left: whether it waits no longer, or has ended.
        wake: is called when its turn may have come earlier than was known.
    """

    tokens: float
    came: float
    turn: float | None = None
    has_left: bool = False
    wake: Callable[[], None] | None = None


@final
class TurnLine:
    """The calls of one tenant: those in line, and those in flight.

    It never waits. Its caller asks when the first call has its turn, and comes back then (L4).

    A bucket holds what a minute allows, so that a tenant which was idle need not wait.

    Args:
        terms: the limits of the key.
        now: the current time, in seconds of a monotonic clock.
        make: makes the bucket of a limit, of what it limits, its refill a second, its depth and the
            time; other processes may have a part of it.

    Attributes:
        in_flight: the number of calls that had their turn and have not ended.
        set_most: the most calls in flight by the terms; infinity without a limit.
        most: how many of them may be in flight here: fewer, if other processes have some of them.
    """

    def __init__(self, terms: KeyTerms, now: float, make: TurnBuckets | None = None) -> None:
        self.in_flight = 0
        self.set_most = inf
        self.most = inf
        self._make = _own_bucket if make is None else make
        self._line: deque[TurnPlace] = deque()
        self._left = 0  # of those, how many have left
        self._waiting = [0.0, 0.0]  # [requests, tokens] of those that wait
        self._buckets: list[Bucket | None] = [None, None]
        self._mean_s = 0.0  # of a call in flight; 0 before one has ended
        self.change(terms, now)

    def __repr__(self) -> str:
        return f"<TurnLine {self.in_flight} in flight, {self.waiting} waiting>"

    @property
    def waiting(self) -> int:
        """The number of calls that wait for their turn."""
        return len(self._line) - self._left

    @property
    def first(self) -> TurnPlace | None:
        """The call that has the next turn; None if none waits."""
        while self._line and self._line[0].has_left:
            self._line.popleft()
            self._left -= 1
        return self._line[0] if self._line else None

    def change(self, terms: KeyTerms, now: float) -> None:
        """Replace the limits; what is used up stays used up."""
        self.set_most = self.most = inf if terms.in_flight is None else terms.in_flight
        for at, amount in enumerate((terms.rpm, terms.tpm)):
            bucket = self._buckets[at]
            if amount is None:
                self._buckets[at] = None
                continue
            rate, depth = amount / _MINUTE_S, max(1.0, amount)
            if bucket is None:
                self._buckets[at] = self._make(_DIMENSIONS[at], rate, depth, now)
            else:
                bucket.set(rate, depth, now)

    @property
    def wanted(self) -> Sequence[float]:
        """What the calls take that wait: requests, and tokens."""
        return self._waiting

    def leased(self) -> Iterator[tuple[LeasedBucket, int]]:
        """Yield the limits that other processes share, each with its index in `wanted`."""
        for at, bucket in enumerate(self._buckets):
            if isinstance(bucket, LeasedBucket):
                yield bucket, at

    def wake(self) -> None:
        """Let the first call that waits look for its turn."""
        first = self.first
        if first is not None and first.wake is not None:
            first.wake()

    # ---------------------------------------------------------------- the line

    def join(self, tokens: float, now: float, came: float | None = None) -> TurnPlace:
        """Put a call in line.

        Args:
            tokens: what it takes, by estimate.
            now: the current time.
            came: when an earlier copy of the call came; its place is the one that this had.
        """
        place = TurnPlace(tokens, now if came is None else min(came, now))
        later: list[TurnPlace] = []
        while self._line and self._line[-1].came > place.came:
            later.append(self._line.pop())
        self._line.append(place)
        self._line.extend(reversed(later))
        self._count(place, 1)
        return place

    def leave(self, place: TurnPlace) -> None:
        """Take a call that waits out of the line."""
        if place.turn is None and not place.has_left:
            place.has_left = True
            self._left += 1
            self._count(place, -1)
            if self._left > _PURGE_AT and self._left > len(self._line) // 2:
                self._line = deque(one for one in self._line if not one.has_left)
                self._left = 0

    def next_at(self, now: float) -> float:
        """Return when the first call has its turn; `now` if it has it already.

        Infinity if no call waits, or if a call in flight must end first.
        """
        first = self.first
        if first is None or self.in_flight >= self.most:
            return inf
        return max(
            [now, *(bucket.ready_at(amount, now) for bucket, amount in self._costs(first.tokens))]
        )

    def admit(self, now: float) -> TurnPlace | None:
        """Give the first call its turn; None if it is not its turn yet."""
        if self.next_at(now) > now:
            return None
        place = self._line.popleft()
        self._count(place, -1)
        for bucket, amount in self._costs(place.tokens):
            bucket.take(amount, now)
        place.turn = now
        self.in_flight += 1
        return place

    # ---------------------------------------------------------------- calls in flight

    def settle(self, place: TurnPlace, tokens: float, now: float) -> None:
        """Replace the estimated tokens of a call by those that it took."""
        bucket = self._buckets[1]
        if bucket is not None and place.turn is not None:
            if tokens > place.tokens:
                bucket.take(tokens - place.tokens, now)
            else:
                bucket.give_back(place.tokens - tokens, place.turn, now)
        place.tokens = tokens

    def refund(self, place: TurnPlace, now: float) -> None:
        """Give back what a call took, because nothing was sent."""
        bucket = self._buckets[0]
        if bucket is not None and place.turn is not None:
            bucket.give_back(1.0, place.turn, now)
        self.settle(place, 0.0, now)

    def end(self, place: TurnPlace, now: float) -> None:
        """Give back the place in flight of a call that has ended."""
        if place.turn is None or place.has_left:
            return
        place.has_left = True
        self.in_flight -= 1
        lasted_s = now - place.turn
        self._mean_s += (lasted_s - self._mean_s) * (_WEIGHT if self._mean_s else 1.0)

    # ---------------------------------------------------------------- what is known beforehand

    def wait_s(self, tokens: float, now: float, came: float = inf) -> float:
        """Return the seconds until the turn of a call that joins now, as far as rates decide it.

        It is exact for up to 256 calls ahead, and with one rate for any number. Beyond it, it is
        the least that is possible. Calls that leave, and those that take fewer tokens than was
        estimated, make it shorter; a place in flight that is not free makes it longer.

        Args:
            tokens: what the call takes.
            now: the current time.
            came: when it came; calls that came later do not count.
        """
        buckets = [
            _Ahead(at, now + bucket.used(now) / bucket.rate, bucket.rate, bucket.depth)
            for at, found in enumerate(self._buckets)
            if found is not None
            for bucket in (found.copy(now),)  # of a shared one, the part of this one
        ]
        if not buckets:
            return 0.0
        rest, line, steps = self._waiting, self._in_line(), 0
        if came < inf:
            line = [place for place in line if place.came <= came]
            rest = [float(len(line)), sum(place.tokens for place in line)]
        if len(buckets) > 1:
            steps = _MOST_STEPS  # one bucket is never full while calls wait for it
        turn, gone = now, [0.0, 0.0]
        for place in islice(line, steps):
            cost = (1.0, place.tokens)
            turn = max(turn, *(bucket.ready(cost) for bucket in buckets))
            for bucket in buckets:
                bucket.take(cost, turn)
            gone[0] += 1.0
            gone[1] += place.tokens
        for bucket in buckets:
            bucket.take((rest[0] - gone[0], rest[1] - gone[1]), now)
        turn = max([turn, *(bucket.ready((1.0, tokens)) for bucket in buckets)])
        return turn - now

    def free_s(self) -> float:
        """Return the seconds until a call that joins now has a place in flight, by estimate."""
        over = self.waiting + self.in_flight + 1 - self.most
        return 0.0 if over <= 0 else over * self._mean_s / max(1, self.most)

    def state(self, now: float) -> OwnLimits:
        """Return the state of the limits.

        Args:
            now: the current time.
        """
        requests, tokens = (
            None if bucket is None else _state(bucket, waiting, now)
            for bucket, waiting in zip(self._buckets, self._waiting, strict=True)
        )
        return OwnLimits(requests, tokens)

    # ----------------------------------------------------------------

    def _in_line(self) -> Iterable[TurnPlace]:
        return (place for place in self._line if not place.has_left)

    def _costs(self, tokens: float) -> Iterator[tuple[Bucket, float]]:
        for bucket, amount in zip(self._buckets, (1.0, tokens), strict=True):
            if bucket is not None:
                yield bucket, amount

    def _count(self, place: TurnPlace, sign: int) -> None:
        self._waiting[0] += sign
        self._waiting[1] += sign * place.tokens


@attrs.define
class _Ahead:
    """A bucket as it will be when the calls ahead have had their turns; see `Bucket`."""

    at: int  # 0 of requests, 1 of tokens
    full_at: float
    rate: float
    depth: float

    def ready(self, cost: tuple[float, float]) -> float:
        return self.full_at - (self.depth - min(cost[self.at], self.depth)) / self.rate

    def take(self, cost: tuple[float, float], turn: float) -> None:
        self.full_at = max(self.full_at, turn) + cost[self.at] / self.rate


def _own_bucket(_: Dimension, rate: float, depth: float, now: float) -> Bucket:
    return Bucket(rate, depth, now)


def _state(bucket: Bucket, waiting: float, now: float) -> OwnLimit:
    used = bucket.used(now) + waiting
    return OwnLimit(bucket.rate * _MINUTE_S, max(0.0, bucket.depth - used), used / bucket.rate)
