"""OpenAI's older completions: texts that go on from prompts, several prompts in one call."""

from typing import ClassVar

import attrs

from ..batching.weight import Bounds
from ..messages import Choice, Json, Request
from .asking import add_extra, expected_answers, refuse_unless_expressed
from .format import Answer, ApiError, Inexpressible, Malformed, StreamDecoder
from .openai_reading import ChunkDecoder, read_choices
from .reading import read_error, text_of

__all__ = ["OpenAICompletions", "read_completion"]

_TAKES = Bounds(max_size=100)
_RESERVED = frozenset({"n", "stream", "prompt"})
_USUAL_CHARS, _MOST_CHARS = 4, 7  # of a token, on the average of a longer text
_TELLING_CHARS = 200  # of a longer text


@attrs.frozen(kw_only=True)
class OpenAICompletions:
    """`POST /completions`. Answer j to prompt i of n each has the index ``i * n + j``.

    Args:
        asks_for_usage: asks for usage in streams (``stream_options``), which a server that does
            not know it may refuse. Without it, the cost of a stream may not be known.
        several_prompts: the server takes a list of prompts; Ollama takes one prompt only.
        unknown: fields of `Request` that the server has no word for, such as "n" of Ollama.
        takes: what one call may come to. No server says how many prompts are wise.
    """

    name = "OpenAI's completions format"
    streams = True
    expresses: ClassVar[frozenset[str]] = frozenset(
        {"inputs", "max_tokens", "n", "temperature", "top_p", "stop", "seed"}
    )

    asks_for_usage: bool = False
    several_prompts: bool = True
    unknown: frozenset[str] = frozenset()
    takes: Bounds = _TAKES

    def path(self, request: Request, *, stream: bool) -> str:  # noqa: ARG002  # the same for all
        """What to append to the base URL."""
        return "/completions"

    def encode(self, request: Request, *, stream: bool) -> dict[str, Json]:
        """The JSON body.

        Raises:
            Inexpressible: the server has no word for a field of the request.
        """
        refuse_unless_expressed(request, self.name, self.expresses, self.unknown)
        if len(request.inputs) > 1 and not self.several_prompts:
            raise Inexpressible("more than one of inputs", self.name, "make a call for each")
        body: dict[str, Json] = {
            "model": request.model,
            # Every server knows a text; some know no list.
            "prompt": request.inputs[0] if len(request.inputs) == 1 else list(request.inputs),
        }
        if request.max_tokens is not None:
            body["max_tokens"] = request.max_tokens
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
        if stream:
            body["stream"] = True
            if self.asks_for_usage:
                body["stream_options"] = {"include_usage": True}
        return add_extra(body, request, self.name, _RESERVED)

    def decode(self, body: Json, request: Request) -> Answer | ApiError:
        """The answers in a body, or the error that some servers send with status 200.

        Raises:
            Malformed: it is neither, or has not exactly `request.n` answers to each prompt.
        """
        answer = read_completion(body, expected_answers(request))
        return answer if isinstance(answer, ApiError) else _believed(answer, request)

    def decode_error(self, body: Json) -> ApiError:
        """The error in a body, in any of its shapes."""
        return read_error(body)

    def stream_decoder(self, request: Request) -> StreamDecoder:
        """Reads one streamed answer."""
        return ChunkDecoder(
            expected_answers(request), _delta, lambda answer: _believed(answer, request)
        )


def read_completion(body: Json, expected: int) -> Answer | ApiError:
    """The answers in a body, with the usage that it says; see `read_chat`."""
    return read_choices(body, _choice, expected)


def _believed(answer: Answer, request: Request) -> Answer:
    """The answer, its usage corrected where it is that of one prompt or choice of several.

    Some servers report no more than that. No text has so many characters a token as would follow
    then; what is missing is estimated, at four of them.
    """
    if answer.usage is None or expected_answers(request) == 1:
        return answer
    sent = sum(map(len, request.inputs))
    said = sum(len(choice.text) for choice in answer.choices)
    usage = attrs.evolve(
        answer.usage,
        input_tokens=_believed_count(answer.usage.input_tokens, sent),
        output_tokens=_believed_count(answer.usage.output_tokens, said),
    )
    return attrs.evolve(answer, usage=usage)


def _believed_count(tokens: int, chars: int) -> int:
    usual = -(-chars // _USUAL_CHARS)
    is_credible = chars < _TELLING_CHARS or chars <= tokens * _MOST_CHARS
    return tokens if is_credible else max(tokens, usual)


def _choice(choice: dict[str, Json]) -> Choice:
    text = choice.get("text")
    if not isinstance(text, str):
        raise Malformed('a choice has no "text"')
    return Choice(text, text_of(choice, "finish_reason") or None)


def _delta(choice: dict[str, Json]) -> tuple[str, bool]:
    text = choice.get("text")
    return (text, False) if isinstance(text, str) else ("", False)
