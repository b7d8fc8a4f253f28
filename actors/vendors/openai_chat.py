"""OpenAI's chat format, and what it shares with OpenAI's completions: usage and choices.

Compatible servers differ, so decoding is tolerant: every member except the list of choices may be
missing, and unknown members are ignored.
"""

from decimal import Decimal
from functools import partial
from typing import ClassVar, Literal

import attrs

from ..json_value import Json
from ..messages import Request
from ..responses import Usage
from .decoding import (
    count_of,
    in_order,
    object_of,
    read_error,
    read_members,
    text_of,
    within_depth,
)
from .encoding import add_extra, check_supported, expected_choices
from .format import ApiError, DecodedResponse, Malformed, StreamDecoder
from .openai_answers import ERROR, read_choice, read_failure
from .openai_stream import ChunkDecoder
from .token_counts import NO_COUNTS, TokenCounts
from .tool_members import chat_tools
from .translation import translated
from .usage_of_choices import for_all_choices


def read_usage(usage: Json) -> Usage | None:
    """Read the tokens in OpenAI's `usage`; None if it has none."""
    return read_counts(usage).usage


def read_counts(usage: Json) -> TokenCounts:
    """Read the numbers of tokens in OpenAI's `usage`. DeepSeek has its own word for one."""
    if not isinstance(usage, dict):
        return NO_COUNTS
    prompt, output = count_of(usage, "prompt_tokens"), count_of(usage, "completion_tokens")
    if prompt is None and output is None:  # gateways to other formats
        prompt, output = count_of(usage, "input_tokens"), count_of(usage, "output_tokens")
    of_prompt = object_of(usage, "prompt_tokens_details")
    of_output = object_of(usage, "completion_tokens_details")
    return TokenCounts(
        prompt,
        output,
        count_of(of_prompt, "cached_tokens") or count_of(usage, "prompt_cache_hit_tokens") or 0,
        count_of(of_prompt, "cache_write_tokens") or 0,
        count_of(of_output, "reasoning_tokens") or 0,
        count_of(usage, "total_tokens"),
        predicted=count_of(of_output, "rejected_prediction_tokens") or 0,
    )


def read_cost(usage: Json) -> Decimal | None:
    """Read the cost in USD in OpenRouter's or Perplexity's `usage`; None if it has none.

    With a key of the user's own at the model's host ("byok"), the host charges its part itself.
    """
    if not isinstance(usage, dict):
        return None
    sums = object_of(usage, "cost")
    if sums.get("currency") == "USD":
        return _usd(sums.get("total_cost"))
    cost = _usd(usage.get("cost"))
    if cost is None or usage.get("is_byok") is not True:
        return cost
    upstream = _usd(object_of(usage, "cost_details").get("upstream_inference_cost"))
    return None if upstream is None else cost + upstream


_MOST_USD = 10**6  # no call costs as much


def _usd(value: Json) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return Decimal(repr(value)) if 0 <= value <= _MOST_USD else None


