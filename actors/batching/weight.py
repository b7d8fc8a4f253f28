"""How much a request weighs in a batch, and how much a batch may weigh. Pure (R14)."""

from typing import Literal, NamedTuple

import attrs
from attrs.validators import ge, instance_of, optional

__all__ = ["Bounds", "Full", "Weight"]

Full = Literal["size", "tokens", "bytes"]
"""By what a batch is full."""

_at_least_one = optional([instance_of(int), ge(1)])


class Weight(NamedTuple):
    """What one member, or several together, come to.

    Args:
        size: members of a batch, which for a list of texts are the texts.
        tokens: of the prompt, estimated.
        bytes: of the prompt, as UTF-8.
    """

    size: int = 0
    tokens: int = 0
    bytes: int = 0

    def plus(self, other: "Weight") -> "Weight":
        """Both together."""
        return Weight(self.size + other.size, self.tokens + other.tokens, self.bytes + other.bytes)

    def minus(self, other: "Weight") -> "Weight":
        """What is left without the other."""
        return Weight(self.size - other.size, self.tokens - other.tokens, self.bytes - other.bytes)


@attrs.frozen
class Bounds:
    """What a batch may come to at most; a single member that is heavier goes alone.

    Args:
        max_size: members; None for no bound.
        max_tokens: tokens of the prompts; None for no bound.
        max_bytes: bytes of the prompts; None for no bound.

    Raises:
        ValueError, TypeError: a bound is not a whole number above 0; names it.
    """

    max_size: int | None = attrs.field(default=None, validator=_at_least_one)
    max_tokens: int | None = attrs.field(default=None, validator=_at_least_one)
    max_bytes: int | None = attrs.field(default=None, validator=_at_least_one)

    def within(self, other: "Bounds") -> "Bounds":
        """The tighter of both in each respect."""
        return Bounds(
            _least(self.max_size, other.max_size),
            _least(self.max_tokens, other.max_tokens),
            _least(self.max_bytes, other.max_bytes),
        )

    def has_room(self, weight: Weight) -> bool:
        """Whether one batch may come to that."""
        return self._exceeded(weight, 1) is None

    def full(self, weight: Weight) -> Full | None:
        """By what a batch of that weight is full, or more than full; None if it is not."""
        return self._exceeded(weight, 0)

    def _exceeded(self, weight: Weight, more: int) -> Full | None:
        if self.max_size is not None and weight.size >= self.max_size + more:
            return "size"
        if self.max_tokens is not None and weight.tokens >= self.max_tokens + more:
            return "tokens"
        if self.max_bytes is not None and weight.bytes >= self.max_bytes + more:
            return "bytes"
        return None


def _least(one: int | None, other: int | None) -> int | None:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)
