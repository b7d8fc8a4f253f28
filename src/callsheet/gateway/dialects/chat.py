"""OpenAI's chat completions."""

from collections.abc import Mapping
from typing import Final, Literal, final

import attrs

from ...actors import Json, Response
from ...bodies import (
    CHAT,
    chat_body,
    chat_usage,
    is_alone,
    split_members,
    take_limit_name,
    take_schema,
)
from ..errors import Refusal
from .carried import carry
from .chunks import ChatChunks, ChunkWriter
from .dialect import DialectName, InboundCall, StreamWriter
from .error_bodies import openai_error, openai_error_event
from .made import complete
from .reading import build_request, need, take_stream
from .sse import to_json
from .tools import take_choice, take_tools

_MEMBERS = {"json_schema": "response_format.json_schema.schema"}


@final
@attrs.frozen
class ChatDialect:
    """``POST /v1/chat/completions``."""

    name: Final[DialectName] = "chat"
    vendor: Final[Literal["openai", "anthropic"]] = "openai"

    def read(self, body: Mapping[str, Json]) -> InboundCall:
        """Return the call that a body asks for; see `Dialect`."""
        need(body, "model", "messages")
        fields, extra = split_members(body, CHAT)
        is_streamed, include_usage = take_stream(extra)
        take_limit_name(fields, body)
        take_schema(fields, extra)
        take_tools(fields, extra, "chat")
        take_choice(fields, extra, is_flat=False)
        members = _MEMBERS | {"max_tokens": str(fields.get("max_tokens_name", "max_tokens"))}
        request = build_request("chat", fields, members, extra_body=extra, dialect="chat")
        return InboundCall(request=request, is_streamed=is_streamed, include_usage=include_usage)

    def whole(self, call: InboundCall, response: Response, *, name: str, created: int) -> bytes:  # noqa: ARG002  # as the protocol has it
        """Return the body of a whole answer; see `Dialect`."""
        body = response.body
        if body is not None and _is_chat(body):
            return to_json(
                body if is_alone(response) else {**body, "usage": chat_usage(response.usage)}
            )
        made = chat_body(complete(response, name), f"chatcmpl-{name}", created)
        for choice in made["choices"][:1] if isinstance(made["choices"], list) else ():
            carry(choice["message"] if isinstance(choice, dict) else None, response)
        return to_json(made)

    def stream(self, call: InboundCall, *, name: str, created: int) -> StreamWriter:
        """Return what writes a streamed answer; see `Dialect`."""
        chunks = ChatChunks(f"chatcmpl-{name}", created, call.request.model)
        return ChunkWriter(chunks, "chat", name, include_usage=call.include_usage)

    def error(self, refusal: Refusal, request_id: str) -> bytes:
        """Return the body of an answer with an error status; see `Dialect`."""
        return openai_error(refusal, request_id)

    def error_event(self, refusal: Refusal, request_id: str) -> bytes:
        """Return the event with which a stream that has begun fails; see `Dialect`."""
        return openai_error_event(refusal, request_id)


def _is_chat(body: Mapping[str, Json]) -> bool:
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices:
        return False
    return all(isinstance(one, dict) and isinstance(one.get("message"), dict) for one in choices)
