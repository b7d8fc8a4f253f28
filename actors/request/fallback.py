"""Targets, and the one that a call moves on to when its target cannot serve it. Pure (R14)."""

from collections.abc import Hashable
from math import inf
from typing import Generic, Literal, TypeVar

import attrs
from attrs.validators import and_, optional

from ..errors import (
    AuthenticationFailed,
    CallFailed,
    ConnectionFailed,
    MalformedResponse,
    ProviderUnavailable,
    QuotaExhausted,
    RateLimited,
    UnreadableEndpoint,
)
from ..validation import instance_of, not_empty
from ..vendors import Endpoint

TargetOutcome = type[CallFailed] | Literal["breaker_open"]
"""Why a target does not serve a call: the error there, or an open circuit breaker."""

FALLS_BACK = (
    ProviderUnavailable,
    ConnectionFailed,
    RateLimited,
    MalformedResponse,
    UnreadableEndpoint,
    AuthenticationFailed,  # another target has another key
    QuotaExhausted,  # and another account
)
"""Errors that the target causes. An error that the request causes, such as `BadRequest`, would
only occur again, or be missed by a target that validates less."""

T = TypeVar("T", bound=Hashable)


@attrs.frozen
class Fallback(Generic[T]):
    """The targets that can serve a call, in order. A call never moves back.

    Args:
        targets: the preferred one first.

    Raises:
        ValueError: there are none, or one of them occurs twice.
    """

    targets: tuple[T, ...] = attrs.field(converter=tuple)

    def __attrs_post_init__(self) -> None:
        if not self.targets:
            raise ValueError("targets is empty; a call needs at least one")
        if len(set(self.targets)) < len(self.targets):
            raise ValueError("targets contains a target twice; each is tried once, in order")

    @property
    def first(self) -> T:
        """The target that a call tries first."""
        return self.targets[0]

    def behind(self, current: T) -> int:
        """Return how many targets follow this one: a retry budget reserves a request for each.

        Args:
            current: the target that is in use.
        """
        return len(self.targets) - 1 - self.number(current)

    def after(
        self, current: T, outcome: TargetOutcome, *, attempts_left: int = 1, left_s: float = inf
    ) -> T | None:
        """Return the target that the call moves on to; None if it ends at this one.

        A call also moves on when the deadline leaves no time for a pause: the next target may need
        no pause. Nothing is sent to a target whose breaker is open, so moving on from there needs
        no request of the budget.

        Args:
            current: the target that does not serve the call.
            outcome: why not, after the last retry there (L2).
            attempts_left: HTTP requests that the call's budget has left.
            left_s: seconds until the deadline.

        Raises:
            ValueError: `current` is not one of the targets.
        """
        index = self.number(current)
        if left_s <= 0:
            return None
        if outcome != "breaker_open" and (attempts_left < 1 or not issubclass(outcome, FALLS_BACK)):
            return None
        return self.targets[index + 1] if index + 1 < len(self.targets) else None

    def number(self, current: T) -> int:
        """Return the number of a target, from 0 for the preferred one.

        Args:
            current: the target that is in use.

        Raises:
            ValueError: it is not one of the targets.
        """
        try:
            return self.targets.index(current)
        except ValueError:
            raise ValueError(f"{current!r} is not one of the {len(self.targets)} targets") from None


@attrs.frozen(cache_hash=True)  # each call looks up its layers by it
class Target:
    """An endpoint, and the model to use there.

    Args:
        endpoint: where requests are sent.
        model: replaces the model that the request names; None to keep it.

    Raises:
        TypeError: the endpoint is not an `Endpoint`.
        ValueError: the model's name is empty.
    """

    endpoint: Endpoint = attrs.field(validator=instance_of(Endpoint))
    model: str | None = attrs.field(
        default=None, validator=optional(and_(instance_of(str), not_empty))
    )
