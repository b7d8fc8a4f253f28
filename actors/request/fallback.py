"""Where a call goes when its target cannot serve it. Pure (R14).

One of the places where a call can be made.
"""

from collections.abc import Hashable
from math import inf
from typing import Generic, Literal, TypeVar

import attrs
from attrs.validators import and_, instance_of, min_len, optional

from ..errors import (
    AuthenticationFailed,
    CallFailed,
    ConnectionFailed,
    MalformedAnswer,
    ProviderUnavailable,
    QuotaExhausted,
    RateLimited,
)
from ..vendors import Endpoint

__all__ = [
    "FALLS_BACK",
    "Fallback",
    "Target",
    "TargetOutcome",
]


TargetOutcome = type[CallFailed] | Literal["breaker_open"]
"""Why a target does not serve a call: the error it ended with, or that nobody may go there."""

FALLS_BACK = (
    ProviderUnavailable,
    ConnectionFailed,
    RateLimited,
    MalformedAnswer,
    AuthenticationFailed,  # another target has another key
    QuotaExhausted,  # and another account
)
"""What is the target's fault. What is the request's own, such as `BadRequest`, would only be
refused once more, or be answered by a target that looks less closely."""

T = TypeVar("T", bound=Hashable)


@attrs.frozen
class Fallback(Generic[T]):
    """The targets that can serve a call, the preferred one first. A call only ever moves on.

    Args:
        targets: such as pairs of endpoint and model.

    Raises:
        ValueError: there are none, or one of them is there twice.
    """

    targets: tuple[T, ...] = attrs.field(converter=tuple)

    def __attrs_post_init__(self) -> None:
        if not self.targets:
            raise ValueError("targets is empty; a call needs one at least")
        if len(set(self.targets)) < len(self.targets):
            raise ValueError("targets has one twice; each is tried once, in order")

    @property
    def first(self) -> T:
        """Where a call begins."""
        return self.targets[0]

    def behind(self, current: T) -> int:
        """How many targets are left behind this one: what a retry budget keeps in reserve."""
        return len(self.targets) - 1 - self._index(current)

    def after(
        self, current: T, outcome: TargetOutcome, *, attempts_left: int = 1, left_s: float = inf
    ) -> T | None:
        """The next target; None if the call ends here, with the outcome it has.

        A wait that the deadline leaves no time for is an outcome like any other, as its error:
        at the next target there is nothing to wait for. Nothing was sent to a target whose breaker
        is open, so to move on from there takes nothing from the budget.

        Args:
            current: where the call was, or would have gone.
            outcome: what became of it, when the retries there are used up (L2).
            attempts_left: HTTP requests that the call's budget has left, for one to the next.
            left_s: seconds until the deadline.

        Raises:
            ValueError: `current` is not one of the targets.
        """
        index = self._index(current)
        if left_s <= 0:
            return None
        if outcome != "breaker_open" and (attempts_left < 1 or not issubclass(outcome, FALLS_BACK)):
            return None
        return self.targets[index + 1] if index + 1 < len(self.targets) else None

    def _index(self, current: T) -> int:
        try:
            return self.targets.index(current)
        except ValueError:
            raise ValueError(f"{current!r} is not one of the {len(self.targets)} targets") from None


@attrs.frozen
class Target:
    """An endpoint, and the model to ask there.

    Args:
        endpoint: where.
        model: the model there; None for the one that the request names.

    Raises:
        TypeError, ValueError: it is no endpoint, or the name is empty.
    """

    endpoint: Endpoint = attrs.field(validator=instance_of(Endpoint))
    model: str | None = attrs.field(
        default=None, validator=optional(and_(instance_of(str), min_len(1)))
    )
