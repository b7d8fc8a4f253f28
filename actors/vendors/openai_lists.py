"""OpenAI's older completions: texts that go on from prompts, several prompts in one call.

OpenAI's embeddings: a vector for each text.
"""

import base64
import math
import struct
from typing import ClassVar, cast

import attrs

from ..messages import Choice, Json, Request
from .decoding import in_order, read_error, text_of
from .encoding import add_extra, expected_answers, refuse_unless_expressed
from .format import (
    ApiError,
    BatchLimits,
    DecodedResponse,
    Malformed,
    StreamDecoder,
    UnsupportedField,
)
from .openai_chat import ChunkDecoder, read_choices, read_usage

__all__ = [
    "OpenAICompletions",
    "OpenAIEmbeddings",
    "read_completion",
    "read_embeddings",
]


_COMPLETION_FIELDS = BatchLimits(max_size=100)
_COMPLETION_RESERVED = frozenset({"n", "stream", "prompt"})
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
    takes: BatchLimits = _COMPLETION_FIELDS

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
            raise UnsupportedField("more than one of inputs", self.name, "make a call for each")
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
        return add_extra(body, request, self.name, _COMPLETION_RESERVED)

    def decode(self, body: Json, request: Request) -> DecodedResponse | ApiError:
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


def read_completion(body: Json, expected: int) -> DecodedResponse | ApiError:
    """The answers in a body, with the usage that it says; see `read_chat`."""
    return read_choices(body, _choice, expected)


def _believed(answer: DecodedResponse, request: Request) -> DecodedResponse:
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


Vector = tuple[float, ...]

_EMBEDDING_FIELDS = BatchLimits(max_size=2048, max_tokens=300_000)
_EMBEDDING_RESERVED = frozenset({"input", "stream"})
_FLOAT_BYTES = 4


@attrs.frozen(kw_only=True)
class OpenAIEmbeddings:
    """`POST /embeddings`.

    Vectors come as numbers. With ``extra={"encoding_format": "base64"}`` they come in a quarter of
    the bytes from a server that knows it, and are read all the same.

    Args:
        unknown: fields of `Request` that the server has no word for.
        takes: what one call may come to.
    """

    name = "OpenAI's embeddings format"
    streams = False
    expresses: ClassVar[frozenset[str]] = frozenset({"inputs", "dimensions"})

    unknown: frozenset[str] = frozenset()
    takes: BatchLimits = _EMBEDDING_FIELDS

    def path(self, request: Request, *, stream: bool) -> str:  # noqa: ARG002  # the same for all
        """What to append to the base URL."""
        return "/embeddings"

    def encode(self, request: Request, *, stream: bool) -> dict[str, Json]:
        """The JSON body.

        Raises:
            Inexpressible: the server has no word for a field of the request; or for a stream.
        """
        if stream:
            raise UnsupportedField("a stream", self.name, "ask for the whole answer")
        refuse_unless_expressed(request, self.name, self.expresses, self.unknown)
        body: dict[str, Json] = {"model": request.model, "input": list(request.inputs)}
        if request.dimensions is not None:
            body["dimensions"] = request.dimensions
        return add_extra(body, request, self.name, _EMBEDDING_RESERVED)

    def decode(self, body: Json, request: Request) -> DecodedResponse | ApiError:
        """The vectors in a body, or the error that some servers send with status 200.

        Raises:
            Malformed: it is neither, or has not exactly one vector for each text.
        """
        return read_embeddings(body, len(request.inputs))

    def decode_error(self, body: Json) -> ApiError:
        """The error in a body, in any of its shapes."""
        return read_error(body)

    def stream_decoder(self, request: Request) -> StreamDecoder:  # noqa: ARG002  # of no request
        """There is none.

        Raises:
            Inexpressible: always.
        """
        raise UnsupportedField("a stream", self.name, "ask for the whole answer")


def read_embeddings(body: Json, expected: int) -> DecodedResponse | ApiError:
    """The vectors in a body, or the error that some servers send with status 200.

    Args:
        body: the whole body.
        expected: how many vectors there must be.

    Raises:
        Malformed: it is neither, or has not exactly those vectors.
    """
    if not isinstance(body, dict):
        raise Malformed("the answer is JSON, but not an object")
    if body.get("error") or body.get("object") == "error":
        return read_error(body)
    data = body.get("data")
    if not isinstance(data, list):
        raise Malformed('the answer has no "data"')
    numbered: list[tuple[Json, Vector]] = []
    for item in data:
        if not isinstance(item, dict):
            raise Malformed('the answer has no "data" that are objects')
        numbered.append((item.get("index"), _vector(item.get("embedding"))))
    return DecodedResponse(
        embeddings=in_order(numbered, expected),
        model=text_of(body, "model") or None,
        usage=read_usage(body.get("usage")),
        body=body,
    )


def _vector(value: Json) -> Vector:
    """A vector of numbers, or of little-endian 32-bit floats in base 64."""
    if isinstance(value, list) and value and set(map(type, value)) <= {int, float}:
        try:
            vector = tuple(map(float, cast("list[float]", value)))
        except OverflowError:  # a whole number beyond all bounds
            vector = (math.inf,)
    elif isinstance(value, str) and value:
        try:
            raw = base64.b64decode(value, validate=True)
            vector = struct.unpack(f"<{len(raw) // _FLOAT_BYTES}f", raw)
        except (ValueError, struct.error):
            raise Malformed('an "embedding" is a text that is no base64 of floats') from None
    else:
        raise Malformed('an "embedding" is no list of numbers')
    if not all(map(math.isfinite, vector)):
        raise Malformed('an "embedding" has a number in it that is not finite')
    return vector
