"""Hedged requests: send a second copy of a late one, and take the first response of the two.

J. Dean and L. A. Barroso, "The Tail at Scale", CACM 56(2), 2013. The second copy is sent when the
first has taken longer than most calls do, so that a few extra requests shorten the slowest calls.
The copy that loses is cancelled, and may have been billed (L3).

`Hedger` decides when a copy is sent, and is pure (R14); `HedgedAttempt` sends it.
"""

import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from functools import partial
from typing import Generic, TypeVar, final

import attrs
import trio

from ...runtime import AskFailed, open_collapsing_nursery
from ..errors import BudgetExceeded, LedgerUnavailable
from ..validation import ge, gt, instance_of, le, lt
from .attempt import AttemptLayer
from .breaker import EndpointBreaker, Ticket
from .context import CallProgress
from .exchange import Exchanged, Prepared
from .failures import AttemptFailed

_ROUNDING = 1e-9  # 0.07 x 100 is 7.000000000000001, and 0.05 twenty times is not quite 1


@attrs.frozen(kw_only=True)
class HedgePolicy:
    """When to send a second copy, and of how many calls at most.

    Args:
        quantile: a call is hedged when it has taken longer than this share of the latest calls.
        max_share: hedges per call at most, at any moment, for each model and host.
        min_calls: latencies to observe before the first hedge.
        window: how many of the latest latencies count.
        burst: hedges that can be saved up. An outage makes every call slow: no more than this many
            are then hedged at once, whatever the number of calls before.

    Raises:
        ValueError: a value is out of its range; the message names it.
    """

    quantile: float = attrs.field(default=0.95, validator=[gt(0), lt(1)])
    max_share: float = attrs.field(default=0.05, validator=[ge(0), le(1)])
    min_calls: int = attrs.field(default=50, validator=[instance_of(int), ge(1)])
    window: int = attrs.field(default=500, validator=[instance_of(int), ge(1)])
    burst: int = attrs.field(default=10, validator=[instance_of(int), ge(1)])

    def __attrs_post_init__(self) -> None:
        if self.min_calls > self.window:
            raise ValueError(
                f"min_calls is {self.min_calls}, but window keeps only {self.window} latencies; "
                "raise window or lower min_calls"
            )


class LatencyWindow:
    """Exact quantiles of the latest observations.

    The window keeps them in order of arrival and in order of size. An observation takes two binary
    searches and moves half a list of floats: microseconds with 500. The P2 algorithm (R. Jain and
    I. Chlamtac, CACM 28(10), 1985) keeps five numbers instead, but it never forgets, and the
    latency of a model changes by the hour; it also needs time to settle.

    Args:
        size: how many observations count.
    """

    def __init__(self, size: int) -> None:
        self._latest: deque[float] = deque()
        self._sorted: list[float] = []
        self._size = size

    def __len__(self) -> int:
        return len(self._sorted)

    def add(self, seconds: float) -> None:
        """Add an observation; a full window drops its oldest one.

        Args:
            seconds: the latency of one call, in seconds.

        Raises:
            ValueError: it is negative, infinite or no number.
        """
        if not 0.0 <= seconds < math.inf:
            raise ValueError(f"a latency is a number of seconds from 0 on, not {seconds}")
        if len(self._latest) == self._size:
            del self._sorted[bisect_left(self._sorted, self._latest.popleft())]
        self._latest.append(seconds)
        insort(self._sorted, seconds)

    def quantile(self, share: float) -> float:
        """Return the smallest observation that at least a share of them do not exceed, in seconds.

        The inverse of the empirical distribution function (type 1 of R. J. Hyndman and Y. Fan,
        "Sample Quantiles in Statistical Packages", 1996). The window must not be empty.

        Args:
            share: from 0 to 1.
        """
        rank = math.ceil(share * len(self._sorted) - _ROUNDING)
        return self._sorted[max(0, rank - 1)]


K = TypeVar("K", bound=Hashable)


