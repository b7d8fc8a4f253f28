"""OpenAI's embeddings: a vector for each text."""

import base64
import math
import struct
from typing import ClassVar, cast

import attrs

from ..batching.weight import Bounds
from ..messages import Json, Request
from .asking import add_extra, refuse_unless_expressed
from .collecting import in_order
from .format import Answer, ApiError, Inexpressible, Malformed, StreamDecoder
from .openai_reading import read_usage
from .reading import read_error, text_of

__all__ = ["OpenAIEmbeddings", "read_embeddings"]

Vector = tuple[float, ...]

_TAKES = Bounds(max_size=2048, max_tokens=300_000)
_RESERVED = frozenset({"input", "stream"})
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
    takes: Bounds = _TAKES

    def path(self, request: Request, *, stream: bool) -> str:  # noqa: ARG002  # the same for all
        """What to append to the base URL."""
        return "/embeddings"

    def encode(self, request: Request, *, stream: bool) -> dict[str, Json]:
        """The JSON body.

        Raises:
            Inexpressible: the server has no word for a field of the request; or for a stream.
        """
        if stream:
            raise Inexpressible("a stream", self.name, "ask for the whole answer")
        refuse_unless_expressed(request, self.name, self.expresses, self.unknown)
        body: dict[str, Json] = {"model": request.model, "input": list(request.inputs)}
        if request.dimensions is not None:
            body["dimensions"] = request.dimensions
        return add_extra(body, request, self.name, _RESERVED)

    def decode(self, body: Json, request: Request) -> Answer | ApiError:
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
        raise Inexpressible("a stream", self.name, "ask for the whole answer")


def read_embeddings(body: Json, expected: int) -> Answer | ApiError:
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
    return Answer(
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
