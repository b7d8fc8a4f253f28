"""OpenAI's chat format, and what it shares with OpenAI's completions: usage, choices, chunks.

Compatible servers differ, so decoding is tolerant: every member except the list of choices may be
missing, and unknown members are ignored.
"""

import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import ClassVar, Literal

import attrs

from ..messages import Choice, Delta, Json, Request, Usage
from .decoding import (
    EVENT,
    Collector,
    count_of,
    in_order,
    object_of,
    read_error,
    read_object,
    text_of,
)
from .encoding import add_extra, check_supported, expected_choices
from .format import ApiError, DecodedResponse, Malformed, StreamDecoder, StreamFailed
from .sse import ServerSentEvent


def read_usage(usage: Json) -> Usage | None:
    """Read the tokens in OpenAI's `usage`; None if it has none."""
    if not isinstance(usage, dict):
        return None
    prompt, output = count_of(usage, "prompt_tokens"), count_of(usage, "completion_tokens")
    if prompt is None and output is None:
        return None
    of_prompt = object_of(usage, "prompt_tokens_details")
    of_output = object_of(usage, "completion_tokens_details")
    return Usage(
        prompt or 0,
        output or 0,
        count_of(of_prompt, "cached_tokens") or 0,
        count_of(of_prompt, "cache_write_tokens") or 0,
        count_of(of_output, "reasoning_tokens") or 0,
    )


def read_cost(usage: Json) -> Decimal | None:
    """Read the cost in USD in OpenRouter's `usage`; None if it has none.

    With a key of the user's own at the model's host ("byok"), the host charges its part itself.
    """
    if not isinstance(usage, dict):
        return None
    cost = _usd(usage.get("cost"))
    if cost is None or usage.get("is_byok") is not True:
        return cost
    upstream = _usd(object_of(usage, "cost_details").get("upstream_inference_cost"))
    return None if upstream is None else cost + upstream


def _usd(value: Json) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return Decimal(repr(value)) if math.isfinite(value) and value >= 0 else None


def read_choices(
    body: Json, read: Callable[[dict[str, Json]], Choice], expected: int
) -> DecodedResponse | ApiError:
    """Read a response body, or the error that some servers send with status 200.

    Args:
        body: the whole body.
        read: reads one choice.
        expected: number of choices that there must be.

    Raises:
        Malformed: it is neither, or does not have exactly `expected` choices.
    """
    if not isinstance(body, dict):
        raise Malformed("the response is JSON, but not an object")
    if body.get("error") or body.get("object") == "error":  # the latter by old versions of vLLM
        return read_error(body)
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices:
        raise Malformed('the response has no "choices"')
    numbered: list[tuple[Json, Choice]] = []
    for choice in choices:
        if not isinstance(choice, dict):
            raise Malformed('the response has no "choices" that are objects')
        numbered.append((choice.get("index"), read(choice)))
    return DecodedResponse(
        choices=in_order(numbered, expected),
        model=text_of(body, "model") or None,
        usage=read_usage(body.get("usage")),
        tier=text_of(body, "service_tier") or None,
        reported_cost_usd=read_cost(body.get("usage")),
        body=body,
    )