@attrs.frozen(kw_only=True)
class HedgeStatistics(Generic[K]):
    """The hedges of one key.

    Args:
        key: the model and host, or what else has one latency.
        calls: calls that have begun.
        hedges: second copies that were paid for.
        refused: second copies that the share did not allow.
        observed: latencies in the window.
        after_s: seconds after which a call is hedged now; None while too few are observed.
    """

    key: K
    calls: int
    hedges: int
    refused: int
    observed: int
    after_s: float | None


@attrs.define
class _Track:
    """The latencies and the hedges of one key."""

    latencies: LatencyWindow
    calls: int = 0
    hedges: int = 0
    refused: int = 0
    credit: float = 0.0  # hedges saved up


class Hedger(Generic[K]):
    """Decide when to send a second copy of a call, within the share of hedges.

    For each call: `begin` it; if it has no response after the seconds returned, `take` a hedge and
    send the second copy; at the end, `observe` the first copy. Nothing here is random.

    Args:
        policy: when to hedge, and how many calls at most.
    """

    def __init__(self, policy: HedgePolicy) -> None:
        self._policy = policy
        self._tracks: dict[K, _Track] = {}

    def __repr__(self) -> str:
        calls = sum(track.calls for track in self._tracks.values())
        hedges = sum(track.hedges for track in self._tracks.values())
        return f"<Hedger {hedges} of {calls} calls>"

    def begin(self, key: K) -> float | None:
        """Count a call; return after how many seconds to hedge it, None for never.

        Args:
            key: what has one latency, such as a model at a host. Keys are never forgotten.
        """
        track = self._track(key)
        track.calls += 1
        track.credit = min(float(self._policy.burst), track.credit + self._policy.max_share)
        return self._after_s(track)

    def take(self, key: K) -> bool:
        """Take a hedge from the share; return whether a second copy may be sent.

        Args:
            key: as in `begin`.
        """
        track = self._track(key)
        # The sum may be rounded; the product decides, so that the share is never exceeded.
        fits = track.hedges + 1 <= self._policy.max_share * track.calls
        if not fits or track.credit < 1.0 - _ROUNDING:
            track.refused += 1
            return False
        track.credit -= 1.0
        track.hedges += 1
        return True

    def observe(self, key: K, seconds: float) -> None:
        """Add the latency of a first copy.

        If the second copy won, add the time that the first one had run by then. It would have taken
        longer, but it ranks above the quantile either way; without it, each hedge would lower the
        quantile. Failed calls are not added.

        Args:
            key: as in `begin`.
            seconds: from the start of the first copy.

        Raises:
            ValueError: `seconds` is negative, infinite or no number.
        """
        self._track(key).latencies.add(seconds)

    def statistics(self) -> tuple[HedgeStatistics[K], ...]:
        """Return the hedges of each key, in order of appearance."""
        return tuple(
            HedgeStatistics(
                key=key,
                calls=track.calls,
                hedges=track.hedges,
                refused=track.refused,
                observed=len(track.latencies),
                after_s=self._after_s(track),
            )
            for key, track in self._tracks.items()
        )

    def _after_s(self, track: _Track) -> float | None:
        if self._policy.max_share == 0 or len(track.latencies) < self._policy.min_calls:
            return None
        return track.latencies.quantile(self._policy.quantile)

    def _track(self, key: K) -> _Track:
        track = self._tracks.get(key)
        if track is None:
            track = self._tracks[key] = _Track(LatencyWindow(self._policy.window))
        return track