@within_depth
def read_choices(
    body: Json, expected: int, prompts: int = 1, *, is_assembled: bool = False
) -> DecodedResponse | ApiError:
    """Read the body of a chat or a completion, or the error in it.

    Some servers send errors with status 200; OpenRouter puts that of a failed generation on the
    choice. If one of several prompts has failed, its choices have the finish reason "error".

    Args:
        body: the whole body.
        expected: number of choices that there must be.
        prompts: number of prompts that they are for.
        is_assembled: whether the body was put together from the events of a stream.

    Raises:
        Malformed: it is neither, or does not have exactly `expected` choices.
    """
    members = read_members(body, "choices")
    if isinstance(members, ApiError):
        return members
    listed = members.get("choices")
    if not isinstance(listed, list) or not listed:
        raise Malformed('the response has no "choices"')
    numbered = [(one.get("index") if isinstance(one, dict) else None, one) for one in listed]
    ordered = in_order(numbered, expected, is_list=prompts > 1)
    choices = tuple(map(read_choice, ordered))
    failed = [at for at, choice in enumerate(choices) if choice.finish_reason == ERROR]
    each = expected // prompts
    if failed and len({at // each for at in failed}) == prompts:
        return read_failure(ordered[failed[0]])
    usage = members.get("usage")
    if usage is None and expected == 1 and isinstance(ordered[0], dict):
        usage = ordered[0].get("usage")  # Moonshot's, in a stream
    counts = read_counts(usage)
    return DecodedResponse(
        choices=choices,
        model=text_of(members, "model") or None,
        usage=counts.usage,
        usage_doubt=counts.doubt,
        tier=text_of(members, "service_tier") or None,
        reported_cost_usd=read_cost(usage),
        body=members,
        is_assembled=is_assembled,
    )


_RESERVED = frozenset({"n", "stream", "messages"})


@attrs.frozen(kw_only=True)
class OpenAIChat:
    """`POST /chat/completions`.

    Args:
        limit_name: the member that `Request.max_tokens` is sent as, unless the request names one.
            OpenAI's newer models accept
            only ``max_completion_tokens``; compatible servers may accept only ``max_tokens``.
        asks_for_usage: request usage in streams (``stream_options``). A server that does not
            support it may refuse the call. Without it, the cost of a stream may not be known.
        seed_name: the member that `Request.seed` is sent as.
        strict_tools: whether the server has a strict mode for tools, in which the arguments of a
            call always match.
        unknown: fields of `Request` that the server does not support, such as "n" for Ollama.
    """

    name = "OpenAI's chat format"
    form = "chat"
    streams = True
    supports: ClassVar[frozenset[str]] = frozenset(
        {
            *("messages", "max_tokens", "n", "temperature", "top_p", "stop", "seed"),
            *("json_schema", "returns", "tools", "tool_choice"),
        }
    )

    limit_name: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    asks_for_usage: bool = False
    seed_name: str = "seed"
    strict_tools: bool = False
    unknown: frozenset[str] = frozenset()

    def path(self, request: Request, *, stream: bool) -> str:  # noqa: ARG002  # the same for all requests
        """Return what to append to the base URL."""
        return "/chat/completions"

    def encode(self, request: Request, *, stream: bool) -> dict[str, Json]:
        """Return the JSON body of a request.

        Raises:
            UnsupportedField: the server does not support a field of the request.
        """
        request = translated(request, self.form, self.name)
        check_supported(request, self.name, self.supports, self.unknown)
        body: dict[str, Json] = {
            "model": request.model,
            "messages": [message.body for message in request.messages],
        }
        if request.max_tokens is not None:
            body[request.max_tokens_name or self.limit_name] = request.max_tokens
        if request.n > 1:
            body["n"] = request.n
        if request.temperature is not None:
            body["temperature"] = request.temperature
        if request.top_p is not None:
            body["top_p"] = request.top_p
        if request.stop:
            body["stop"] = list(request.stop)
        if request.seed is not None:
            body[self.seed_name] = request.seed
        if (output := request.output_schema) is not None:
            schema: dict[str, Json] = {
                "name": output.name,
                "strict": not output.not_strict,
                "schema": dict(output.schema),
            }
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        body |= chat_tools(request, strict=self.strict_tools)
        if stream:
            body["stream"] = True
            if self.asks_for_usage:
                body["stream_options"] = {"include_usage": True}
        return add_extra(body, request, self.name, _RESERVED)

    def decode(self, body: Json, request: Request) -> DecodedResponse | ApiError:
        """Read a response body, or the error that some servers send with status 200.

        Raises:
            Malformed: it is neither, or does not have exactly `request.n` choices.
        """
        return self._decode(body, request)

    @staticmethod
    def _decode(
        body: Json, request: Request, *, is_assembled: bool = False
    ) -> DecodedResponse | ApiError:
        response = read_choices(body, expected_choices(request), is_assembled=is_assembled)
        return response if isinstance(response, ApiError) else for_all_choices(response, request)

    def decode_error(self, body: Json) -> ApiError:
        """Return the error in a body, in any of its shapes."""
        return read_error(body)

    def stream_decoder(self, request: Request) -> StreamDecoder:
        """Return a decoder for one streamed response."""
        decode = partial(self._decode, request=request, is_assembled=True)
        return ChunkDecoder(expected_choices(request), read_usage, decode)


def read_chat(body: Json, expected: int) -> DecodedResponse | ApiError:
    """Read a response body, or the error that some servers send with status 200.

    Args:
        body: the whole body.
        expected: number of choices that there must be.

    Raises:
        Malformed: it is neither, or does not have exactly `expected` choices.
    """
    return read_choices(body, expected)
