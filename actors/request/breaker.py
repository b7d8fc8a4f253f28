"""Keeps calls away from an endpoint that fails, and finds out when it is back. Pure (R14).

A circuit breaker (M. Nygard, "Release It!", 2007). Closed, it lets every call through and looks
at how they end. Too many failures open it: nobody goes for a pause. Then it is half open: one
call goes as a probe, and its success closes the breaker, its failure opens it for a longer pause.

A refusal comes quicker than an answer, so the first results of many calls are their failures. As
long as more calls are under way than have failed, it stays closed: they may show that all is well.

An open breaker parks its callers, it fails nobody (R10): `next_at` is the instant to come back at,
so nobody asks again and again (L4).

Where calls wait while a circuit breaker is open (R10).
"""

from collections import deque
from collections.abc import Callable
from math import inf
from random import Random
from typing import Literal

import attrs
import structlog
import trio
from attrs.validators import and_, ge, gt, instance_of, le, lt, optional

from ..errors import CallFailed, ConnectionFailed, ProviderUnavailable

__all__ = [
    "NEVER_OPENS",
    "OUTAGES",
    "BreakerPolicy",
    "BreakerState",
    "BreakerStatistics",
    "CircuitBreaker",
    "EndpointBreaker",
    "Ticket",
    "is_outage",
]


BreakerState = Literal["closed", "open", "half_open"]

OUTAGES = (ProviderUnavailable, ConnectionFailed)
"""Failures of the endpoint. Any other answer, "too fast" and "wrong key" included, shows it up."""

_MOST_RESULTS = 1000  # in the window; more would not make the rate more telling
_MOST_UNDECIDED = 200  # calls under way that failures are weighed against
_IN_A_ROW: int | None = 10
_HALF: float | None = 0.5


def is_outage(kind: type[CallFailed]) -> bool:
    """Whether a call that ended with this error counts against the endpoint."""
    return issubclass(kind, OUTAGES)


@attrs.frozen(kw_only=True)
class BreakerPolicy:
    """When a breaker opens, and for how long.

    It opens by either rule only if as many calls have failed as are under way, or 200: in the
    window, or since the last one that succeeded, however long they took.

    Args:
        window_s: how far back results count, in seconds; the newest thousand at most.
        min_calls: with fewer results in the window the failure rate says nothing.
        failure_rate: opens when at least this share of the results in the window are failures;
            None for never.
        consecutive: opens after this many failures in a row, in the window, however few the
            results; None for never.
        pause_s: how long it is open the first time, in seconds; it doubles each time a probe
            fails, and starts over when one succeeds.
        max_pause_s: the longest pause, in seconds.
        jitter: what share of a pause is left to chance, so that the processes that share an
            endpoint do not probe it together: a pause p lasts from (1 - jitter) p to p.

    Raises:
        ValueError: a value is out of its range; the message names it.
    """

    window_s: float = attrs.field(default=30.0, validator=[gt(0), lt(inf)])
    min_calls: int = attrs.field(default=10, validator=[instance_of(int), ge(1), le(_MOST_RESULTS)])
    failure_rate: float | None = attrs.field(
        default=_HALF, validator=optional(and_(gt(0.0), le(1.0)))
    )
    consecutive: int | None = attrs.field(
        default=_IN_A_ROW, validator=optional(and_(instance_of(int), ge(1), le(_MOST_RESULTS)))
    )
    pause_s: float = attrs.field(default=5.0, validator=[gt(0), lt(inf)])
    max_pause_s: float = attrs.field(default=120.0, validator=[gt(0), lt(inf)])
    jitter: float = attrs.field(default=0.5, validator=[ge(0), le(1)])

    def pause(self, failed_probes: int, random: Random) -> float:
        """Seconds to stay open after so many failed probes since it was last closed."""
        whole = min(self.max_pause_s, self.pause_s * 2.0 ** min(failed_probes, 60))
        return whole * (1.0 - self.jitter * random.random())


@attrs.define(eq=False)
class Ticket:
    """A call that was let through; its end is told to the breaker that let it.

    Args:
        breaker: that one.
        is_probe: whether everything depends on this one.
        epoch: how often the breaker had opened when the call began.
        settled: whether its end was told.
    """

    breaker: "CircuitBreaker" = attrs.field(repr=False)
    is_probe: bool
    epoch: int
    settled: bool = False


