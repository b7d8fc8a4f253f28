"""OpenAI's formats that take lists: completions, embeddings and moderations of several texts."""

import base64
import math
import struct
from functools import partial
from typing import ClassVar, cast

import attrs

from ..json_value import Json
from ..messages import Request
from ..responses import Choice, Usage
from .decoding import in_order, object_of, read_error, read_members, text_of, within_depth
from .encoding import add_extra, check_supported, expected_choices
from .format import (
    ApiError,
    BatchLimits,
    DecodedResponse,
    Malformed,
    StreamDecoder,
    UnsupportedField,
)
from .openai_chat import read_choices, read_counts, read_usage
from .openai_stream import ChunkDecoder
from .usage_of_choices import for_all_choices

_COMPLETION_LIMITS = BatchLimits(max_size=100)
_COMPLETION_RESERVED = frozenset({"n", "stream", "prompt"})


@attrs.frozen(kw_only=True)
class OpenAICompletions:
    """`POST /completions`. Choice j of prompt i, of n choices each, has the index ``i * n + j``.

    Args:
        asks_for_usage: request usage in streams (``stream_options``). A server that does not
            support it may refuse the call. Without it, the cost of a stream may not be known.
        several_prompts: whether the server accepts a list of prompts; Ollama accepts one prompt.
        unknown: fields of `Request` that the server does not support, such as "n" for Ollama.
        takes: limits of one call. No server documents how many prompts it accepts.
    """

    name = "OpenAI's completions format"
    form = "completions"
    streams = True
    supports: ClassVar[frozenset[str]] = frozenset(
        {"inputs", "max_tokens", "n", "temperature", "top_p", "stop", "seed"}
    )

    asks_for_usage: bool = False
    several_prompts: bool = True
    unknown: frozenset[str] = frozenset()
    takes: BatchLimits = _COMPLETION_LIMITS

    def path(self, request: Request, *, stream: bool) -> str:  # noqa: ARG002  # the same for all requests
        """Return what to append to the base URL."""
        return "/completions"

    def encode(self, request: Request, *, stream: bool) -> dict[str, Json]:
        """Return the JSON body of a request.

        Raises:
            UnsupportedField: the server does not support a field of the request.
        """
        check_supported(request, self.name, self.supports, self.unknown)
        if len(request.inputs) > 1 and not self.several_prompts:
            raise UnsupportedField("more than one of inputs", self.name, "make a call for each")
        body: dict[str, Json] = {
            "model": request.model,
            # Every server accepts a text; some accept no list.
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
        reserved = _reserved(request, "prompt", _COMPLETION_RESERVED)
        return add_extra(body, request, self.name, reserved)

    def decode(self, body: Json, request: Request) -> DecodedResponse | ApiError:
        """Read a response body, or the error that some servers send with status 200.

        Raises:
            Malformed: it is neither, or does not have exactly `request.n` choices for each prompt.
        """
        return self._decode(body, request)

    @staticmethod
    def _decode(
        body: Json, request: Request, *, is_assembled: bool = False
    ) -> DecodedResponse | ApiError:
        response = read_completion(
            body, expected_choices(request), len(request.inputs), is_assembled=is_assembled
        )
        return response if isinstance(response, ApiError) else for_all_choices(response, request)

    def decode_error(self, body: Json) -> ApiError:
        """Return the error in a body, in any of its shapes."""
        return read_error(body)

    def stream_decoder(self, request: Request) -> StreamDecoder:
        """Return a decoder for one streamed response."""
        decode = partial(self._decode, request=request, is_assembled=True)
        return ChunkDecoder(expected_choices(request), read_usage, decode)


def read_completion(
    body: Json, expected: int, prompts: int = 1, *, is_assembled: bool = False
) -> DecodedResponse | ApiError:
    """Read a response body with the usage that it reports; see `read_chat`.

    Args:
        body: the whole body.
        expected: number of choices that there must be.
        prompts: number of prompts that they are for.
        is_assembled: whether the body was put together from the events of a stream.

    Raises:
        Malformed: it is neither a response nor an error, or does not have exactly `expected`
            choices.
    """
    return read_choices(body, expected, prompts, is_assembled=is_assembled)


def _reserved(request: Request, member: str, usual: frozenset[str]) -> frozenset[str]:
    """Return the members that `extra_body` must not have: lists of token ids may replace texts."""
    given = request.extra_body.get(member)
    if not isinstance(given, list) or len(given) != len(request.inputs):
        return usual
    are_ids = all(isinstance(one, list) and set(map(type, one)) == {int} for one in given)
    return usual - {member} if are_ids else usual


Vector = tuple[float, ...]

_EMBEDDING_LIMITS = BatchLimits(max_size=2048, max_tokens=300_000)
_EMBEDDING_RESERVED = frozenset({"input", "stream"})
_FLOAT_BYTES = 4


@attrs.frozen(kw_only=True)
class OpenAIEmbeddings:
    """`POST /embeddings`.

    Vectors are sent as numbers. With ``extra_body={"encoding_format": "base64"}`` a server that
    supports it sends them in a quarter of the bytes; they are decoded the same way.

    Texts that are token ids already are in ``extra_body={"input": [[...], ...]}``, one list for
    each of `Request.inputs`, which stand for them where tokens are estimated. Completions have such
    prompts in the same way.

    Args:
        unknown: fields of `Request` that the server does not support.
        takes: limits of one call: texts, tokens and bytes.
    """

    name = "OpenAI's embeddings format"
    form = "embeddings"
    streams = False
    supports: ClassVar[frozenset[str]] = frozenset({"inputs", "dimensions"})

    unknown: frozenset[str] = frozenset()
    takes: BatchLimits = _EMBEDDING_LIMITS

    def path(self, request: Request, *, stream: bool) -> str:  # noqa: ARG002  # the same for all requests
        """Return what to append to the base URL."""
        return "/embeddings"

    def encode(self, request: Request, *, stream: bool) -> dict[str, Json]:
        """Return the JSON body of a request.

        Raises:
            UnsupportedField: the server does not support a field of the request, or a stream was
                requested.
        """
        if stream:
            raise UnsupportedField("a stream", self.name, "request the whole response")
        check_supported(request, self.name, self.supports, self.unknown)
        body: dict[str, Json] = {"model": request.model, "input": list(request.inputs)}
        if request.dimensions is not None:
            body["dimensions"] = request.dimensions
        reserved = _reserved(request, "input", _EMBEDDING_RESERVED)
        return add_extra(body, request, self.name, reserved)

    def decode(self, body: Json, request: Request) -> DecodedResponse | ApiError:
        """Read the vectors in a body, or the error that some servers send with status 200.

        Raises:
            Malformed: it is neither, or does not have exactly one vector for each text.
        """
        response = read_embeddings(body, len(request.inputs))
        return response if isinstance(response, ApiError) else for_all_choices(response, request)

    def decode_error(self, body: Json) -> ApiError:
        """Return the error in a body, in any of its shapes."""
        return read_error(body)

    def stream_decoder(self, request: Request) -> StreamDecoder:  # noqa: ARG002  # there is none
        """Raise an error: embeddings have no streams.

        Raises:
            UnsupportedField: always.
        """
        raise UnsupportedField("a stream", self.name, "request the whole response")


@attrs.frozen(kw_only=True)
class OpenAIModerations:
    """`POST /moderations`. The text of a choice names the kinds of harm, "" for none.

    An input with images is a list of parts in ``extra_body={"input": [...]}``, with the texts of
    these parts as `Request.inputs`; it has one result.
    """

    name = "OpenAI's moderations format"
    form = "moderations"
    streams = False
    supports: ClassVar[frozenset[str]] = frozenset({"inputs"})

    def path(self, request: Request, *, stream: bool) -> str:  # noqa: ARG002  # the same for all requests
        """Return what to append to the base URL."""
        return "/moderations"

    def encode(self, request: Request, *, stream: bool) -> dict[str, Json]:
        """Return the JSON body of a request.

        Raises:
            UnsupportedField: the server does not support a field of the request, or a stream was
                requested.
        """
        if stream:
            raise UnsupportedField("a stream", self.name, "request the whole response")
        check_supported(request, self.name, self.supports)
        texts: Json = list(request.inputs)
        only = request.inputs[0] if len(request.inputs) == 1 else texts
        return add_extra({"model": request.model, "input": only}, request, self.name, frozenset())

    def decode(self, body: Json, request: Request) -> DecodedResponse | ApiError:
        """Read the results in a body, or the error that some servers send with status 200.

        Raises:
            Malformed: it is neither, or does not have exactly one result for each input.
        """
        expected = 1 if "input" in request.extra_body else len(request.inputs)
        return read_moderations(body, expected)

    def decode_error(self, body: Json) -> ApiError:
        """Return the error in a body, in any of its shapes."""
        return read_error(body)

    def stream_decoder(self, request: Request) -> StreamDecoder:  # noqa: ARG002  # there is none
        """Raise an error: moderations have no streams.

        Raises:
            UnsupportedField: always.
        """
        raise UnsupportedField("a stream", self.name, "request the whole response")


@within_depth
def read_moderations(body: Json, expected: int) -> DecodedResponse | ApiError:
    """Read the results in a body, or the error that some servers send with status 200.

    Moderations are free, and their bodies report no tokens.

    Args:
        body: the whole body.
        expected: number of results that there must be.

    Raises:
        Malformed: it is neither, or does not have exactly `expected` results.
    """
    members = read_members(body, "results")
    if isinstance(members, ApiError):
        return members
    results = members.get("results")
    if not isinstance(results, list) or len(results) != expected:
        raise Malformed(f'the response does not have {expected} "results"')
    choices: list[Choice] = []
    for result in results:
        if not isinstance(result, dict):
            raise Malformed('the response has no "results" that are objects')
        kinds = object_of(result, "categories")
        choices.append(Choice(", ".join(name for name in kinds if kinds[name] is True), "stop"))
    model = text_of(members, "model") or None
    return DecodedResponse(choices=tuple(choices), model=model, usage=Usage(), body=members)


@within_depth
def read_embeddings(body: Json, expected: int) -> DecodedResponse | ApiError:
    """Read the vectors in a body, or the error that some servers send with status 200.

    Args:
        body: the whole body.
        expected: number of vectors that there must be.

    Raises:
        Malformed: it is neither, or does not have exactly `expected` vectors.
    """
    members = read_members(body, "data")
    if isinstance(members, ApiError):
        return members
    data = members.get("data")
    if not isinstance(data, list):
        raise Malformed('the response has no "data"')
    numbered: list[tuple[Json, Vector]] = []
    for item in data:
        if not isinstance(item, dict):
            raise Malformed('the response has no "data" that are objects')
        numbered.append((item.get("index"), _vector(item.get("embedding"))))
    return DecodedResponse(
        embeddings=in_order(numbered, expected),
        model=text_of(members, "model") or None,
        usage=(counts := read_counts(members.get("usage")).without_output).usage,
        usage_doubt=counts.doubt,
        body=members,
    )


def _vector(value: Json) -> Vector:
    """Read a vector: a list of numbers, or little-endian 32-bit floats in base64."""
    if isinstance(value, list) and value and set(map(type, value)) <= {int, float}:
        try:
            vector = tuple(map(float, cast("list[float]", value)))
        except OverflowError:  # an integer that is too large
            vector = (math.inf,)
    elif isinstance(value, str) and value:
        try:
            raw = base64.b64decode(value, validate=True)
            vector = struct.unpack(f"<{len(raw) // _FLOAT_BYTES}f", raw)
        except (ValueError, struct.error):
            raise Malformed('an "embedding" is a text, but not base64 of floats') from None
    else:
        raise Malformed('an "embedding" is not a list of numbers')
    if not all(map(math.isfinite, vector)):
        raise Malformed('an "embedding" has a number that is not finite')
    return vector
