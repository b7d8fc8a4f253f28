"""The permits that the rate limiter issues, and the messages that they send to it."""

import contextlib
from collections.abc import Collection
from math import inf

import attrs
import trio

from ...runtime import ActorStopped, Message, Ref
from ..messages import Request
from ..permit import Report, Throttled
from ..responses import Usage
from .estimator import Estimate
from .scope import Reservation

_REPORT_EVERY_S = 0.05  # the headers of two responses in a row report nearly the same limits


@attrs.define(eq=False)
class InFlightCall:
    """An admitted call, and what is known of its latest attempt.

    Args:
        request: the request that was admitted.
        estimate: its estimated tokens.
        reservation: what it has taken of the limits.
        is_sent: whether its latest attempt was sent.
        usage: tokens that the provider reported; None if it reported none.
        usd: its cost in USD; None if it is not known.
        first_byte_s: seconds until the response began; None without a response.
        uncounted_tokens: tokens of the prompt that do not count towards the provider's limits.
        queued_s: seconds that it waited until it was admitted.
    """

    request: Request
    estimate: Estimate
    reservation: Reservation
    is_sent: bool = False
    usage: Usage | None = None
    usd: float | None = None
    first_byte_s: float | None = None
    uncounted_tokens: int = 0
    queued_s: float = 0.0


@attrs.frozen
class RenewPermit(Message[None]):
    """A call in flight waits for one more attempt.

    Args:
        call: the call in flight that waits.
        delay: seconds before which the attempt must not be sent.
        throttled: the refusal of the last attempt; None if the limits did not cause the retry.
        moves: the members of a pool that may serve it at once; None keeps it at its member.
    """

    call: InFlightCall
    delay: float
    throttled: Throttled | None
    moves: Collection[str] | None = None


@attrs.frozen
class ParkCalls(Message[None]):
    """The provider refused a call that is not retried.

    Args:
        call: the call that was refused.
        delay: seconds for which no call is admitted.
        throttled: what the provider's refusal states.
    """

    call: InFlightCall
    delay: float
    throttled: Throttled


@attrs.frozen
class ReportLimits(Message[None]):
    """The headers of a response report the provider's limits.

    Args:
        call: the call of the response.
        reports: one report a limit.
    """

    call: InFlightCall
    reports: tuple[Report, ...]


@attrs.define(eq=False)
class HeaderFilter:
    """When the limiter reads the next headers; all permits of one limiter share it.

    Args:
        learns: whether the limiter learns limits.
        open_at: the earliest time, on Trio's clock, by member of a pool.
    """

    learns: bool
    open_at: dict[str, float] = attrs.field(factory=dict[str, float])


@attrs.frozen
class CallPermit:
    """A `Permit` that sends messages to the limiter; it stays valid when the limiter restarts."""

    _limiter: Ref
    _call: InFlightCall
    _filter: HeaderFilter

    @property
    def member(self) -> str:
        """See `Permit`."""
        return self._call.reservation.member

    @property
    def queued_s(self) -> float:
        """See `Permit`."""
        return self._call.queued_s

    async def renew(
        self, *, delay: float, throttled: Throttled | None, moves: Collection[str] | None = None
    ) -> None:
        """See `Permit`."""
        await self._limiter.ask(RenewPermit(self._call, delay, throttled, moves))

    def park(self, *, delay: float, throttled: Throttled) -> None:
        """See `Permit`."""
        self._send(ParkCalls(self._call, delay, throttled))

    def use(self) -> None:
        """See `Permit`."""
        self._call.is_sent = True

    def wants_reports(self) -> bool:
        """See `Permit`."""
        if not self._filter.learns:
            return False
        return trio.current_time() >= self._filter.open_at.get(self.member, -inf)

    def report_limits(self, reports: tuple[Report, ...]) -> None:
        """See `Permit`."""
        self._filter.open_at[self.member] = trio.current_time() + _REPORT_EVERY_S
        if reports:
            self._send(ReportLimits(self._call, reports))

    def settle(
        self,
        usage: Usage | None,
        usd: float | None,
        first_byte_s: float | None,
        *,
        uncounted_tokens: int = 0,
    ) -> None:
        """See `Permit`."""
        call = self._call  # the limiter reads it when the reply slot of the call is settled
        call.usage, call.usd, call.first_byte_s = usage, usd, first_byte_s
        call.uncounted_tokens = uncounted_tokens

    def _send(self, message: Message[None]) -> None:
        with contextlib.suppress(ActorStopped):
            self._limiter.tell_nowait(message)
