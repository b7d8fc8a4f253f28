"""What a wire format is: it encodes a `Request`, and decodes a body or a stream. Pure (R14).

A format knows nothing of addresses, keys and HTTP; `Vendor` lists the formats of each vendor. The
limits of a call that a format can combine from several requests are here, too.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Literal, NamedTuple, Protocol

import attrs
from attrs.validators import optional

from ..json_value import Json
from ..messages import Request
from ..responses import Choice, Delta, Usage
from ..validation import ge, instance_of
from .sse import ServerSentEvent


@attrs.frozen(kw_only=True)
class DecodedResponse:
    """The decoded response of a provider.

    Args:
        choices: all choices, in the order of `Response.choices`; empty for embeddings.
        embeddings: the vector of each text, in the order of the texts; empty for other tasks.
        model: the model that the provider reports; None if it reports none.
        usage: the tokens that the provider reports; None if it reports none.
        tier: the service tier that the provider reports; None if it reports none.
        reported_cost_usd: the cost in USD that the provider reports; None if it reports none.
        beside_usd: the cost in USD of what is not billed by tokens, such as searches.
        usage_doubt: why `usage` is not what the provider reports; "" if it is.
        body: the whole body.
        is_assembled: whether the body was put together from the events of a stream.
    """

    choices: tuple[Choice, ...] = ()
    embeddings: tuple[tuple[float, ...], ...] = ()
    model: str | None = None
    usage: Usage | None = None
    tier: str | None = None
    reported_cost_usd: Decimal | None = None
    beside_usd: Decimal = Decimal(0)
    usage_doubt: str = ""
    body: Mapping[str, Json] | None = attrs.field(default=None, repr=False, eq=False)
    is_assembled: bool = attrs.field(default=False, repr=False, eq=False)


@attrs.frozen
class ApiError:
    """The error in a provider's response; a member that the provider does not send is empty.

    Args:
        message: the text for people.
        type: the kind of error, such as ``rate_limit_error``.
        code: a more precise code, such as ``insufficient_quota``, or the HTTP status in digits.
        status: Google's name of the error, such as ``RESOURCE_EXHAUSTED``.
        details: the JSON text of further members (Google's and Anthropic's ``details``,
            OpenRouter's ``metadata``). It may quote the prompt, so the repr leaves it out (L8).
        parameters: the parameters of the request that members of the error name as its cause.
        headers: headers, by lower-case name, that are quoted in the error: those of a refusal that
            is an event of a stream, or of the provider behind a gateway.
    """

    message: str = ""
    type: str = ""
    code: str = ""
    status: str = ""
    details: str = attrs.field(default="", repr=False)
    parameters: tuple[str, ...] = ()
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str], repr=False, hash=False)


class UnsupportedField(ValueError):
    """A wire format does not support a field of a request. Nothing was sent.

    Args:
        field: the field of the `Request`.
        format: the name of the format, vendor or server.
        why: the remedy or reason, for the text.

    Attributes:
        field: the field of the `Request`.
        format: the name of the format, vendor or server.
    """

    def __init__(self, field: str, format: str, why: str = "leave it out") -> None:  # noqa: A002  # the field's word
        super().__init__(f"{format} does not support {field}; {why}")
        self.field = field
        self.format = format


class Malformed(ValueError):
    """A body or an event does not match the wire format; the text names the difference."""


class BrokeOff(Malformed):
    """A stream ended before all of its choices were complete."""


class StreamFailed(Exception):
    """A stream that began with status 200 contains an error.

    Attributes:
        error: the error that the provider sent.
    """

    def __init__(self, error: ApiError) -> None:
        super().__init__(error.message or error.type or error.code or "no reason given")
        self.error = error


class StreamDecoder(Protocol):
    """Decodes one streamed response, event by event."""

    @property
    def done(self) -> bool:
        """Whether the provider marked the end. Some providers never do; the body just ends."""
        ...

    @property
    def usage(self) -> Usage | None:
        """The tokens reported so far, also for a stream that is not read to its end."""
        ...

    def feed(self, event: ServerSentEvent) -> Sequence[Delta]:
        """Return the deltas of one event.

        Raises:
            StreamFailed: the event is an error.
            Malformed: the event does not match the format.
        """
        ...

    def end(self) -> DecodedResponse | ApiError:
        """Return the whole response, or why its generation failed, once the body has ended.

        The events are put together to the body of a whole response, and decoded as one (L10).

        Raises:
            BrokeOff: neither the provider nor the finish reasons mark the response as complete.
            Malformed: it cannot be read.
        """
        ...


class WireFormat(Protocol):
    """Encodes one kind of request, and decodes its responses."""

    @property
    def name(self) -> str:
        """The name in error messages, such as "Anthropic's messages format"."""
        ...

    @property
    def form(self) -> str:
        """The short name, such as "anthropic"; see `ProviderEvent.form`."""
        ...

    @property
    def streams(self) -> bool:
        """Whether responses can be streamed."""
        ...

    def path(self, request: Request, *, stream: bool) -> str:
        """Return what to append to the base URL, with a query if the format needs one.

        Args:
            request: the request to send.
            stream: whether the response is streamed.
        """
        ...

    def encode(self, request: Request, *, stream: bool) -> dict[str, Json]:
        """Return the JSON body of a request.

        Args:
            request: the request to encode.
            stream: whether the response is streamed.

        Raises:
            UnsupportedField: the format does not support a field of the request; names both.
        """
        ...

    def decode(self, body: Json, request: Request) -> DecodedResponse | ApiError:
        """Decode a body with status 200: the response, or the error that some servers send.

        Args:
            body: the decoded JSON of the whole body.
            request: the request that it responds to.

        Raises:
            Malformed: it is neither, or does not have exactly the requested choices (L5).
        """
        ...

    def decode_error(self, body: Json) -> ApiError:
        """Decode a body with another status, in any shape.

        Args:
            body: the decoded JSON of the whole body, or its text.
        """
        ...

    def stream_decoder(self, request: Request) -> StreamDecoder:
        """Return a decoder for one streamed response.

        Args:
            request: the request that it responds to.

        Raises:
            UnsupportedField: the format has no streams.
        """
        ...


Full = Literal["size", "tokens", "bytes"]
"""The limit that a batch has reached."""

_at_least_one = optional([instance_of(int), ge(1)])


class BatchWeight(NamedTuple):
    """The weight of one member of a batch, or the sum of several.

    Args:
        size: number of members; for a list of texts, the number of texts.
        tokens: estimated tokens of the prompts.
        bytes: bytes of the prompts in UTF-8.
    """

    size: int = 0
    tokens: int = 0
    bytes: int = 0

    def plus(self, other: "BatchWeight") -> "BatchWeight":
        """Return the sum of both."""
        return BatchWeight(
            self.size + other.size, self.tokens + other.tokens, self.bytes + other.bytes
        )

    def minus(self, other: "BatchWeight") -> "BatchWeight":
        """Return the difference of both."""
        return BatchWeight(
            self.size - other.size, self.tokens - other.tokens, self.bytes - other.bytes
        )


@attrs.frozen
class BatchLimits:
    """The limits of a batch; a single member that exceeds them is sent alone.

    Args:
        max_size: the most members; None for no limit.
        max_tokens: the most tokens of the prompts; None for no limit.
        max_bytes: the most bytes of the prompts in UTF-8; None for no limit.

    Raises:
        ValueError: a limit is below 1; the message names it.
        TypeError: a limit is not an integer; the message names it.
    """

    max_size: int | None = attrs.field(default=None, validator=_at_least_one)
    max_tokens: int | None = attrs.field(default=None, validator=_at_least_one)
    max_bytes: int | None = attrs.field(default=None, validator=_at_least_one)

    def within(self, other: "BatchLimits") -> "BatchLimits":
        """Return the lower of both, for each limit.

        Args:
            other: the limits to combine with these.
        """
        return BatchLimits(
            _least(self.max_size, other.max_size),
            _least(self.max_tokens, other.max_tokens),
            _least(self.max_bytes, other.max_bytes),
        )

    def has_room(self, weight: BatchWeight) -> bool:
        """Return whether a batch may have a weight.

        Args:
            weight: total weight of its members.
        """
        return self._exceeded(weight, 1) is None

    def full(self, weight: BatchWeight) -> Full | None:
        """Return the limit that a batch has reached or exceeded; None if it has room.

        Args:
            weight: total weight of its members.
        """
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
