"""OpenAI's chat completions, as OpenAI and the many compatible servers speak them.

Tolerant in what it reads, because the servers differ: every member but the list of answers may be
missing, and members it does not know are ignored.
"""

from typing import ClassVar, Literal

import attrs

from ..messages import Choice, Json, Request
from .asking import add_extra, expected_answers, refuse_unless_expressed
from .format import Answer, ApiError, Malformed, StreamDecoder
from .openai_reading import ChunkDecoder, read_choices
from .reading import read_error, text_of

__all__ = ["OpenAIChat", "read_chat"]

_RESERVED = frozenset({"n", "stream", "messages"})


@attrs.frozen(kw_only=True)
class OpenAIChat:
    """`POST /chat/completions`.

    Args:
        limit_name: the member that `Request.max_tokens` is sent as. OpenAI's newer models take
            only ``max_completion_tokens``; compatible servers may know only ``max_tokens``.
        asks_for_usage: asks for usage in streams (``stream_options``), which a server that does
            not know it may refuse. Without it, the cost of a stream may not be known.
        unknown: fields of `Request` that the server has no word for, such as "n" of Ollama.
    """

    name = "OpenAI's chat format"
    streams = True
    expresses: ClassVar[frozenset[str]] = frozenset(
        {"messages", "max_tokens", "n", "temperature", "top_p", "stop", "seed", "json_schema"}
    )

    limit_name: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    asks_for_usage: bool = False
    unknown: frozenset[str] = frozenset()

    def path(self, request: Request, *, stream: bool) -> str:  # noqa: ARG002  # the same for all
        """What to append to the base URL."""
        return "/chat/completions"

    def encode(self, request: Request, *, stream: bool) -> dict[str, Json]:
        """The JSON body.

        Raises:
            Inexpressible: the server has no word for a field of the request.
        """
        refuse_unless_expressed(request, self.name, self.expresses, self.unknown)
        body: dict[str, Json] = {
            "model": request.model,
            "messages": [turn.body for turn in request.messages],
        }
        if request.max_tokens is not None:
            body[self.limit_name] = request.max_tokens
        if request.n > 1:
            body["n"] = request.n
        if request.temperature is not None:
            body["temperature"] = request.temperature
        if request.top_p is not None:
            body["top_p"] = request.top_p
        if request.stop:
            body["stop"] = list(request.stop)
        if request.seed is not None:
            body["seed"] = request.seed
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

    def decode(self, body: Json, request: Request) -> Answer | ApiError:
        """The answers in a body, or the error that some servers send with status 200.

        Raises:
            Malformed: it is neither, or has not exactly `request.n` answers.
        """
        return read_chat(body, expected_answers(request))

    def decode_error(self, body: Json) -> ApiError:
        """The error in a body, in any of its shapes."""
        return read_error(body)

    def stream_decoder(self, request: Request) -> StreamDecoder:
        """Reads one streamed answer."""
        return ChunkDecoder(expected_answers(request), _delta)


def read_chat(body: Json, expected: int) -> Answer | ApiError:
    """The answers in a body, or the error that some servers send with status 200.

    Args:
        body: the whole body.
        expected: how many answers there must be.

    Raises:
        Malformed: it is neither, or has not exactly those answers.
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
    """The text of a message or of a piece of one, and whether it is a refusal to answer."""
    content = message.get("content")
    if isinstance(content, str) and content:
        return content, False
    refusal = message.get("refusal")
    return (refusal, True) if refusal and isinstance(refusal, str) else ("", False)
