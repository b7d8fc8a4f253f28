"""A circuit breaker: keep calls away from an endpoint that fails, until it works again.

M. Nygard, "Release It!", 2007. While the breaker is closed, every call goes through, and the
breaker counts how the calls end. Too many failures open it, and no call goes through for a pause.
After the pause it is half open: one call goes through as a probe. The head of its response closes
the breaker; its failure before that opens the breaker again, for a longer pause.

Failures arrive sooner than responses, so the first results of many concurrent calls are failures.
The breaker stays closed while more calls are in flight than have failed: those may succeed.

`CircuitBreaker` is pure (R14). `EndpointBreaker` parks calls while a breaker is open (R10): it
does not fail them, and it wakes them at the instant the next call may go, without polling (L4).
"""

from collections import deque
from collections.abc import Callable
from math import inf
from random import Random
from typing import Literal

import attrs
import trio
from attrs.validators import and_, optional

from callsheet.runtime import get_logger

from ..errors import CallFailed, ConnectionFailed, ProviderUnavailable
from ..validation import ge, gt, instance_of, le, lt

BreakerState = Literal["closed", "open", "half_open"]

OUTAGES = (ProviderUnavailable, ConnectionFailed)
"""Failures of the endpoint. Any other response, even "wrong key", shows that it works."""

_MAX_RESULTS = 1000  # in the window; more would not make the rate more precise
_MAX_UNDECIDED = 200  # calls in flight that failures are compared with
_IN_A_ROW: int | None = 10
_HALF: float | None = 0.5


def is_outage(kind: type[CallFailed]) -> bool:
    """Return whether an error counts as a failure of the endpoint.

    Args:
        kind: the class of the error.
    """
    return issubclass(kind, OUTAGES)


@attrs.frozen(kw_only=True)
class BreakerPolicy:
    """When a breaker opens, and for how long.

    Either rule opens it only if at least as many calls have failed as are in flight, or 200. The
    failures counted for that are those in the window or those in a row, whichever are more.

    Args:
        window_s: the age up to which results count, in seconds; at most the newest thousand count.
        min_calls: the results in the window below which the failure rate is ignored.
        failure_rate: the share of failures in the window that opens the breaker; None for never.
        consecutive: the failures in a row, in the window, that open the breaker, whatever the
            failure rate; None for never.
        pause_s: the length of the first pause, in seconds. It doubles after each probe that fails,
            and starts over after one that succeeds.
        max_pause_s: the longest pause, in seconds.
        jitter: the random share of a pause, so that processes that share an endpoint do not probe
            it at once: a pause p lasts from (1 - jitter) p to p.

    Raises:
        ValueError: a value is out of its range; the message names it.
    """

    window_s: float = attrs.field(default=30.0, validator=[gt(0), lt(inf)])
    min_calls: int = attrs.field(default=10, validator=[instance_of(int), ge(1), le(_MAX_RESULTS)])
    failure_rate: float | None = attrs.field(
        default=_HALF, validator=optional(and_(gt(0.0), le(1.0)))
    )
    consecutive: int | None = attrs.field(
        default=_IN_A_ROW, validator=optional(and_(instance_of(int), ge(1), le(_MAX_RESULTS)))
    )
    pause_s: float = attrs.field(default=5.0, validator=[gt(0), lt(inf)])
    max_pause_s: float = attrs.field(default=120.0, validator=[gt(0), lt(inf)])
    jitter: float = attrs.field(default=0.5, validator=[ge(0), le(1)])

    def pause(self, failed_probes: int, random: Random) -> float:
        """Return how long to stay open, in seconds.

        Args:
            failed_probes: the probes that have failed since the breaker was last closed.
            random: the source of the jitter (R13).
        """
        whole = min(self.max_pause_s, self.pause_s * 2.0 ** min(failed_probes, 60))
        return whole * (1.0 - self.jitter * random.random())


@attrs.define(eq=False)
class Ticket:
    """Admits one call. It is settled once, with the breaker that issued it.

    Args:
        breaker: issued the ticket.
        is_probe: whether the call decides if the breaker closes; it does until its head arrives.
        epoch: how often the breaker had opened when the call began.
        settled: whether the breaker knows how the call ended.
    """

    breaker: "CircuitBreaker" = attrs.field(repr=False)
    is_probe: bool
    epoch: int
    settled: bool = False


