"""OpenAI's embeddings.

OpenAI's SDKs ask for base64 unless their user says otherwise, and the one for JavaScript decodes
what it gets without a look. So the vectors have the form that was asked for, whatever the provider
sends.
"""

from collections.abc import Mapping
from typing import Final, Literal, final

import attrs

from ...actors import Json, Response
from ...bodies import (
    EMBEDDING,
    InvalidBody,
    chat_usage,
    embeddings_body,
    is_alone,
    listed_vector,
    packed_vector,
    split_members,
)
from ..errors import Refusal
from .dialect import DialectName, InboundCall, StreamWriter
from .error_bodies import openai_error, openai_error_event
from .reading import build_request, flag, need, take_token_ids
from .sse import to_json

_FORMATS = (None, "float", "base64")


@final
@attrs.frozen
class EmbeddingsDialect:
    """``POST /v1/embeddings``."""

    name: Final[DialectName] = "embeddings"
    vendor: Final[Literal["openai", "anthropic"]] = "openai"

    def read(self, body: Mapping[str, Json]) -> InboundCall:
        """Return the call that a body asks for; see `Dialect`.

        Texts may be lists of token ids.
        """
        need(body, "model", "input")
        body, token_ids = take_token_ids(body, "input")
        fields, extra = split_members(body, EMBEDDING)
        if token_ids is not None:
            extra["input"] = token_ids
        if flag(extra, "stream"):
            raise InvalidBody("embeddings are not streamed", "stream")
        extra.pop("stream", None)
        encoding = extra.get("encoding_format")
        if encoding not in _FORMATS:
            text = '"encoding_format" must be "float" or "base64"'
            raise InvalidBody(text, "encoding_format")
        request = build_request("embedding", fields, {"inputs": "input"}, extra_body=extra)
        return InboundCall(request=request, is_base64=encoding == "base64")

    def whole(self, call: InboundCall, response: Response, *, name: str, created: int) -> bytes:  # noqa: ARG002  # as the protocol has it
        """Return the body of a whole answer; see `Dialect`."""
        body = response.body
        data = None if body is None else body.get("data")
        if body is None or not isinstance(data, list) or len(data) != len(response.embeddings):
            return to_json(embeddings_body(response, is_base64=call.is_base64))
        wanted = str if call.is_base64 else list
        forms = {type(one.get("embedding")) if isinstance(one, dict) else None for one in data}
        if forms != {wanted}:
            write = packed_vector if call.is_base64 else listed_vector
            rewritten: list[Json] = [
                {
                    "object": "embedding",
                    **(one if isinstance(one, dict) else {}),
                    "index": at,
                    "embedding": write(vector),
                }
                for at, (one, vector) in enumerate(zip(data, response.embeddings, strict=True))
            ]
            body = {"object": "list", **body, "data": rewritten}
        if not is_alone(response):
            body = {**body, "usage": chat_usage(response.usage)}
        return to_json(body)

    def stream(self, call: InboundCall, *, name: str, created: int) -> StreamWriter:  # noqa: ARG002  # there is none
        """Raise an error: embeddings have no streams.

        Raises:
            InvalidBody: always.
        """
        raise InvalidBody("embeddings are not streamed", "stream")

    def error(self, refusal: Refusal, request_id: str) -> bytes:
        """Return the body of an answer with an error status; see `Dialect`."""
        return openai_error(refusal, request_id)

    def error_event(self, refusal: Refusal, request_id: str) -> bytes:
        """Return the event with which a stream that has begun fails; see `Dialect`."""
        return openai_error_event(refusal, request_id)
