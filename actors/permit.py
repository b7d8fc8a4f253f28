"""What the limiter lets a call pass with, and what it is told in return."""

from typing import Literal, Protocol, get_args

import attrs

from .messages import Usage

__all__ = [
    "DIMENSIONS",
    "Dimension",
    "Permit",
    "Refused",
    "Report",
    "Throttled",
]


Dimension = Literal["requests", "input_tokens", "output_tokens", "tokens", "usd"]
"""What can be limited; "tokens" are those that a provider counts for both sides together."""

DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)


@attrs.frozen
class Report:
    """One limit, as the provider tells it.

    Args:
        dimension: of what.
        limit: how much in a period.
        used: how much of it is missing.
        period_s: seconds in which all of it refills.
        reset_s: seconds until nothing is missing, or until it is counted anew.
    """

    dimension: Dimension
    limit: float
    used: float
    period_s: float
    reset_s: float | None = None


Refused = Literal["too_fast", "too_many"]


@attrs.frozen
class Throttled:
    """A provider refused a call because of its limits.

    Args:
        why: calls come "too_fast", or "too_many" are under way.
        told: the limit that the refusal names, if it names one.
    """

    why: Refused
    told: Report | None = None


class Permit(Protocol):
    """What the limiter lets a call pass with.

    It holds one place in flight until the call's answer is there, retries included.
    """

    async def renew(self, *, delay: float, throttled: Throttled | None) -> None:
        """Wait until one more attempt of the same call may be sent.

        Args:
            delay: seconds from now before which it must not be sent.
            throttled: the provider refused the last one: everybody waits, not only this call.

        Raises:
            AskFailed: it will not be known; the verdict says that asking again is safe.
        """
        ...

    def park(self, *, delay: float, throttled: Throttled) -> None:
        """The provider refused, and this call gives up: the others wait all the same.

        Args:
            delay: seconds from now.
            throttled: what the refusal says.
        """
        ...

    def use(self) -> None:
        """A request goes over the wire: what the call has reserved is no longer to be had back."""
        ...

    def listens(self) -> bool:
        """Whether what an answer tells of limits is of interest now: not every one is."""
        ...

    def hear(self, reports: tuple[Report, ...]) -> None:
        """An answer has begun, and tells of the provider's limits."""
        ...

    def settle(self, usage: Usage | None, usd: float | None, first_byte_s: float | None) -> None:
        """The call has its answer.

        Args:
            usage: the tokens that the provider reports, if it does.
            usd: what it cost, if that is known.
            first_byte_s: seconds until the answer began.
        """
        ...