@attrs.frozen(kw_only=True)
class BreakerStatistics:
    """The state of a breaker. begun = succeeded + failed + abandoned + under_way.

    Args:
        state: closed, open or half_open.
        next_at: when the next call may go, in seconds of the breaker's clock; infinity while a
            probe is in flight.
        results: calls in the window.
        failures: failed calls in the window.
        in_a_row: failures since the last success, in the window.
        opened: how often the breaker has opened.
        failed_probes: probes that have failed since the breaker was last closed.
        is_probing: whether a probe is in flight.
        begun: calls let through.
        refused: times that a call was not let through.
        succeeded: calls that showed that the endpoint works.
        failed: calls that counted as failures of the endpoint.
        abandoned: calls that ended without a result for the endpoint.
        under_way: calls in flight.
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
    """Decide whether a call may go to one endpoint. Its clock never goes back.

    Each call that is let through has a ticket, which exactly one of `succeed`, `fail` and `abandon`
    settles. Settling a ticket again is a no-op, so `abandon` may stand in a ``finally``. A call
    that waits reads `next_at` again whenever a probe has ended.

    A call that began before the breaker opened and ends afterwards changes nothing: its result is
    older than the breaker's state. It can neither end a pause early nor reopen a breaker that has
    closed since.

    Args:
        policy: when the breaker opens, and for how long.
        random: the source of the jitter (R13).
    """

    def __init__(self, policy: BreakerPolicy, random: Random) -> None:
        self._policy = policy
        self._random = random
        self._results: deque[tuple[float, bool]] = deque()  # (when, whether it failed)
        self._failures = 0  # in _results
        self._in_a_row = 0  # failures since the last success, perhaps older than _results
        self._until: float | None = None  # the end of the pause; None while closed
        self._probe: Ticket | None = None
        self._opened = 0  # the epoch; calls of an earlier one are late
        self._failed_probes = 0
        self._undecided = 0  # calls of this epoch in flight
        self._begun = self._refused = self._late = 0
        self._succeeded = self._failed = self._abandoned = 0

    def __repr__(self) -> str:
        state = "closed" if self._until is None else f"open until {self._until:.1f}"
        if self._probe is not None:
            state = "probing"
        return f"<CircuitBreaker {state}, {self._failures} of {len(self._results)} failed>"

    @property
    def is_closed(self) -> bool:
        """Whether it lets every call through."""
        return self._until is None

    def state(self, now: float) -> BreakerState:
        """Return the state at `now`."""
        if self._until is None:
            return "closed"
        return "half_open" if self._probe is not None or now >= self._until else "open"

    def try_begin(self, now: float) -> Ticket | None:
        """Return a ticket for one call; None if it has to wait until `next_at`."""
        if not self.is_closed and self.next_at(now) > now:
            self._refused += 1
            return None
        ticket = Ticket(self, not self.is_closed, self._opened)
        if ticket.is_probe:
            self._probe = ticket
        self._begun += 1
        self._undecided += 1
        return ticket

    def next_at(self, now: float) -> float:
        """Return when the next call may go: `now`, the end of the pause, or infinity.

        Infinity means that a probe in flight decides: call again when it has ended.
        """
        if self._until is None:
            return now
        return max(now, self._until) if self._probe is None else inf

    def confirm(self, ticket: Ticket) -> None:
        """Close the breaker, because the head of a probe's response has arrived.

        The ticket is no probe from then on: how its call ends counts like any other result.
        """
        if ticket is self._probe:
            ticket.is_probe = False
            self._probe = None
            self._close()

    def succeed(self, ticket: Ticket, now: float) -> None:
        """Settle the ticket of a call that shows that the endpoint works."""
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
        """Settle the ticket of a call that the endpoint failed (see `is_outage`).

        A call that was cancelled, or ran out of time, is abandoned instead.
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
            if self._must_open():
                self._open(now)
        else:
            self._late += 1

    def abandon(self, ticket: Ticket) -> None:
        """Settle the ticket of a call without a result: it was cancelled, or never sent.

        If it was a probe, the next call may be one.
        """
        if self._settles(ticket):
            self._abandoned += 1

    def statistics(self, now: float) -> BreakerStatistics:
        """Return the state and the counts at `now`."""
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
        """Settle a ticket; return False if it was settled before."""
        if ticket.breaker is not self:
            raise ValueError("another breaker issued the ticket; settle it there")
        is_first = not ticket.settled
        ticket.settled = True
        self._undecided -= is_first and ticket.epoch == self._opened
        if ticket is self._probe:
            self._probe = None
        return is_first

    def _must_open(self) -> bool:
        policy, results = self._policy, len(self._results)
        if max(self._failures, self._in_a_row) < min(self._undecided, _MAX_UNDECIDED):
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
        if len(self._results) == _MAX_RESULTS:
            self._forget_one()
        self._results.append((now, failed))
        self._failures += failed

    def _forget(self, now: float) -> None:
        while self._results and self._results[0][0] <= now - self._policy.window_s:
            self._forget_one()

    def _forget_one(self) -> None:
        self._failures -= self._results.popleft()[1]


