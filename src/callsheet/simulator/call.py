"""The types that all model endpoints share: a parsed call and its response."""

from typing import Protocol

import attrs


@attrs.frozen(kw_only=True)
class AnswerContext:
    """The context of one response, besides the call itself.

    Args:
        seed: the provider's seed.
        hex: hexadecimal digits that are unique to this response.
        created: the time of the response, in seconds since 1970.
        pieces: the maximum number of pieces of a stream's text.
        with_usage: True if the response reports its tokens.
        batch: True if the response is for a line of a batch.
    """

    seed: int
    hex: str
    created: int
    pieces: int = 12
    with_usage: bool = True
    batch: bool = False


@attrs.frozen
class Piece:
    """A piece of a response body.

    Args:
        data: the bytes.
        output_tokens: the number of output tokens in the piece.
    """

    data: bytes = attrs.field(repr=False)
    output_tokens: int = 0


@attrs.frozen
class ModelAnswer:
    """The response to a call.

    Args:
        pieces: the body in one piece, or the text of a stream in several.
        input_tokens: the tokens billed for the prompt.
        end: the bytes that end a stream, sent with the last piece: finish reason, usage and end
            mark.
    """

    pieces: tuple[Piece, ...]
    input_tokens: int
    end: bytes = attrs.field(default=b"", repr=False)

    @property
    def output_tokens(self) -> int:
        """The tokens billed for the whole response."""
        return sum(piece.output_tokens for piece in self.pieces)

    @property
    def body(self) -> bytes:
        """The whole body."""
        return b"".join(piece.data for piece in self.pieces) + self.end


class ModelCall(Protocol):
    """One parsed and valid request to a model."""

    @property
    def model(self) -> str:
        """The name of the model."""
        ...

    @property
    def tier(self) -> str:
        """The service tier for billing outside of batches: "default", "flex" or "priority"."""
        ...

    @property
    def prompt_key(self) -> str:
        """Canonical JSON of the prompt; the latency depends on it."""
        ...

    @property
    def estimated_tokens(self) -> int:
        """The prompt tokens, as the limiter estimates them from the characters."""
        ...

    @property
    def max_output_tokens(self) -> int | None:
        """The maximum of output tokens that the request sets; None if it sets none."""
        ...

    @property
    def stream(self) -> bool:
        """Whether the response is a stream."""
        ...

    def answer(self, context: AnswerContext) -> ModelAnswer:
        """Compute the response."""
        ...
