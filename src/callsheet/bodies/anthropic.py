"""Write responses in the shape of Anthropic's messages."""

import json

from ..actors import Choice, Json, Response, Usage
from .openai import choices_of

_STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}
"""{OpenAI's finish reason: Anthropic's}"""
ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
"""{HTTP status: Anthropic's type of error}; other errors are of the type "api_error"."""


def message_body(response: Response, body_id: str) -> dict[str, Json]:
    """Return a response as a message of Anthropic.

    Args:
        response: the response to write.
        body_id: the id of the body.
    """
    first = choices_of(response)[0]
    return {
        "id": body_id,
        "type": "message",
        "role": "assistant",
        "model": response.model,
        "content": content_blocks(first),
        "stop_reason": stop_reason(first),
        "stop_sequence": None,
        "usage": message_usage(response.usage),
    }


def stop_reason(choice: Choice) -> str:
    """Return the finish reason of a choice in Anthropic's words."""
    return _STOP_REASONS.get(choice.finish_reason or "", "end_turn")


def content_blocks(choice: Choice) -> list[Json]:
    """Return what was generated as blocks: the reasoning, the text and the tool calls."""
    texts: list[Json] = []
    if choice.reasoning:
        texts.append({"type": "thinking", "thinking": choice.reasoning, "signature": ""})
    if text := choice.text or choice.refusal:
        texts.append({"type": "text", "text": text})
    calls: list[Json] = [
        {"type": "tool_use", "id": it.id, "name": it.name, "input": read_arguments(it.arguments)}
        for it in choice.tool_calls
    ]
    return texts + calls


def read_arguments(text: str) -> Json:
    """Return the arguments of a tool call as an object."""
    try:
        value: Json = json.loads(text or "{}")
    except ValueError:
        return {"arguments": text}
    return value if isinstance(value, dict) else {"arguments": value}


def message_usage(usage: Usage) -> dict[str, Json]:
    """Return the tokens of a call by Anthropic's names; cached ones are no input tokens there."""
    read, written = usage.cached_tokens, usage.cache_write_tokens
    return {
        "input_tokens": max(0, usage.input_tokens - read - written),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "output_tokens": usage.output_tokens,
    }
