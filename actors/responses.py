"""Responses of a model, whole and piece by piece, whatever the wire format of the provider."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Generic, TypeAlias, cast

import attrs
from typing_extensions import TypeVar

from .json_value import Json

ResultT_co = TypeVar("ResultT_co", covariant=True, default=object)
"""The class of the structured output; None for a request that declares none."""


def sum_of_costs(*costs: Decimal | None) -> Decimal | None:
    """Return the sum of costs in USD; None if one of them is not known (L13)."""
    known = [cost for cost in costs if cost is not None]
    return sum(known, Decimal(0)) if len(known) == len(costs) else None


@attrs.frozen
class Usage:
    """The tokens that a provider reports for one call.

    Args:
        input_tokens: tokens of the prompt, cached ones and those written to a cache included.
        output_tokens: tokens that the model generated, reasoning included.
        cached_tokens: tokens of the prompt that were read from the provider's cache.
        cache_write_tokens: tokens of the prompt that were written to the provider's cache.
        reasoning_tokens: generated tokens of reasoning, which are not part of the text.
        cache_write_1h_tokens: those of `cache_write_tokens` that the cache keeps for an hour.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    cache_write_1h_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """The sum of input and output tokens."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_tokens + other.cached_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.cache_write_1h_tokens + other.cache_write_1h_tokens,
        )


@attrs.frozen
class ToolCall:
    """A call of a tool that a model requests.

    Args:
        name: the name of the tool.
        arguments: the arguments as the model wrote them: the text of a JSON object, which may be
            invalid; or any text, for a tool that takes text.
        id: the provider's id of the call, which its result must name; empty if there is none.
    """

    name: str
    arguments: str = ""
    id: str = ""


@attrs.frozen
class TokenLogprob:
    """A generated token with its log probability.

    Args:
        token: the text of the token.
        logprob: the natural logarithm of its probability; None if the provider sends none.
        top: the most likely tokens at its place, with their log probabilities, if requested.
    """

    token: str
    logprob: float | None
    top: tuple[tuple[str, float], ...] = ()


@attrs.frozen
class Choice:
    """One generation of a model.

    Args:
        text: the generated text, without reasoning and without a refusal.
        finish_reason: why the generation ended, in OpenAI's words whatever the provider: "stop",
            "length", "tool_calls", "content_filter" and so on; "error" for one of several prompts
            whose generation failed; None if the provider does not report it.
        tool_calls: the calls of tools that the model requests, in order.
        reasoning: the text of the reasoning, or its summary, as far as the provider sends it.
        refusal: the text with which the model or the provider refuses, or its category if there is
            no text; None without a refusal.
        logprobs: the tokens with their log probabilities, if requested.
        annotations: citations and other notes on the text, as the provider sends them.
        parsed: the text as a value of the class that `Request.returns` names; None if it names
            none, or if the text is not valid.
    """

    text: str
    finish_reason: str | None = None
    tool_calls: tuple[ToolCall, ...] = attrs.field(default=(), kw_only=True)
    reasoning: str = attrs.field(default="", kw_only=True)
    refusal: str | None = attrs.field(default=None, kw_only=True)
    logprobs: tuple[TokenLogprob, ...] = attrs.field(default=(), kw_only=True)
    annotations: tuple[Mapping[str, Json], ...] = attrs.field(default=(), kw_only=True, hash=False)
    parsed: object = attrs.field(default=None, kw_only=True, hash=False)


@attrs.frozen(kw_only=True)
class Response(Generic[ResultT_co]):
    """The response to a `Request`, with its usage and cost.

    It has the same fields whichever way it arrives (L10): streamed, whole, in a list or a pack, by
    a Batch API, or from the cache. Only `body` depends on it.

    Args:
        text: the generated text, which is that of the first of `choices`; empty for embeddings.
        model: the model that generated it, as the provider names it.
        finish_reason: why the generation ended: "stop", "length", "content_filter" and so on.
        usage: the tokens that the provider reports; zero if it reports none.
        usage_doubt: why `usage` is not what the provider reports, because that contradicts itself,
            or because the request cannot have taken so much; "" if it is.
        cost_usd: the cost of the call in USD; None when the price of the model that generated it
            is not known.
        reported_cost_usd: the cost in USD that the provider itself reports; None if it reports
            none. It is `cost_usd` where the vendor's reports are known to be what it charges.
        listed_cost_usd: the cost in USD by the table of prices; None if the price is not known.
        http_requests: HTTP requests that were sent, retries included; 0 if the call of an
            identical request supplied the response.
        seconds: from the first byte sent to the last byte received, for the attempt that
            succeeded.
        choices: every generation, ordered by prompt and then by choice: number ``i * n + j``
            is choice j for prompt i. Empty for embeddings.
        embeddings: the vector of each text, in the order of the texts. Empty for other tasks.
        first_byte_s: seconds until the first byte of the response; None if it was not measured.
        maybe_billed: other HTTP requests of this call that may have been charged although their
            response was lost or not used (L3).
        queued_s: seconds from the moment at which the caller made the call until its turn at the
            limits came, retries not included; 0 for a call that the limiter did not admit.
        host: the host of the endpoint that responded.
        route: how the call was made: "live", "flex", "priority" or "batch" for a call of its own,
            "list" or "pack" for a part of a combined call, "joined" for the call of an identical
            request, "cache" for a cached response.
        tier: the service tier whose price applies: as reported by the provider, otherwise as
            requested.
        body: the provider's own JSON body, for members that have no field here. None for a part
            of a list or a pack, which has no body of its own. Callers that share a response share
            this object: do not change it.
        is_assembled: whether `body` was put together from the pieces of a stream, in the shape of
            a whole response.
        request_id: the provider's id of the HTTP request; empty if it reports none.
        key_name: the name of the endpoint's key, such as "key 2" in a pool; empty if it has none.
        fallback: the number of the target that responded: 0 for `TroupeSettings.endpoint`, 1 for
            the first of its `fallbacks`, and so on. Each member of a pool among them counts. None
            if several targets responded to parts of it.
        parsed: the result: the text as a value of the class that `Request.returns` names. None if
            it names none, or if the response calls tools.
    """

    text: str
    model: str
    finish_reason: str | None
    usage: Usage
    cost_usd: Decimal | None
    http_requests: int = 1
    seconds: float = 0.0
    choices: tuple[Choice, ...] = ()
    embeddings: tuple[tuple[float, ...], ...] = ()
    first_byte_s: float | None = None
    maybe_billed: int = 0
    queued_s: float = 0.0
    host: str = ""
    route: str = "live"
    tier: str = "default"
    body: Mapping[str, Json] | None = attrs.field(default=None, repr=False, eq=False)
    is_assembled: bool = attrs.field(default=False, repr=False, eq=False)
    request_id: str = ""
    reported_cost_usd: Decimal | None = None
    listed_cost_usd: Decimal | None = None
    key_name: str = ""
    fallback: int | None = 0
    usage_doubt: str = ""
    parsed: ResultT_co = attrs.field(default=cast("ResultT_co", None), hash=False)

    @property
    def listed_beside_reported(self) -> Decimal | None:
        """The cost by the table of prices where the provider reports another one; else None."""
        return None if self.reported_cost_usd is None else self.listed_cost_usd

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The tool calls of the first choice; see `Choice`."""
        return self.choices[0].tool_calls if self.choices else ()

    @property
    def reasoning(self) -> str:
        """The reasoning of the first choice; see `Choice`."""
        return self.choices[0].reasoning if self.choices else ""

    @property
    def refusal(self) -> str | None:
        """The refusal of the first choice; see `Choice`."""
        return self.choices[0].refusal if self.choices else None

    @property
    def logprobs(self) -> tuple[TokenLogprob, ...]:
        """The log probabilities of the first choice; see `Choice`."""
        return self.choices[0].logprobs if self.choices else ()

    @property
    def annotations(self) -> tuple[Mapping[str, Json], ...]:
        """The annotations of the first choice; see `Choice`."""
        return self.choices[0].annotations if self.choices else ()