@attrs.frozen(kw_only=True)
class BreakerStatistics:
    """What a breaker is doing. begun = succeeded + failed + abandoned + under_way.

    Args:
        state: closed, open or half_open.
        next_at: when the next call may go; infinity while a probe is under way.
        results: those in the window.
        failures: those of them that are failures.
        in_a_row: failures since the last success, in the window.
        opened: how often it has opened.
        failed_probes: since it was last closed.
        is_probing: whether a probe is under way.
        begun: calls let through.
        refused: times that a call was not let through.
        succeeded: calls that ended well.
        failed: calls that counted as failures of the endpoint.
        abandoned: calls that ended without telling anything about the endpoint.
        under_way: calls that have not ended.
        late: calls that ended after the breaker had opened, and so changed nothing.
    """

    state: BreakerState
    next_at: float
    results: int
    failures: int
    in_a_row: int
    opened: int
    failed_probes: int
    is_probing: bool
    begun: int
    refused: int
    succeeded: int
    failed: int
    abandoned: int
    under_way: int
    late: int


class CircuitBreaker:
    """Whether a call may go to one endpoint. All instants are of one clock that never goes back.

    Each call that is let through has a ticket, and ends with exactly one of `succeed`, `fail` and
    `abandon`; what comes after the first is a no-op, so `abandon` may stand in a ``finally``.
    Whoever is parked asks for `next_at` again after each end.

    A call that began before the breaker opened, and ends after that, changes nothing: it tells of
    the endpoint as it was. It could neither end a pause early nor, when the breaker has closed
    again, open it for the outage that is over.

    Args:
        policy: when it opens, and for how long.
        random: the source of the jitter (R13).
    """

    def __init__(self, policy: BreakerPolicy, random: Random) -> None:
        self._policy = policy
        self._random = random
        self._results: deque[tuple[float, bool]] = deque()  # (when, whether it failed)
        self._failures = 0  # in _results
        self._in_a_row = 0  # failures since the last success, perhaps older than _results
        self._until: float | None = None  # when the pause is over; None while it is closed
        self._probe: Ticket | None = None
        self._opened = 0  # the epoch: a call that began in an earlier one is late
        self._failed_probes = 0
        self._undecided = 0  # calls of this epoch that have not ended
        self._begun = self._refused = self._late = 0
        self._succeeded = self._failed = self._abandoned = 0

    def __repr__(self) -> str:
        state = "closed" if self._until is None else f"open until {self._until:.1f}"
        if self._probe is not None:
            state = "probing"
        return f"<CircuitBreaker {state}, {self._failures} of {len(self._results)} failed>"

    def state(self, now: float) -> BreakerState:
        """What it is at `now`."""
        if self._until is None:
            return "closed"
        return "half_open" if self._probe is not None or now >= self._until else "open"

    def try_begin(self, now: float) -> Ticket | None:
        """Let a call through; None if it has to wait until `next_at`."""
        if self.next_at(now) > now:
            self._refused += 1
            return None
        ticket = Ticket(self, self._until is not None, self._opened)
        if ticket.is_probe:
            self._probe = ticket
        self._begun += 1
        self._undecided += 1
        return ticket

    def next_at(self, now: float) -> float:
        """When the next call may go: `now`, the end of the pause, or infinity.

        Infinity means that it depends on the probe: ask again when that has ended.
        """
        if self._until is None:
            return now
        return max(now, self._until) if self._probe is None else inf

    def succeed(self, ticket: Ticket, now: float) -> None:
        """A call has ended, and the endpoint works."""
        if not self._settles(ticket):
            return
        self._succeeded += 1
        if ticket.is_probe:
            self._close()
        elif ticket.epoch == self._opened:
            self._in_a_row = 0
            self._note(now, failed=False)
        else:
            self._late += 1

    def fail(self, ticket: Ticket, now: float) -> None:
        """A call has ended, and the endpoint is to blame (see `is_outage`).

        One whose asker went away, or had too little time, is abandoned.
        """
        if not self._settles(ticket):
            return
        self._failed += 1
        if ticket.is_probe:
            self._failed_probes += 1
            self._open(now)
        elif ticket.epoch == self._opened:
            self._in_a_row += 1
            self._note(now, failed=True)
            if self._is_too_much():
                self._open(now)
        else:
            self._late += 1

    def abandon(self, ticket: Ticket) -> None:
        """A call has ended, and nobody knows more than before: it was cancelled, or never sent.

        After a probe the next call may be one.
        """
        if self._settles(ticket):
            self._abandoned += 1

    def statistics(self, now: float) -> BreakerStatistics:
        """What it is doing at `now`."""
        self._forget(now)
        ended = self._succeeded + self._failed + self._abandoned
        return BreakerStatistics(
            state=self.state(now),
            next_at=self.next_at(now),
            results=len(self._results),
            failures=self._failures,
            in_a_row=min(self._in_a_row, len(self._results)),
            opened=self._opened,
            failed_probes=self._failed_probes,
            is_probing=self._probe is not None,
            begun=self._begun,
            refused=self._refused,
            succeeded=self._succeeded,
            failed=self._failed,
            abandoned=self._abandoned,
            under_way=self._begun - ended,
            late=self._late,
        )

    def _settles(self, ticket: Ticket) -> bool:
        """Whether this is the first end of a call; it is no probe under way any more."""
        if ticket.breaker is not self:
            raise ValueError("the ticket is another breaker's; tell the end to the one it is from")
        is_first = not ticket.settled
        ticket.settled = True
        self._undecided -= is_first and ticket.epoch == self._opened
        if ticket is self._probe:
            self._probe = None
        return is_first

    def _is_too_much(self) -> bool:
        policy, results = self._policy, len(self._results)
        if max(self._failures, self._in_a_row) < min(self._undecided, _MOST_UNDECIDED):
            return False
        if policy.consecutive is not None and min(self._in_a_row, results) >= policy.consecutive:
            return True
        rate = policy.failure_rate
        return rate is not None and results >= policy.min_calls and self._failures >= rate * results

    def _open(self, now: float) -> None:
        self._opened += 1
        self._undecided = 0
        self._until = now + self._policy.pause(self._failed_probes, self._random)
        self._clear()

    def _close(self) -> None:
        self._failed_probes = 0
        self._until = None
        self._clear()

    def _clear(self) -> None:
        self._results.clear()
        self._failures = self._in_a_row = 0

    def _note(self, now: float, *, failed: bool) -> None:
        self._forget(now)
        if len(self._results) == _MOST_RESULTS:
            self._forget_one()
        self._results.append((now, failed))
        self._failures += failed

    def _forget(self, now: float) -> None:
        while self._results and self._results[0][0] <= now - self._policy.window_s:
            self._forget_one()

    def _forget_one(self) -> None:
        self._failures -= self._results.popleft()[1]


