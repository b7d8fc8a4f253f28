"""The endpoint POST /v1/embeddings; its `input` may be a list.

The numbers of a vector have two values, plus and minus 1/sqrt(dimensions), with signs from a hash
of the text. So every vector has length 1, equal texts have equal vectors, different ones are nearly
orthogonal, and 2,048 vectors of 1,536 numbers take little time.
"""

import base64
import math
import struct
from hashlib import shake_128

import attrs

from .body import RequestBody, RequestRefused
from .call import AnswerContext, ModelAnswer, Piece, TextsCall
from .prompt import Texts, read_texts
from .settings import ProviderSettings
from .wire import Json, compact

MAX_INPUTS = 2048
MAX_TOKENS_PER_INPUT = 8192
MAX_TOKENS = 300_000
MAX_DIMENSIONS = 4096
_MEMBERS = frozenset({"dimensions", "encoding_format", "input", "model", "user"})


@attrs.frozen(kw_only=True)
class EmbeddingsCall(TextsCall):
    """Parsed embeddings (see `ModelCall`)."""

    dimensions: int
    as_base64: bool

    @classmethod
    def parse(cls, body: RequestBody, settings: ProviderSettings) -> "EmbeddingsCall":
        """Parse a request.

        Raises:
            RequestRefused: the request is invalid, or exceeds one of the three limits of the
                endpoint.
        """
        if settings.refuses_unknown:
            body.refuse_unknown(_MEMBERS)
        inputs = read_texts(body, "input", MAX_INPUTS)
        _check_sizes(inputs)
        model = body.model()
        encoding = body.choice("encoding_format", ("float", "base64"))
        return cls(
            model=model,
            inputs=inputs,
            dimensions=body.integer("dimensions", 1, MAX_DIMENSIONS)
            or (3072 if model.endswith("-large") else 1536),
            as_base64=encoding == "base64",
        )

    def answer(self, context: AnswerContext) -> ModelAnswer:
        """Embed every input, in order."""
        write = _Base64Writer if self.as_base64 else _FloatWriter
        vectors = write(self.dimensions)
        data = b",".join(
            b'{"object":"embedding","index":%d,"embedding":%b}'
            % (i, vectors.of(f"{context.seed}|{text}".encode("utf-8", "surrogatepass")))
            for i, text in enumerate(self.inputs.items)
        )
        tokens = self.inputs.tokens
        tail: dict[str, Json] = {"model": self.model}
        if context.with_usage:
            tail["usage"] = {"prompt_tokens": tokens, "total_tokens": tokens}
        # Written without a JSON encoder, which takes seconds for three million numbers.
        body = b'{"object":"list","data":[%b],%b' % (data, compact(tail)[1:])
        return ModelAnswer((Piece(body),), tokens)


def _check_sizes(inputs: Texts) -> None:
    if "" in inputs.items:
        raise RequestRefused(
            400, "Invalid 'input': input cannot be an empty string.", param="input"
        )
    if inputs.longest > MAX_TOKENS_PER_INPUT:
        raise RequestRefused(
            400,
            f"This model's maximum context length is {MAX_TOKENS_PER_INPUT} tokens, however "
            f"you requested {inputs.longest} tokens. Please reduce your prompt.",
            param="input",
            code="context_length_exceeded",
        )
    if inputs.tokens > MAX_TOKENS:
        raise RequestRefused(
            400,
            f"Requested {inputs.tokens} tokens, max {MAX_TOKENS} tokens per request.",
            type="max_tokens_per_request",
            param="input",
            code="max_tokens_per_request",
        )


def _signs(byte: int) -> tuple[int, ...]:
    return tuple(1 if byte >> bit & 1 else -1 for bit in range(8))


class _FloatWriter:
    """Writes vectors as JSON arrays: eight numbers at a time, from a table by byte."""

    def __init__(self, dimensions: int) -> None:
        self._dimensions = dimensions
        size = repr(1 / math.sqrt(dimensions))
        self._numbers = [
            [f"{'' if sign > 0 else '-'}{size}" for sign in _signs(byte)] for byte in range(256)
        ]
        self._eights = [",".join(numbers) for numbers in self._numbers]

    def of(self, text: bytes) -> bytes:
        whole, rest = divmod(self._dimensions, 8)
        signs = shake_128(text).digest(whole + 1)
        found = [self._eights[byte] for byte in signs[:whole]]
        found += self._numbers[signs[whole]][:rest]
        return f"[{','.join(found)}]".encode()


class _Base64Writer:
    """Writes vectors as base64 of little-endian 32-bit floats."""

    def __init__(self, dimensions: int) -> None:
        self._dimensions = dimensions
        size = 1 / math.sqrt(dimensions)
        self._eights = [
            struct.pack("<8f", *(sign * size for sign in _signs(byte))) for byte in range(256)
        ]

    def of(self, text: bytes) -> bytes:
        signs = shake_128(text).digest(self._dimensions // 8 + 1)
        packed = b"".join([self._eights[byte] for byte in signs])
        return b'"%b"' % base64.b64encode(packed[: 4 * self._dimensions])