@final
class HedgedAttempt:
    """Make an attempt, and a second copy of it when the first one is late.

    A streamed call is never hedged: the pieces of two copies cannot be mixed. Neither is a call
    whose response the provider stores: it would be stored twice.

    Args:
        attempt: makes each copy.
        hedger: decides when a second copy is sent, and how many are.
        breaker: the endpoint's; the second copy needs a ticket of its own.
        host: the endpoint's host. Latencies are observed by model and host.
        reserve: HTTP requests that the call's budget keeps for later targets.
    """

    def __init__(
        self,
        attempt: AttemptLayer,
        hedger: Hedger[str],
        breaker: EndpointBreaker,
        *,
        host: str,
        reserve: int,
    ) -> None:
        self._attempt = attempt
        self._hedger = hedger
        self._breaker = breaker
        self._host = host
        self._reserve = reserve

    async def send(self, call: CallProgress, prepared: Prepared, ticket: Ticket) -> Exchanged:
        """See `AttemptLayer`."""
        if call.deliver is not None:
            return await self._attempt.send(call, prepared, ticket)
        key = f"{prepared.request.model} at {self._host}"
        after_s = self._hedger.begin(key)
        start = trio.current_time()
        if after_s is None:
            exchanged = await self._attempt.send(call, prepared, ticket)
        else:
            exchanged = await self._race(call, prepared, ticket, key, after_s)
        self._hedger.observe(key, trio.current_time() - start)
        return exchanged

    async def _race(
        self, call: CallProgress, prepared: Prepared, ticket: Ticket, key: str, after_s: float
    ) -> Exchanged:
        failures: list[AttemptFailed] = []  # of the first copy

        async def send_first() -> Exchanged:
            try:
                return await self._attempt.send(call, prepared, ticket)
            except AttemptFailed as failure:
                failures.append(failure)
                raise

        def enter() -> Copy[Exchanged] | None:
            second = self._breaker.try_enter()
            return None if second is None else partial(self._attempt.send, call, prepared, second)

        try:
            return await race(
                send_first,
                after_s=after_s,
                pay=partial(self._pay, call, key),
                let_through=partial(_let_through, call),
                enter=enter,
            )
        except AttemptFailed as failure:
            if failures and isinstance(failure.error, BudgetExceeded | LedgerUnavailable):
                raise failures[0] from failures[0].__cause__  # the second copy was never sent
            raise

    def _pay(self, call: CallProgress, key: str) -> bool:
        """Pay for a second copy; return whether it may be sent."""
        return (
            not call.keeps_state
            and call.budget.left > self._reserve  # before `take`, which cannot be undone
            and self._hedger.take(key)
            and call.budget.take("hedge", trio.current_time(), reserve=self._reserve)
        )


async def _let_through(call: CallProgress) -> bool:
    """Wait for the limiter to permit a second copy; return whether it does."""
    if call.message.permit is not None:
        try:
            await call.message.permit.renew(delay=0.0, throttled=None)
        except AskFailed:
            return False  # the first copy is still in flight
    return True


T = TypeVar("T")
Copy = Callable[[], Awaitable[T]]


async def race(
    first: Copy[T],
    *,
    after_s: float,
    pay: Callable[[], bool],
    let_through: Callable[[], Awaitable[bool]],
    enter: Callable[[], Copy[T] | None],
) -> T:
    """Return the first response of two copies, and cancel the other copy.

    Args:
        first: sends the first copy.
        after_s: seconds after which the first copy is late.
        pay: pays for a second copy when the first is late; returns whether it may be sent.
        let_through: waits until the second copy may be sent; returns False for never.
        enter: returns what sends the second copy, or None to send none. What it acquires, the copy
            releases.

    Raises:
        AttemptFailed: neither copy has a response; the failure of the copy that ended first.
    """
    over = trio.Event()
    found: list[T] = []
    failures: list[AttemptFailed] = []
    running = 1

    async def run(copy: Copy[T]) -> None:
        nonlocal running
        try:
            found.append(await copy())
        except AttemptFailed as failure:
            failures.append(failure)
        running -= 1
        if found or not running:
            over.set()

    async def follow() -> None:
        nonlocal running
        if not await let_through() or not running:
            return  # without a copy, nothing would release what `enter` acquires
        copy = enter()
        if copy is not None:
            running += 1
            await run(copy)

    async with open_collapsing_nursery() as nursery:
        nursery.start_soon(run, first)
        with trio.move_on_after(after_s):
            await over.wait()
        if not over.is_set() and pay():
            nursery.start_soon(follow)
        await over.wait()
        nursery.cancel_scope.cancel()
    if found:
        return found[0]
    raise failures[0]
