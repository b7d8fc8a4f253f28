"""Bodies and lines in the formats of Anthropic and Gemini, for rows of their batch files."""

import json
from collections.abc import Mapping

from ...actors import (
    ApiError,
    CallFailed,
    ChatMessage,
    Choice,
    DecodedResponse,
    Json,
    Malformed,
    Request,
    Response,
    Usage,
    vendor_named,
)
from ..row import ANTHROPIC_URL, is_gemini_url

_STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}
"""{OpenAI's finish reason: Anthropic's}"""
_FINISH_REASONS = {
    "stop": "STOP",
    "tool_calls": "STOP",
    "length": "MAX_TOKENS",
    "content_filter": "SAFETY",
}
"""{OpenAI's finish reason: Gemini's}"""
_ERROR_TYPES = {
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
_CODES = {400: 3, 401: 16, 403: 7, 404: 5, 429: 8, 500: 13, 503: 14, 504: 4}
"""{HTTP status: code of google.rpc}; other errors have the code 2, unknown."""


def is_vendors(url: str) -> bool:
    """Return whether a row with this path is of a batch file of Anthropic or Gemini."""
    return url == ANTHROPIC_URL or is_gemini_url(url)


def generated_member(url: str) -> str:
    """Return the member of a body that has what was generated; see `is_vendors`."""
    return "content" if url == ANTHROPIC_URL else "candidates"


def id_member(url: str) -> str:
    """Return the member of a line that has the custom id of its row."""
    return "key" if is_gemini_url(url) else "custom_id"


def with_usage(url: str, body: Mapping[str, Json], usage: Usage) -> dict[str, Json]:
    """Return a body with the tokens of one row.

    Args:
        url: the path of the row.
        body: the body of a call that the row shared with others.
        usage: the tokens of the row.
    """
    if url == ANTHROPIC_URL:
        return {**body, "usage": _anthropic_usage(usage)}
    return {**body, "usageMetadata": _gemini_usage(usage)}


def vendor_body(url: str, response: Response, name: str) -> dict[str, Json]:
    """Make a body from the response of another provider.

    Args:
        url: the path of the row.
        response: the response to the request.
        name: the name to make an id from.
    """
    choices = response.choices or (Choice(response.text, response.finish_reason),)
    if url == ANTHROPIC_URL:
        first = choices[0]
        return {
            "id": f"msg_{name}",
            "type": "message",
            "role": "assistant",
            "model": response.model,
            "content": _blocks(first),
            "stop_reason": _STOP_REASONS.get(first.finish_reason or "", "end_turn"),
            "stop_sequence": None,
            "usage": _anthropic_usage(response.usage),
        }
    candidates: list[Json] = [
        {
            "content": {"role": "model", "parts": _parts(choice)},
            "finishReason": _FINISH_REASONS.get(choice.finish_reason or "", "OTHER"),
            "index": at,
        }
        for at, choice in enumerate(choices)
    ]
    return {
        "candidates": candidates,
        "usageMetadata": _gemini_usage(response.usage),
        "modelVersion": response.model,
        "responseId": name,
    }


def read_vendor_body(body: dict[str, Json]) -> DecodedResponse | None:
    """Decode a body in the format of Anthropic or Gemini; None if it is in another format.

    Raises:
        Malformed: the body is not a response.
    """
    candidates = body.get("candidates")
    if isinstance(body.get("content"), list):
        vendor, count = "anthropic", 1
    elif "candidates" in body or "promptFeedback" in body:
        vendor, count = "gemini", len(candidates) if isinstance(candidates, list) else 1
    else:
        return None
    messages = (ChatMessage("user", "x"),)
    request = Request(model="m", messages=messages, n=max(1, count))
    found = vendor_named(vendor).format_for("chat").decode(body, request)
    if isinstance(found, ApiError):
        raise Malformed("the body is an error")
    return found


def answered_members(url: str, body: Mapping[str, Json]) -> dict[str, Json]:
    """Return the members of a line with a response, as the batches of the provider have them.

    Args:
        url: the path of the row.
        body: the body of the response.
    """
    if url == ANTHROPIC_URL:
        return {"result": {"type": "succeeded", "message": dict(body)}}
    return {"response": dict(body)}


def failed_members(url: str, error: CallFailed) -> dict[str, Json]:
    """Return the members of a line with an error, as the batches of the provider have them.

    Args:
        url: the path of the row.
        error: why the row has no response.
    """
    text, status = str(error), error.status or 0
    if url != ANTHROPIC_URL:
        return {"error": {"code": _CODES.get(status, 2), "message": text}}
    own = error.body
    kind = _ERROR_TYPES.get(status, "api_error")
    made: dict[str, Json] = {"type": "error", "error": {"type": kind, "message": text}}
    is_own = own is not None and own.get("type") == "error"
    return {"result": {"type": "errored", "error": dict(own) if is_own and own else made}}


def _blocks(choice: Choice) -> list[Json]:
    texts: list[Json] = []
    if choice.reasoning:
        texts.append({"type": "thinking", "thinking": choice.reasoning, "signature": ""})
    if text := choice.text or choice.refusal:
        texts.append({"type": "text", "text": text})
    calls: list[Json] = [
        {"type": "tool_use", "id": it.id, "name": it.name, "input": _arguments(it.arguments)}
        for it in choice.tool_calls
    ]
    return texts + calls


def _parts(choice: Choice) -> list[Json]:
    parts: list[Json] = []
    if choice.reasoning:
        parts.append({"text": choice.reasoning, "thought": True})
    if text := choice.text or choice.refusal:
        parts.append({"text": text})
    for call in choice.tool_calls:
        named: dict[str, Json] = {"name": call.name, "args": _arguments(call.arguments)}
        parts.append({"functionCall": {"id": call.id, **named} if call.id else named})
    return parts


def _arguments(text: str) -> Json:
    try:
        value: Json = json.loads(text or "{}")
    except ValueError:
        return {"arguments": text}
    return value if isinstance(value, dict) else {"arguments": value}


def _anthropic_usage(usage: Usage) -> dict[str, Json]:
    read, written = usage.cached_tokens, usage.cache_write_tokens
    return {
        "input_tokens": max(0, usage.input_tokens - read - written),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "output_tokens": usage.output_tokens,
    }


def _gemini_usage(usage: Usage) -> dict[str, Json]:
    thoughts = usage.reasoning_tokens
    counts: dict[str, Json] = {
        "promptTokenCount": usage.input_tokens,
        "candidatesTokenCount": max(0, usage.output_tokens - thoughts),
        "totalTokenCount": usage.input_tokens + usage.output_tokens,
    }
    if thoughts:
        counts["thoughtsTokenCount"] = thoughts
    if usage.cached_tokens:
        counts["cachedContentTokenCount"] = usage.cached_tokens
    return counts
