"""Where calls wait while a circuit breaker is open (R10)."""

from collections.abc import Callable
from math import inf
from random import Random

import structlog
import trio

from .breaker import BreakerPolicy, BreakerState, BreakerStatistics, CircuitBreaker, Ticket

__all__ = ["NEVER_OPENS", "Gate"]

NEVER_OPENS = BreakerPolicy(consecutive=None, failure_rate=None)
"""Looks on, and lets every call through."""

_log = structlog.stdlib.get_logger("callsheet.requests")


class Gate:
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

    def opens_at(self) -> float:
        """When the next call may go, on Trio's clock; infinity if that depends on a probe."""
        return self._breaker.next_at(trio.current_time())

    async def wait(self, deadline: Callable[[], float]) -> Ticket | None:
        """A ticket, as soon as a call may go; None if that is not before the deadline.

        Args:
            deadline: of the call, on Trio's clock; it may be moved meanwhile.
        """
        while (ticket := self.try_enter()) is None:
            opens_at = self.opens_at()
            limit = deadline()
            if limit <= trio.current_time() or limit <= opens_at < inf:
                return None
            with trio.move_on_at(min(opens_at, limit)):
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
            wait_s = self.opens_at() - trio.current_time()
            wait = None if wait_s == inf else round(wait_s, 3)  # a probe decides
            level("circuit_breaker", endpoint=self.name, state=state, wait_s=wait)
