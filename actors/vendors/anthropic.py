"""Anthropic's messages format."""

from collections.abc import Sequence
from typing import ClassVar

import attrs
from attrs.validators import gt

from ..messages import Choice, Delta, Json, Request, Usage
from .decoding import EVENT, Collector, count_of, object_of, read_error, read_object, text_of
from .encoding import add_extra, check_supported, split_system
from .format import (
    ApiError,
    DecodedResponse,
    Malformed,
    StreamDecoder,
    StreamFailed,
    UnsupportedField,
)
from .price import FAST_MODE
from .sse import ServerSentEvent

_RESERVED = frozenset({"stream", "messages"})

# {Anthropic's stop reason: OpenAI's finish reason}
_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


@attrs.frozen(kw_only=True)
class AnthropicMessages:
    """`POST /messages`.

    System messages at the beginning of a chat are sent as the member ``system``.

    Args:
        default_max_tokens: the most tokens of a response if the request sets no limit, because
            Anthropic requires one. Every model accepts this value. A response that reaches it has
            the finish reason "length".
    """

    name = "Anthropic's messages format"
    streams = True
    supports: ClassVar[frozenset[str]] = frozenset(
        {"messages", "max_tokens", "temperature", "top_p", "stop", "json_schema"}
    )

    default_max_tokens: int = attrs.field(default=4096, validator=gt(0))

    def path(self, request: Request, *, stream: bool) -> str:  # noqa: ARG002  # the same for all requests
        """Return what to append to the base URL."""
        return "/messages"

    def encode(self, request: Request, *, stream: bool) -> dict[str, Json]:
        """Return the JSON body of a request.

        Raises:
            UnsupportedField: Anthropic does not support a field of the request.
        """
        check_supported(request, self.name, self.supports)
        system, messages = split_system(request, self.name)
        body: dict[str, Json] = {
            "model": request.model,
            "max_tokens": request.max_tokens or self.default_max_tokens,
            "messages": [message.body for message in messages],
        }
        if system:
            body["system"] = "\n\n".join(system)
        if request.temperature is not None:
            if request.temperature > 1:
                raise UnsupportedField("a temperature above 1", self.name, "lower it")
            body["temperature"] = request.temperature
        if request.top_p is not None:
            body["top_p"] = request.top_p
        if request.stop:
            body["stop_sequences"] = list(request.stop)
        if request.json_schema is not None:
            schema: dict[str, Json] = {"type": "json_schema", "schema": dict(request.json_schema)}
            body["output_config"] = {"format": schema}
        if stream:
            body["stream"] = True
        return add_extra(body, request, self.name, _RESERVED)

    def decode(self, body: Json, request: Request) -> DecodedResponse | ApiError:  # noqa: ARG002  # always one choice
        """Read a response body, or the error in it.

        Raises:
            Malformed: it is neither.
        """
        if not isinstance(body, dict):
            raise Malformed("the response is JSON, but not an object")
        if body.get("error") or body.get("type") == "error":
            return read_error(body)
        content = body.get("content")
        if not isinstance(content, list):
            raise Malformed('the response has no "content"')
        text = "".join(_block_text(block) for block in content)
        usage = object_of(body, "usage")
        return DecodedResponse(
            choices=(Choice(text, _reason(body) or None),),
            model=text_of(body, "model") or None,
            usage=_usage(usage),
            tier=_tier(usage),
            body=body,
        )

    def decode_error(self, body: Json) -> ApiError:
        """Return the error in a body."""
        return read_error(body)

    def stream_decoder(self, request: Request) -> StreamDecoder:  # noqa: ARG002  # always one choice
        """Return a decoder for one streamed response."""
        return _AnthropicDecoder()


class _AnthropicDecoder:
    """Decodes a stream of Anthropic's events. Thinking and tool calls are not part of the text."""

    def __init__(self) -> None:
        self._choices = Collector(1)
        self._model: str | None = None
        self._counts: dict[str, Json] = {}
        self.done = False

    @property
    def usage(self) -> Usage | None:
        """The tokens that were reported so far."""
        return _usage(self._counts)

    def feed(self, event: ServerSentEvent) -> Sequence[Delta]:
        """Return the deltas of one event."""
        if self.done or not event.data or event.data.isspace():
            return ()
        members = read_object(event.data, EVENT)
        kind = members.get("type") or event.name
        if kind == "content_block_delta":  # nearly all events
            return self._add(_delta_text(members.get("delta")))
        if kind == "content_block_start":
            return self._add(_block_text(members.get("content_block")))
        if kind == "message_start":
            message = object_of(members, "message")
            self._model = text_of(message, "model") or None
            self._count(message)
        elif kind == "message_delta":
            self._count(members)  # cumulative
            if reason := _reason(object_of(members, "delta")):
                self._choices.finish(0, reason)
        elif kind == "message_stop":
            self.done = True
        elif kind == "error" or members.get("error"):
            raise StreamFailed(read_error(members))
        return ()  # pings, and events that Anthropic may add later

    def end(self) -> DecodedResponse:
        """Return the whole response, once the body has ended."""
        return DecodedResponse(
            choices=self._choices.choices(),
            model=self._model,
            usage=self.usage,
            tier=_tier(self._counts),
        )

    def _add(self, text: str) -> Sequence[Delta]:
        if not text:
            return ()
        self._choices.add(0, text)
        return (Delta(text),)

    def _count(self, members: dict[str, Json]) -> None:
        counts = object_of(members, "usage")
        self._counts |= {name: count for name, count in counts.items() if count is not None}


def _block_text(block: Json) -> str:
    if not isinstance(block, dict) or block.get("type") != "text":
        return ""
    return text_of(block, "text")


def _delta_text(delta: Json) -> str:
    if not isinstance(delta, dict) or delta.get("type") != "text_delta":
        return ""
    return text_of(delta, "text")


def _reason(members: dict[str, Json]) -> str:
    reason = text_of(members, "stop_reason")
    return _REASONS.get(reason, reason)


def _tier(usage: dict[str, Json]) -> str | None:
    """Return the tier whose price applies: fast mode has prices of its own."""
    if usage.get("speed") == "fast":
        return FAST_MODE
    return text_of(usage, "service_tier") or None


def _usage(usage: dict[str, Json]) -> Usage | None:
    """Read the usage. Unlike OpenAI, Anthropic does not count cached tokens as input tokens."""
    fresh, output = count_of(usage, "input_tokens"), count_of(usage, "output_tokens")
    if fresh is None and output is None:
        return None
    read = count_of(usage, "cache_read_input_tokens") or 0
    written = count_of(usage, "cache_creation_input_tokens") or 0
    for_an_hour = count_of(object_of(usage, "cache_creation"), "ephemeral_1h_input_tokens") or 0
    thought = count_of(object_of(usage, "output_tokens_details"), "thinking_tokens") or 0
    prompt = (fresh or 0) + read + written
    return Usage(prompt, output or 0, read, written, thought, min(for_an_hour, written))
