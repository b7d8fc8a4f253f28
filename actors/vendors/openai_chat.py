"""OpenAI's chat completions, as OpenAI and the many compatible servers speak them.

Tolerant in what it reads, because the servers differ: every member but the list of answers may be
missing, and members it does not know are ignored.

What OpenAI's formats have in common: usage, the list of answers, streams of chunks.
"""

from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

import attrs

from ..messages import Choice, Delta, Json, Request, Usage
from .decoding import Collector, count_of, in_order, object_of, read_error, read_event, text_of
from .encoding import add_extra, expected_answers, refuse_unless_expressed
from .format import ApiError, DecodedResponse, Malformed, StreamDecoder, StreamFailed
from .sse import ServerSentEvent

__all__ = [
    "ChunkDecoder",
    "OpenAIChat",
    "read_chat",
    "read_choices",
    "read_usage",
]


def read_usage(usage: Json) -> Usage | None:
    """The tokens that OpenAI's `usage` reports; None if it reports none."""
    if not isinstance(usage, dict):
        return None
    prompt, answer = count_of(usage, "prompt_tokens"), count_of(usage, "completion_tokens")
    if prompt is None and answer is None:
        return None
    of_prompt = object_of(usage, "prompt_tokens_details")
    of_answer = object_of(usage, "completion_tokens_details")
    return Usage(
        prompt or 0,
        answer or 0,
        count_of(of_prompt, "cached_tokens") or 0,
        count_of(of_prompt, "cache_write_tokens") or 0,
        count_of(of_answer, "reasoning_tokens") or 0,
    )


def read_choices(
    body: Json, read: Callable[[dict[str, Json]], Choice], expected: int
) -> DecodedResponse | ApiError:
    """The answers in a body, or the error that some servers send with status 200.

    Args:
        body: the whole body.
        read: reads one of its choices.
        expected: how many there must be.

    Raises:
        Malformed: it is neither, or has not exactly those answers.
    """
    if not isinstance(body, dict):
        raise Malformed("the answer is JSON, but not an object")
    if body.get("error") or body.get("object") == "error":  # the latter is old vLLM's
        return read_error(body)
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices:
        raise Malformed('the answer has no "choices"')
    numbered: list[tuple[Json, Choice]] = []
    for choice in choices:
        if not isinstance(choice, dict):
            raise Malformed('the answer has no "choices" that are objects')
        numbered.append((choice.get("index"), read(choice)))
    return DecodedResponse(
        choices=in_order(numbered, expected),
        model=text_of(body, "model") or None,
        usage=read_usage(body.get("usage")),
        tier=text_of(body, "service_tier") or None,
        body=body,
    )


class ChunkDecoder:
    """Reads a stream of OpenAI's chunks, of chats and of completions.

    Tolerant, because the compatible servers differ: usage may come in every chunk, in the last or
    in none, and a stream may end with or without ``[DONE]``.

    Args:
        expected: how many answers there will be.
        read: the text that one choice of a chunk adds, and whether it refuses rather than answers.
        correct: what becomes of the whole, if anything.
    """

    def __init__(
        self,
        expected: int,
        read: Callable[[dict[str, Json]], tuple[str, bool]],
        correct: Callable[[DecodedResponse], DecodedResponse] | None = None,
    ) -> None:
        self._answers = Collector(expected)
        self._read = read
        self._correct = correct
        self._refused: set[int] = set()
        self._model: str | None = None
        self._tier: str | None = None
        self.usage: Usage | None = None
        self.done = False

    def feed(self, event: ServerSentEvent) -> Sequence[Delta]:
        """What one event adds to the answers.

        Raises:
            StreamFailed: the event is an error.
            Malformed: it is no chunk.
        """
        data = event.data
        if self.done or not data or data.isspace():
            return ()
        if data.startswith(b"[DONE]"):
            self.done = True
            return ()
        chunk = read_event(data)
        if chunk.get("error") or event.name == "error" or chunk.get("object") == "error":
            raise StreamFailed(read_error(chunk))
        if usage := chunk.get("usage"):
            self.usage = read_usage(usage) or self.usage
        elif "x_groq" in chunk:
            self.usage = read_usage(object_of(chunk, "x_groq").get("usage")) or self.usage
        if self._model is None:
            self._model = text_of(chunk, "model") or None
        if "service_tier" in chunk:  # in each, or only in the last, which knows best
            self._tier = text_of(chunk, "service_tier") or self._tier
        choices = chunk.get("choices")
        if not isinstance(choices, list):
            return ()  # not of the answer: some servers send keep-alives of their own
        return [delta for choice in choices if (delta := self._add(choice)) is not None]

    def _add(self, choice: Json) -> Delta | None:
        if not isinstance(choice, dict):
            raise Malformed("a choice in the stream is not an object")
        place = self._answers.place(choice.get("index"))
        text, refuses = self._read(choice)
        if text:
            self._answers.add(place, text)
        if refuses:
            self._refused.add(place)
        reason = choice.get("finish_reason")
        if reason and isinstance(reason, str):
            self._answers.finish(place, "content_filter" if place in self._refused else reason)
        return Delta(text, place) if text else None

    def end(self) -> DecodedResponse:
        """The whole, once the body has ended.

        Raises:
            BrokeOff: some answer has no finish reason.
        """
        answer = DecodedResponse(
            choices=self._answers.choices(),
            model=self._model,
            usage=self.usage,
            tier=self._tier,
        )
        return answer if self._correct is None else self._correct(answer)


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

    def decode(self, body: Json, request: Request) -> DecodedResponse | ApiError:
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


def read_chat(body: Json, expected: int) -> DecodedResponse | ApiError:
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
