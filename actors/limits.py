"""When the next call may go: requests and tokens a minute, and requests in flight. Pure (R14).

Both rates are token buckets that refill continuously, as the providers' own are: with rate r per
second and depth d, the level at time t is min(d, level(t0) + r (t - t0)). A call may go when each
bucket holds what it costs, and all of them are debited at once. A call that costs more than a
bucket is deep may go when the bucket is full, and leaves it in debt; the average rate is kept.
"""

import heapq
import itertools
from collections import deque
from math import inf
from typing import Generic, Literal, Protocol, TypeVar

import attrs
from attrs.validators import ge, gt, in_, instance_of, optional

from .messages import Request

__all__ = ["Bucket", "Cost", "Impossible", "Limiter", "Limits", "Waiting", "estimate_input_tokens"]

_CHARS_PER_TOKEN = 4
_TOKENS_PER_TURN = 4  # what role and separators of a turn come to


def estimate_input_tokens(request: Request) -> int:
    """About how many tokens the prompt has: a token is four characters, as providers reckon."""
    return sum(
        -(-len(turn.content) // _CHARS_PER_TOKEN) + _TOKENS_PER_TURN for turn in request.messages
    )


@attrs.frozen(kw_only=True)
class Limits:
    """What the provider allows, or what one wants to use of it.

    Args:
        rpm: requests a minute; None for no limit.
        tpm: tokens a minute; None for no limit.
        in_flight: requests under way at a time.
        burst_s: how many seconds' worth of a limit may go at once. Providers may enforce 60 a
            minute as 1 a second, so a minute's worth at once can be refused.
        token_charge: what the provider counts at admission: the "max" of prompt and `max_tokens`
            (OpenAI's documented rule), or their "sum".

    Raises:
        ValueError: a value is out of its range; the message names it.
    """

    rpm: float | None = attrs.field(default=None, validator=optional(gt(0)))
    tpm: float | None = attrs.field(default=None, validator=optional(gt(0)))
    in_flight: int = attrs.field(default=100, validator=[instance_of(int), ge(1)])
    burst_s: float = attrs.field(default=1.0, validator=ge(0))
    token_charge: Literal["max", "sum"] = attrs.field(default="max", validator=in_(("max", "sum")))

    def cost(self, request: Request) -> "Cost":
        """What a call counts for."""
        prompt, answer = estimate_input_tokens(request), request.max_tokens or 0
        is_sum = self.token_charge == "sum"  # noqa: S105  # no password
        return Cost(tokens=prompt + answer if is_sum else max(prompt, answer))


@attrs.frozen
class Cost:
    """What one call takes from the buckets."""

    tokens: int
    requests: int = 1


class Impossible(ValueError):
    """The call costs more than a minute of the limit; the text names the dimension."""


class Bucket:
    """One rate. It is never polled: it says when it will hold enough.

    Args:
        per_minute: how much it refills in a minute.
        burst_s: its depth, in seconds' worth of that.
        now: when it is full for the first time, in seconds.
    """

    def __init__(self, per_minute: float, burst_s: float, now: float) -> None:
        self.rate = per_minute / 60.0
        # The provider's own bucket may be just as deep. One less keeps a margin of one interval
        # against calls that reach it closer together than they were sent.
        self.depth = max(1.0, self.rate * burst_s - 1.0)
        self._level = self.depth
        self._at = now
        # (when, level before a debit): the peaks that a late refund has to look at
        self._peaks: deque[tuple[float, float]] = deque()

    def level(self, now: float) -> float:
        """What it holds; below 0 after a call that was larger than the bucket."""
        return min(self.depth, self._level + self.rate * (now - self._at))

    def ready_at(self, amount: float, now: float) -> float:
        """When it will hold `amount`, or be full if that is less; `now` if it does already."""
        missing = min(amount, self.depth) - self.level(now)
        return now if missing <= _EPSILON * self.depth else now + missing / self.rate

    def take(self, amount: float, now: float) -> None:
        """Debit it."""
        level = self.level(now)
        while self._peaks and self._peaks[-1][1] <= level:
            self._peaks.pop()
        self._peaks.append((now, level))
        self._level = level - amount
        self._at = now

    def give_back(self, amount: float, since: float, now: float) -> None:
        """Undo a debit that was made at `since`, as far as it still matters.

        Had it not been made, the bucket would have been fuller ever since, but never more than
        full: what would have run over when it was at its fullest is not there to be given back.
        """
        level = self.level(now)
        fullest = max([level, *(peak for when, peak in self._peaks if when > since)])
        given = max(0.0, min(amount, self.depth - fullest))
        self._peaks = deque((when, peak + given * (when > since)) for when, peak in self._peaks)
        self._level = level + given
        self._at = now


_PURGE_AT = 256  # waiting calls; then those that nobody waits for any more are looked for
_EPSILON = 1e-9  # of the depth: sums of floats must not make a wake-up come an instant too early


class Waiting(Protocol):
    """Something that waits for its turn."""

    @property
    def done(self) -> bool:
        """Whether nobody waits for it any more."""
        ...


W = TypeVar("W", bound=Waiting)


@attrs.define
class _Entry(Generic[W]):
    waiting: W
    cost: Cost


class Limiter(Generic[W]):
    """Who goes next, and when. First come, first served; renewals of calls under way go first.

    Args:
        limits: what is allowed.
        now: the present, in seconds of any clock that does not go back.
    """

    def __init__(self, limits: Limits, now: float) -> None:
        self._limits = limits
        self._requests = None if limits.rpm is None else Bucket(limits.rpm, limits.burst_s, now)
        self._tokens = None if limits.tpm is None else Bucket(limits.tpm, limits.burst_s, now)
        self._in_flight = 0
        self._parked_until = -inf
        self._queue: deque[_Entry[W]] = deque()
        self._renewals: list[tuple[float, int, _Entry[W]]] = []  # a heap of (not before, order, _)
        self._order = itertools.count()
        self._purge_at = _PURGE_AT

    def __repr__(self) -> str:
        return (
            f"<Limiter {self._in_flight} in flight, {len(self._queue)} waiting, "
            f"{len(self._renewals)} renewals>"
        )

    @property
    def in_flight(self) -> int:
        """Calls that were let through and have not ended."""
        return self._in_flight

    @property
    def waiting(self) -> int:
        """Calls that wait, those nobody waits for any more included."""
        return len(self._queue) + len(self._renewals)

    def push(self, waiting: W, cost: Cost) -> None:
        """One more waits.

        Raises:
            Impossible: it could never go.
        """
        tpm = self._limits.tpm
        if tpm is not None and cost.tokens > tpm:
            raise Impossible(
                f"the call counts for about {cost.tokens} tokens, more than the limit of {tpm:g} "
                "tokens a minute; shorten the prompt, lower max_tokens or raise the limit (--tpm)"
            )
        self._queue.append(_Entry(waiting, cost))
        if len(self._queue) > self._purge_at:
            self._queue = deque(entry for entry in self._queue if not entry.waiting.done)
            self._purge_at = max(_PURGE_AT, 2 * len(self._queue))

    def push_renewal(self, waiting: W, cost: Cost, not_before: float) -> None:
        """A call that is under way wants to be sent once more; it keeps its place in flight."""
        heapq.heappush(self._renewals, (not_before, next(self._order), _Entry(waiting, cost)))

    def park(self, until: float) -> None:
        """The provider said "too fast": nobody goes before `until`."""
        self._parked_until = max(self._parked_until, until)

    def release(self) -> None:
        """A call that was let through has ended."""
        self._in_flight -= 1

    def refund(self, cost: Cost, since: float, now: float) -> None:
        """A call that was let through at `since` was never sent (L3)."""
        for bucket, amount in self._debits(cost):
            bucket.give_back(amount, since, now)

    def pop(self, now: float, *, only_renewals: bool = False) -> W | None:
        """Whoever may go now, all debited; None if nobody may.

        Args:
            now: the present.
            only_renewals: those that have no place yet are left waiting.
        """
        self._drop_done()
        entry = self._head(now, only_renewals=only_renewals)
        if entry is None or self._ready_at(entry.cost, now) > now:
            return None
        for bucket, amount in self._debits(entry.cost):
            bucket.take(amount, now)
        if self._renewals and entry is self._renewals[0][2]:
            heapq.heappop(self._renewals)
        else:
            self._queue.popleft()
            self._in_flight += 1
        return entry.waiting

    def next_at(self, now: float, *, only_renewals: bool = False) -> float:
        """The earliest that `pop` may give somebody; infinity if it takes a release or a push (L4).

        Args:
            now: an instant at which `pop` gave nobody.
            only_renewals: as for `pop`.
        """
        self._drop_done()
        entry = self._head(now, only_renewals=only_renewals)
        if entry is not None:
            at = self._ready_at(entry.cost, now)
            if self._renewals and self._renewals[0][2] is not entry:
                at = min(at, self._renewal_at)  # it will go before the queue's head
            return at
        return self._renewal_at

    @property
    def _renewal_at(self) -> float:
        return max(self._renewals[0][0], self._parked_until) if self._renewals else inf

    def _head(self, now: float, *, only_renewals: bool) -> _Entry[W] | None:
        if self._renewals and self._renewals[0][0] <= now:
            return self._renewals[0][2]
        if only_renewals:
            return None
        if self._queue and self._in_flight < self._limits.in_flight:
            return self._queue[0]
        return None

    def _ready_at(self, cost: Cost, now: float) -> float:
        times = (bucket.ready_at(amount, now) for bucket, amount in self._debits(cost))
        return max(now, self._parked_until, *times)

    def _debits(self, cost: Cost) -> list[tuple[Bucket, float]]:
        pairs = ((self._requests, cost.requests), (self._tokens, cost.tokens))
        return [(bucket, float(amount)) for bucket, amount in pairs if bucket is not None]

    def _drop_done(self) -> None:
        while self._queue and self._queue[0].waiting.done:
            self._queue.popleft()
        while self._renewals and self._renewals[0][2].waiting.done:
            heapq.heappop(self._renewals)