NEVER_OPENS = BreakerPolicy(consecutive=None, failure_rate=None)
"""Looks on, and lets every call through."""

_log = structlog.stdlib.get_logger("callsheet.requests")


class EndpointBreaker:
    """A breaker whose callers can sleep until they may go. Nobody asks again and again (L4).

    Args:
        name: of the endpoint, for the log.
        policy: when the breaker opens, and for how long.
        random: the source of its jitter (R13).

    Attributes:
        name: the endpoint's.
    """

    def __init__(self, name: str, policy: BreakerPolicy, random: Random) -> None:
        self.name = name
        self._breaker = CircuitBreaker(policy, random)
        self._waiting = trio.lowlevel.ParkingLot()
        self._state: BreakerState = "closed"

    def try_enter(self) -> Ticket | None:
        """A ticket, if a call may go at once."""
        return self._breaker.try_begin(trio.current_time())

    def next_at(self) -> float:
        """When the next call may go, on Trio's clock; infinity if that depends on a probe."""
        return self._breaker.next_at(trio.current_time())

    async def wait(self, deadline: Callable[[], float]) -> Ticket | None:
        """A ticket, as soon as a call may go; None if that is not before the deadline.

        Args:
            deadline: of the call, on Trio's clock; it may be moved meanwhile.
        """
        while (ticket := self.try_enter()) is None:
            next_at = self.next_at()
            limit = deadline()
            if limit <= trio.current_time() or limit <= next_at < inf:
                return None
            with trio.move_on_at(min(next_at, limit)):
                await self._waiting.park()  # a probe that ends wakes everybody
        return ticket

    def succeed(self, ticket: Ticket) -> None:
        """A call was answered."""
        self._breaker.succeed(ticket, trio.current_time())
        self._changed(ticket)

    def fail(self, ticket: Ticket) -> None:
        """A call failed, and the endpoint is to blame."""
        self._breaker.fail(ticket, trio.current_time())
        self._changed(ticket)

    def abandon(self, ticket: Ticket) -> None:
        """A call has ended and says nothing of the endpoint; harmless after either of the above."""
        self._breaker.abandon(ticket)
        self._changed(ticket)

    def statistics(self) -> BreakerStatistics:
        """What the breaker is doing."""
        return self._breaker.statistics(trio.current_time())

    def _changed(self, ticket: Ticket) -> None:
        if ticket.is_probe:
            self._waiting.unpark_all()
        state = self._breaker.state(trio.current_time())
        if state != self._state:
            self._state = state
            level = _log.info if state == "closed" else _log.warning
            wait_s = self.next_at() - trio.current_time()
            wait = None if wait_s == inf else round(wait_s, 3)  # a probe decides
            level("circuit_breaker", endpoint=self.name, state=state, wait_s=wait)