NEVER_OPENS = BreakerPolicy(consecutive=None, failure_rate=None)
"""A breaker that counts, and lets every call through."""

_log = get_logger("callsheet.requests")


class EndpointBreaker:
    """The circuit breaker of one endpoint, on Trio's clock; calls can wait for it.

    Args:
        name: the name of the endpoint, for the log.
        policy: when the breaker opens, and for how long.
        random: the source of its jitter (R13).

    Attributes:
        name: the name of the endpoint.
        listener: is called when the state has changed, or a probe has ended.
    """

    def __init__(self, name: str, policy: BreakerPolicy, random: Random) -> None:
        self.name = name
        self.listener: Callable[[], None] | None = None
        self._breaker = CircuitBreaker(policy, random)
        self._waiting = trio.lowlevel.ParkingLot()
        self._state: BreakerState = "closed"

    def try_enter(self) -> Ticket | None:
        """Return a ticket; None if a call may not go now."""
        return self._breaker.try_begin(trio.current_time())

    def next_at(self) -> float:
        """Return when the next call may go, on Trio's clock; infinity if a probe decides."""
        return self._breaker.next_at(trio.current_time())

    @property
    def would_wait(self) -> bool:
        """Whether a call would wait now."""
        return not self._breaker.is_closed and self.next_at() > trio.current_time()

    @property
    def state(self) -> BreakerState:
        """The state now."""
        return self._breaker.state(trio.current_time())

    async def wait(self, deadline: Callable[[], float]) -> Ticket | None:
        """Wait until a call may go, and return its ticket; None if that is after the deadline.

        Args:
            deadline: returns the call's deadline on Trio's clock; it can move meanwhile (R4).
        """
        while (ticket := self.try_enter()) is None:
            next_at = self.next_at()
            limit = deadline()
            if limit <= trio.current_time() or limit <= next_at < inf:
                return None
            with trio.move_on_at(min(next_at, limit)):
                await self._waiting.park()  # woken when a probe ends
        return ticket

    def confirm(self, ticket: Ticket) -> None:
        """Close the breaker, because the head of a probe's response has arrived.

        Args:
            ticket: the probe's; it stays to be settled.
        """
        is_probe = ticket.is_probe
        self._breaker.confirm(ticket)
        self._changed(trio.current_time(), is_probe=is_probe)

    def succeed(self, ticket: Ticket) -> None:
        """Settle the ticket of a call that shows that the endpoint works."""
        now = trio.current_time()
        self._breaker.succeed(ticket, now)
        self._changed(now, is_probe=ticket.is_probe)

    def fail(self, ticket: Ticket) -> None:
        """Settle the ticket of a call that the endpoint failed."""
        now = trio.current_time()
        self._breaker.fail(ticket, now)
        self._changed(now, is_probe=ticket.is_probe)

    def abandon(self, ticket: Ticket) -> None:
        """Settle the ticket of a call without a result; a no-op if it is settled."""
        self._breaker.abandon(ticket)
        self._changed(trio.current_time(), is_probe=ticket.is_probe)

    def statistics(self) -> BreakerStatistics:
        """Return the state and the counts of the breaker."""
        return self._breaker.statistics(trio.current_time())

    def _changed(self, now: float, *, is_probe: bool) -> None:
        if not is_probe and self._breaker.is_closed and self._state == "closed":
            return  # nearly always
        if is_probe:
            self._waiting.unpark_all()
        state = self._breaker.state(now)
        if self.listener is not None and (is_probe or state != self._state):
            self.listener()
        if state != self._state:
            self._state = state
            level = _log.info if state == "closed" else _log.warning
            wait_s = self._breaker.next_at(now) - now
            wait = None if wait_s == inf else round(wait_s, 3)  # a probe decides
            level("circuit_breaker", endpoint=self.name, state=state, wait_s=wait)
