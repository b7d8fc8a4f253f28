"""What the model endpoints have in common: a call that was understood, and its answer."""

from typing import Protocol

import attrs

__all__ = [
    "AnswerContext",
    "ModelAnswer",
    "ModelCall",
    "Piece",
]


@attrs.frozen(kw_only=True)
class AnswerContext:
    """What shapes one answer besides what was asked.

    Args:
        seed: the provider's.
        hex: digits that no other answer of this provider has.
        created: when it was made, in seconds since 1970.
        pieces: the most pieces that a stream's text comes in.
        with_usage: whether it says how many tokens it took.
        batch: whether it is made as part of a batch.
    """

    seed: int
    hex: str
    created: int
    pieces: int = 12
    with_usage: bool = True
    batch: bool = False


@attrs.frozen
class Piece:
    """A part of an answer's body.

    Args:
        data: its bytes.
        output_tokens: how many tokens were produced with it.
    """

    data: bytes = attrs.field(repr=False)
    output_tokens: int = 0


@attrs.frozen
class ModelAnswer:
    """What a call is answered with.

    Args:
        pieces: the body: one piece, or the text of a stream piece by piece.
        input_tokens: billed for the prompt.
        end: what ends a stream, with the last piece: finish reason, usage, the last word.
    """

    pieces: tuple[Piece, ...]
    input_tokens: int
    end: bytes = attrs.field(default=b"", repr=False)

    @property
    def output_tokens(self) -> int:
        """Billed for the whole answer."""
        return sum(piece.output_tokens for piece in self.pieces)

    @property
    def body(self) -> bytes:
        """The whole body."""
        return b"".join(piece.data for piece in self.pieces) + self.end


class ModelCall(Protocol):
    """One request to a model, parsed and found in order."""

    @property
    def model(self) -> str:
        """The model's name."""
        ...

    @property
    def tier(self) -> str:
        """How it is billed when it is not part of a batch: "default", "flex" or "priority"."""
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
    def max_output_tokens(self) -> int | None:
        """Tokens the answer may have by the request's own word; None when it says nothing."""
        ...

    @property
    def stream(self) -> bool:
        """Whether the answer is a stream."""
        ...

    def answer(self, context: AnswerContext) -> ModelAnswer:
        """Work out the answer."""
        ...