class ChunkDecoder:
    """Decodes a stream of OpenAI's chunks, of chats or completions.

    Compatible servers differ, so it is tolerant: usage may be in every chunk, in the last or in
    none, and a stream may end with or without ``[DONE]``.

    Args:
        expected: number of choices.
        read: returns the text of one choice in a chunk, and whether it belongs to a refusal.
        correct: corrects the whole response; None leaves it unchanged.
    """

    def __init__(
        self,
        expected: int,
        read: Callable[[dict[str, Json]], tuple[str, bool]],
        correct: Callable[[DecodedResponse], DecodedResponse] | None = None,
    ) -> None:
        self._choices = Collector(expected)
        self._read = read
        self._correct = correct
        self._refused: set[int] = set()
        self._model: str | None = None
        self._tier: str | None = None
        self._cost: Decimal | None = None
        self.usage: Usage | None = None
        self.done = False

    def feed(self, event: ServerSentEvent) -> Sequence[Delta]:
        """Return the deltas of one event.

        Raises:
            StreamFailed: the event is an error.
            Malformed: the event is not a chunk.
        """
        data = event.data
        if self.done or not data or data.isspace():
            return ()
        if data.startswith(b"[DONE]"):
            self.done = True
            return ()
        chunk = read_object(data, EVENT)
        if chunk.get("error") or event.name == "error" or chunk.get("object") == "error":
            raise StreamFailed(read_error(chunk))
        if usage := chunk.get("usage"):
            self.usage = read_usage(usage) or self.usage
            self._cost = read_cost(usage)
        elif "x_groq" in chunk:
            self.usage = read_usage(object_of(chunk, "x_groq").get("usage")) or self.usage
        if self._model is None:
            self._model = text_of(chunk, "model") or None
        if "service_tier" in chunk:  # in each chunk, or only in the last; the last one counts
            self._tier = text_of(chunk, "service_tier") or self._tier
        choices = chunk.get("choices")
        if not isinstance(choices, list):
            return ()  # some servers send keep-alive events
        return [delta for choice in choices if (delta := self._add(choice)) is not None]

    def _add(self, choice: Json) -> Delta | None:
        if not isinstance(choice, dict):
            raise Malformed("a choice in the stream is not an object")
        place = self._choices.place(choice.get("index"))
        text, refuses = self._read(choice)
        if text:
            self._choices.add(place, text)
        if refuses:
            self._refused.add(place)
        reason = choice.get("finish_reason")
        if reason and isinstance(reason, str):
            self._choices.finish(place, "content_filter" if place in self._refused else reason)
        return Delta(text, place) if text else None

    def end(self) -> DecodedResponse:
        """Return the whole response, once the body has ended.

        Raises:
            BrokeOff: a choice has no finish reason.
        """
        response = DecodedResponse(
            choices=self._choices.choices(),
            model=self._model,
            usage=self.usage,
            tier=self._tier,
            reported_cost_usd=self._cost,
        )
        return response if self._correct is None else self._correct(response)


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
        unknown: fields of `Request` that the server does not support, such as "n" for Ollama.
    """

    name = "OpenAI's chat format"
    streams = True
    supports: ClassVar[frozenset[str]] = frozenset(
        {"messages", "max_tokens", "n", "temperature", "top_p", "stop", "seed", "json_schema"}
    )

    limit_name: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    asks_for_usage: bool = False
    seed_name: str = "seed"
    unknown: frozenset[str] = frozenset()

    def path(self, request: Request, *, stream: bool) -> str:  # noqa: ARG002  # the same for all requests
        """Return what to append to the base URL."""
        return "/chat/completions"

    def encode(self, request: Request, *, stream: bool) -> dict[str, Json]:
        """Return the JSON body of a request.

        Raises:
            UnsupportedField: the server does not support a field of the request.
        """
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
        if request.json_schema is not None:
            schema: dict[str, Json] = {
                "name": "answer",
                "strict": True,
                "schema": dict(request.json_schema),
            }
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
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
        return read_chat(body, expected_choices(request))

    def decode_error(self, body: Json) -> ApiError:
        """Return the error in a body, in any of its shapes."""
        return read_error(body)

    def stream_decoder(self, request: Request) -> StreamDecoder:
        """Return a decoder for one streamed response."""
        return ChunkDecoder(expected_choices(request), _delta)


def read_chat(body: Json, expected: int) -> DecodedResponse | ApiError:
    """Read a response body, or the error that some servers send with status 200.

    Args:
        body: the whole body.
        expected: number of choices that there must be.

    Raises:
        Malformed: it is neither, or does not have exactly `expected` choices.
    """
    return read_choices(body, _choice, expected)


def _choice(choice: dict[str, Json]) -> Choice:
    message = choice.get("message")
    if not isinstance(message, dict):
        raise Malformed('a choice has no "message"')
    text, refuses = _content(message)
    reason = text_of(choice, "finish_reason") or None
    return Choice(text, "content_filter" if refuses else reason)


def _delta(choice: dict[str, Json]) -> tuple[str, bool]:
    delta = choice.get("delta")
    return _content(delta) if isinstance(delta, dict) else ("", False)


def _content(message: dict[str, Json]) -> tuple[str, bool]:
    """Return the text of a message or delta, and whether it is a refusal."""
    content = message.get("content")
    if isinstance(content, str) and content:
        return content, False
    refusal = message.get("refusal")
    return (refusal, True) if refusal and isinstance(refusal, str) else ("", False)
