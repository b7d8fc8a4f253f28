"""What each wire format does: writes a `Request`, reads a body or a stream. Pure (R14).

A format knows nothing of addresses, keys and HTTP; see `callsheet.actors.vendors` for who speaks
which.

How much a request weighs in a batch, and how much a batch may weigh. Pure (R14).
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

import attrs
from attrs.validators import ge, instance_of, optional

from ..messages import Choice, Delta, Json, Request, Usage
from .sse import ServerSentEvent

__all__ = [
    "ApiError",
    "BatchLimits",
    "BatchWeight",
    "BrokeOff",
    "DecodedResponse",
    "Full",
    "Malformed",
    "StreamDecoder",
    "StreamFailed",
    "UnsupportedField",
    "WireFormat",
]


@attrs.frozen(kw_only=True)
class DecodedResponse:
    """What a provider answered.

    Args:
        choices: every answer, in the order of `Response.choices`; empty for embeddings.
        embeddings: the vector of each text, in the order of the texts; empty for other tasks.
        model: the model that answered; None if the provider does not say.
        usage: the tokens it took; None if the provider does not say.
        tier: the service tier that served it; None if the provider does not say.
        body: all that the provider said, as it came; None where it came piece by piece.
    """

    choices: tuple[Choice, ...] = ()
    embeddings: tuple[tuple[float, ...], ...] = ()
    model: str | None = None
    usage: Usage | None = None
    tier: str | None = None
    body: Mapping[str, Json] | None = attrs.field(default=None, repr=False, eq=False)


@attrs.frozen
class ApiError:
    """What a provider says went wrong; all of it may be missing.

    Args:
        message: for people.
        type: the kind of error, such as ``rate_limit_error``.
        code: more precisely which, such as ``insufficient_quota``; or the HTTP status in digits.
        status: Google's name of it, such as ``RESOURCE_EXHAUSTED``.
        details: the JSON text of what else came with it (Google's and Anthropic's ``details``,
            OpenRouter's ``metadata``). It may quote the prompt, so it is in no repr (L8).
    """

    message: str = ""
    type: str = ""
    code: str = ""
    status: str = ""
    details: str = attrs.field(default="", repr=False)


class UnsupportedField(ValueError):
    """A request has what the provider's wire format cannot say; nothing was sent.

    Attributes:
        field: which field of the `Request`.
        format: the name of the format.
    """

    def __init__(self, field: str, format: str, why: str = "leave it out") -> None:  # noqa: A002  # the word for it
        super().__init__(f"{format} cannot express {field}; {why}")
        self.field = field
        self.format = format


class Malformed(ValueError):
    """A body or an event is not an answer of this format; the text says what it is instead."""


class BrokeOff(Malformed):
    """A stream has ended before each of its answers was finished."""


class StreamFailed(Exception):
    """A stream has an error in it, after it began with status 200.

    Attributes:
        error: what the provider says.
    """

    def __init__(self, error: ApiError) -> None:
        super().__init__(error.message or error.type or error.code or "no reason given")
        self.error = error


class StreamDecoder(Protocol):
    """Makes the pieces, and at last the whole, of one streamed answer."""

    @property
    def done(self) -> bool:
        """Whether the provider said that this was all. Some never do; their body just ends."""
        ...

    @property
    def usage(self) -> Usage | None:
        """The tokens reported so far: what is known of a stream that nobody reads to its end."""
        ...

    def feed(self, event: ServerSentEvent) -> Sequence[Delta]:
        """What one event adds to the answers.

        Raises:
            StreamFailed: the event is an error.
            Malformed: it is nothing that belongs into such a stream.
        """
        ...

    def end(self) -> DecodedResponse:
        """The whole, once the body has ended.

        Raises:
            BrokeOff: some answer has no finish reason: it is not whole.
        """
        ...


class WireFormat(Protocol):
    """How one kind of request is written and its answer read."""

    @property
    def name(self) -> str:
        """For messages, as in "Anthropic's messages cannot express seed"."""
        ...

    @property
    def streams(self) -> bool:
        """Whether answers can be had piece by piece."""
        ...

    def path(self, request: Request, *, stream: bool) -> str:
        """What to append to the base URL, a query included where the format needs one."""
        ...

    def encode(self, request: Request, *, stream: bool) -> dict[str, Json]:
        """The JSON body.

        Raises:
            Inexpressible: the format has no word for a field of the request; names both.
        """
        ...

    def decode(self, body: Json, request: Request) -> DecodedResponse | ApiError:
        """The answer in a body that came with status 200, or the error some send instead.

        Raises:
            Malformed: it is neither, or has not exactly the answers that were asked for (L5).
        """
        ...

    def decode_error(self, body: Json) -> ApiError:
        """The error in a body that came with another status, whatever its shape."""
        ...

    def stream_decoder(self, request: Request) -> StreamDecoder:
        """Reads one streamed answer.

        Raises:
            Inexpressible: the format has no streams.
        """
        ...


Full = Literal["size", "tokens", "bytes"]
"""By what a batch is full."""

_at_least_one = optional([instance_of(int), ge(1)])


class BatchWeight(NamedTuple):
    """What one member, or several together, come to.

    Args:
        size: members of a batch, which for a list of texts are the texts.
        tokens: of the prompt, estimated.
        bytes: of the prompt, as UTF-8.
    """

    size: int = 0
    tokens: int = 0
    bytes: int = 0

    def plus(self, other: "BatchWeight") -> "BatchWeight":
        """Both together."""
        return BatchWeight(
            self.size + other.size, self.tokens + other.tokens, self.bytes + other.bytes
        )

    def minus(self, other: "BatchWeight") -> "BatchWeight":
        """What is left without the other."""
        return BatchWeight(
            self.size - other.size, self.tokens - other.tokens, self.bytes - other.bytes
        )


@attrs.frozen
class BatchLimits:
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

    def within(self, other: "BatchLimits") -> "BatchLimits":
        """The tighter of both in each respect."""
        return BatchLimits(
            _least(self.max_size, other.max_size),
            _least(self.max_tokens, other.max_tokens),
            _least(self.max_bytes, other.max_bytes),
        )

    def has_room(self, weight: BatchWeight) -> bool:
        """Whether one batch may come to that."""
        return self._exceeded(weight, 1) is None

    def full(self, weight: BatchWeight) -> Full | None:
        """By what a batch of that weight is full, or more than full; None if it is not."""
        return self._exceeded(weight, 0)

    def _exceeded(self, weight: BatchWeight, more: int) -> Full | None:
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
