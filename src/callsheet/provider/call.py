"""What the three model endpoints have in common: a call that was understood, and its answer."""

from typing import Protocol

import attrs

__all__ = ["Answer", "Call", "Ids"]


@attrs.frozen
class Ids:
    """What tells one answer from another.

    Args:
        hex: digits that no other answer of this provider has.
        created: when it was made, in seconds since 1970.
    """

    hex: str
    created: int


@attrs.frozen
class Answer:
    """What a call is answered with.

    Args:
        parts: the body; several parts are a stream of server-sent events.
        input_tokens: billed for the prompt.
        output_tokens: billed for the answer.
    """

    parts: tuple[bytes, ...] = attrs.field(repr=False)
    input_tokens: int
    output_tokens: int = 0


class Call(Protocol):
    """One request to a model, parsed and found in order."""

    @property
    def model(self) -> str:
        """The model asked for."""
        ...

    @property
    def prompt_key(self) -> str:
        """Canonical JSON of what is asked; the latency follows from it."""
        ...

    @property
    def estimated_tokens(self) -> int:
        """Tokens of the prompt, as the limiter estimates them from its characters."""
        ...

    @property
    def most_output_tokens(self) -> int:
        """Tokens the answer may have by the request's own word; 0 when it says nothing."""
        ...

    @property
    def stream(self) -> bool:
        """Whether the answer is a stream."""
        ...

    def answer(self, seed: int, ids: Ids) -> Answer:
        """Work out the answer."""
        ...
