"""The permit that the limiter attaches to a call, and what providers report about their limits."""

from collections.abc import Collection
from typing import Literal, Protocol, get_args

import attrs

from .responses import Usage

Dimension = Literal["requests", "input_tokens", "output_tokens", "tokens", "usd"]
"""What a limit counts. A provider that counts input and output tokens together limits "tokens"."""

DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)


Reported = Dimension | Literal["in_flight"]
"""What a provider can report a limit of."""


@attrs.frozen
class Report:
    """The state of one limit, as the provider reports it.

    Args:
        dimension: what the limit counts; "in_flight" for calls in flight, which have no period.
        limit: the amount that is allowed in each period.
        used: the part of that amount that is not available now.
        period_s: seconds of a period, if the provider states them; None if they must be inferred.
        reset_s: seconds until the limit is full, or until its next period begins; None if the
            provider does not report it.
        grain_s: seconds by which `reset_s` may be off, because it is rounded.
        rounding: the amount by which `used` may be off, because it is rounded.
        source: where it was read: the name of a header, or "the text of a refusal".
        usual_s: the period that this header usually has, in seconds; None if it has none.
        more_s: seconds until any amount is available again; None if it is not reported.
    """

    dimension: Reported
    limit: float
    used: float
    period_s: float | None = None
    reset_s: float | None = None
    grain_s: float = attrs.field(default=0.001, kw_only=True)
    rounding: float = attrs.field(default=1.0, kw_only=True)
    source: str = attrs.field(default="", kw_only=True)
    usual_s: float | None = attrs.field(default=None, kw_only=True)
    more_s: float | None = attrs.field(default=None, kw_only=True)


ThrottleReason = Literal["too_fast", "too_many"]


@attrs.frozen
class Throttled:
    """A provider refused a call because of its limits.

    Args:
        why: "too_fast" if the rate is too high, "too_many" if too many calls are in flight.
        limit: the limit that the refusal names; None if it names none.
    """

    why: ThrottleReason
    limit: Report | None = None


class Permit(Protocol):
    """The limiter's permission to send a call.

    It holds one of the places in flight until the call has its response, retries included.
    """

    @property
    def member(self) -> str:
        """The member of a pool of endpoints that is to serve the call; "" without a pool."""
        ...

    @property
    def queued_s(self) -> float:
        """Seconds that the call waited until it was permitted; see `Response.queued_s`."""
        ...

    async def renew(
        self, *, delay: float, throttled: Throttled | None, moves: Collection[str] | None = None
    ) -> None:
        """Wait until another attempt of the same call may be sent.

        Args:
            delay: the least number of seconds to wait.
            throttled: the refusal of the last attempt, which delays all calls; None if the provider
                did not refuse it because of limits.
            moves: the members of the pool that may serve it at once; all other members may after
                the delay, and `member` is the one that does. None keeps it at its member.

        Raises:
            AskFailed: the limiter did not reply. No attempt was sent, so a retry is safe.
        """
        ...

    def park(self, *, delay: float, throttled: Throttled) -> None:
        """Report a refusal after which this call is not retried, so that other calls wait.

        Args:
            delay: seconds that the other calls wait.
            throttled: what the provider's refusal states.
        """
        ...

    def use(self) -> None:
        """Report that a request is being sent: what is reserved can no longer be returned."""
        ...

    def wants_reports(self) -> bool:
        """Return whether the limiter wants the limits in the headers of a response now."""
        ...

    def report_limits(self, reports: tuple[Report, ...]) -> None:
        """Report the limits that the headers of a response state.

        Args:
            reports: the state of each limit; empty if the headers state none.
        """
        ...

    def settle(
        self,
        usage: Usage | None,
        usd: float | None,
        first_byte_s: float | None,
        *,
        uncounted_tokens: int = 0,
    ) -> None:
        """Report what a call used, so that the limiter can correct its reservation.

        Args:
            usage: the tokens that the provider reports; None if it reports none.
            usd: the cost in USD; None if it is not known.
            first_byte_s: seconds until the first byte of the response; None if not measured.
            uncounted_tokens: those of the prompt that do not count towards the provider's limits.
        """
        ...
