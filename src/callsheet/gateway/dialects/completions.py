"""OpenAI's completions: prompts that the model continues."""

from collections.abc import Mapping
from typing import Final, Literal, final

import attrs

from ...actors import Json, Response
from ...bodies import COMPLETION, chat_usage, completion_body, is_alone, split_members
from ..errors import Refusal
from .chunks import ChunkWriter, CompletionChunks
from .dialect import DialectName, InboundCall, StreamWriter
from .error_bodies import openai_error, openai_error_event
from .made import complete
from .reading import build_request, need, take_stream, take_token_ids
from .sse import to_json


@final
@attrs.frozen
class CompletionsDialect:
    """``POST /v1/completions``."""

    name: Final[DialectName] = "completions"
    vendor: Final[Literal["openai", "anthropic"]] = "openai"

    def read(self, body: Mapping[str, Json]) -> InboundCall:
        """Return the call that a body asks for; see `Dialect`."""
        need(body, "model", "prompt")
        body, token_ids = take_token_ids(body, "prompt")
        fields, extra = split_members(body, COMPLETION)
        if token_ids is not None:
            extra["prompt"] = token_ids
        is_streamed, include_usage = take_stream(extra)
        request = build_request("completion", fields, {"inputs": "prompt"}, extra_body=extra)
        return InboundCall(request=request, is_streamed=is_streamed, include_usage=include_usage)

    def whole(self, call: InboundCall, response: Response, *, name: str, created: int) -> bytes:  # noqa: ARG002  # as the protocol has it
        """Return the body of a whole answer; see `Dialect`."""
        body = response.body
        if body is not None and _is_completion(body):
            return to_json(
                body if is_alone(response) else {**body, "usage": chat_usage(response.usage)}
            )
        return to_json(completion_body(complete(response, name), f"cmpl-{name}", created))

    def stream(self, call: InboundCall, *, name: str, created: int) -> StreamWriter:
        """Return what writes a streamed answer; see `Dialect`."""
        chunks = CompletionChunks(f"cmpl-{name}", created, call.request.model)
        return ChunkWriter(chunks, "completions", name, include_usage=call.include_usage)

    def error(self, refusal: Refusal, request_id: str) -> bytes:
        """Return the body of an answer with an error status; see `Dialect`."""
        return openai_error(refusal, request_id)

    def error_event(self, refusal: Refusal, request_id: str) -> bytes:
        """Return the event with which a stream that has begun fails; see `Dialect`."""
        return openai_error_event(refusal, request_id)


def _is_completion(body: Mapping[str, Json]) -> bool:
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices:
        return False
    return all(isinstance(one, dict) and isinstance(one.get("text"), str) for one in choices)