@attrs.frozen
class ToolCallDelta:
    """A piece of a tool call that is still being generated.

    Args:
        index: the position of the call in `Choice.tool_calls`.
        name: the name of the tool; empty if an earlier piece had it.
        arguments: the text to append to the arguments.
        id: the provider's id of the call; empty if an earlier piece had it, or if there is none.
    """

    index: int
    name: str = ""
    arguments: str = ""
    id: str = ""


@attrs.frozen
class Delta:
    """A piece of a response that is still being generated.

    Args:
        text: the text to append.
        index: the index of the choice to append it to; see `Response.choices`.
        reasoning: the text to append to the reasoning.
        refusal: the text to append to the refusal.
        tool_calls: what to append to the tool calls.
    """

    text: str = ""
    index: int = 0
    reasoning: str = attrs.field(default="", kw_only=True)
    refusal: str = attrs.field(default="", kw_only=True)
    tool_calls: tuple[ToolCallDelta, ...] = attrs.field(default=(), kw_only=True)

    @classmethod
    def whole(cls, choice: Choice, index: int) -> "Delta":
        """Return one piece with all of a choice.

        Args:
            choice: the choice, as it arrived whole.
            index: the index of the choice.
        """
        calls = (
            ToolCallDelta(at, call.name, call.arguments, call.id)
            for at, call in enumerate(choice.tool_calls)
        )
        return cls(
            choice.text,
            index,
            reasoning=choice.reasoning,
            refusal=choice.refusal or "",
            tool_calls=tuple(calls),
        )


@attrs.frozen
class ProviderEvent:
    """An event of a provider's stream, with the JSON text as the provider sent it.

    `Troupe.stream` yields it with ``events=True``.

    Args:
        form: the short name of the wire format that the provider speaks: "chat", "completions",
            "responses", "anthropic" or "gemini".
        data: the JSON text. If it has line feeds, each of them ends one ``data`` line of the event.
        name: the name of the event; empty if the provider sends none.
        deltas: what the event adds to the response; empty if it adds nothing that `Delta` has.
    """

    form: str
    data: bytes = attrs.field(repr=False)
    name: str = ""
    deltas: tuple[Delta, ...] = ()


StreamPiece: TypeAlias = Delta | ProviderEvent
"""A piece of a streamed response."""
