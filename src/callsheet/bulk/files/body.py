"""Make the body of a response in the format of its row, or use the provider's own.

Rows of batch files have the format of OpenAI, Anthropic or Gemini; all others that of OpenAI.
"""

import base64
import json
import struct
from collections.abc import Mapping
from typing import cast

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
    TokenLogprob,
    ToolCall,
    Usage,
    read_chat,
    read_completion,
    read_embeddings,
    read_moderations,
    read_response,
    vendor_named,
)
from ..row import ANTHROPIC_URL, Row, is_gemini_url

_RESPONSES = "/v1/responses"
_ALONE = ("live", "flex", "batch")  # routes of responses that share no usage with others


def own_body(row: Row, response: Response) -> Mapping[str, Json] | None:
    """Return the provider's own body if it is in the format of the row; None if it is not.

    For a packed, shared or cached response, its usage is replaced by what this row used.
    """
    body = response.body
    generated = "data" if row.request.task == "embedding" else "choices"
    if row.url == _RESPONSES:
        generated = "output"
    elif row.request.task == "moderation":
        generated = "results"
    elif is_vendors(row.url):
        generated = generated_member(row.url)
    if body is None or not isinstance(body.get(generated), list):
        return None
    has_usage = "usage" in body or "usageMetadata" in body
    is_alone = response.route in _ALONE and (has_usage or not response.usage.total_tokens)
    if is_alone or row.request.task == "moderation":  # whose bodies have no usage
        return body
    if is_vendors(row.url):
        return with_usage(row.url, body, response.usage)
    return {**body, "usage": _tokens(row, response)}


def made_body(row: Row, response: Response, name: str, created: int) -> dict[str, Json]:
    """Make a body in the format of the row from a response.

    Args:
        row: the row of the request.
        response: the response to the request.
        name: the name to make an id from, if the provider gave none.
        created: the time of the response, in seconds of Unix time.
    """
    if is_vendors(row.url):
        return vendor_body(row.url, response, name)
    task, usage = row.request.task, _tokens(row, response)
    if task == "embedding":
        write = _packed if row.request.extra_body.get("encoding_format") == "base64" else _listed
        vectors: list[Json] = [
            {"object": "embedding", "index": at, "embedding": write(vector)}
            for at, vector in enumerate(response.embeddings)
        ]
        model = response.model
        return {"object": "list", "data": vectors, "model": model, "usage": usage}
    found = response.choices or (Choice(response.text, response.finish_reason),)
    own_id = response.body.get("id") if response.body is not None else None
    if row.url == _RESPONSES:
        head = {"id": own_id or f"resp_{name}", "object": "response", "created_at": created}
        return {**head, "model": response.model, **_response_members(found[0]), "usage": usage}
    prefix = "cmpl" if task == "completion" else "chatcmpl"
    write_choice = _completion_choice if task == "completion" else _chat_choice
    choices: list[Json] = [write_choice(at, one) for at, one in enumerate(found)]
    return {
        "id": own_id if isinstance(own_id, str) and own_id else f"{prefix}-{name}",
        "object": "text_completion" if task == "completion" else "chat.completion",
        "created": created,
        "model": response.model,
        "choices": choices,
        "usage": usage,
    }


def read_body(body: dict[str, Json]) -> DecodedResponse:
    """Decode a body in the format of OpenAI, Anthropic or Gemini.

    Raises:
        Malformed: the body is not a response.
    """
    if (other := read_vendor_body(body)) is not None:
        return other
    vectors, choices = body.get("data"), body.get("choices")
    found: DecodedResponse | ApiError
    if isinstance(body.get("output"), list):
        found = read_response(body)
    elif isinstance(results := body.get("results"), list):
        found = read_moderations(body, len(results))
    elif isinstance(vectors, list):
        found = read_embeddings(body, len(vectors))
    elif isinstance(choices, list):
        first = choices[0] if choices else None
        read = read_completion if isinstance(first, dict) and "text" in first else read_chat
        found = read(body, len(choices))
    else:
        raise Malformed("the body has neither choices, nor an output, nor data")
    if isinstance(found, ApiError):
        raise Malformed("the body is an error")
    return found


def _tokens(row: Row, response: Response) -> dict[str, Json]:
    usage = response.usage
    read, written = ("input", "output") if row.url == _RESPONSES else ("prompt", "completion")
    tokens: dict[str, Json] = {
        f"{read}_tokens": usage.input_tokens,
        f"{written}_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
    if usage.cached_tokens:
        tokens[f"{read}_tokens_details"] = {"cached_tokens": usage.cached_tokens}
    if usage.reasoning_tokens:
        tokens[f"{written}_tokens_details"] = {"reasoning_tokens": usage.reasoning_tokens}
    return tokens


def _response_members(one: Choice) -> dict[str, Json]:
    """Return the status and the output of a response in the shape of OpenAI's Responses."""
    output: list[Json] = []
    if one.reasoning:
        summary: Json = [{"type": "summary_text", "text": one.reasoning}]
        output.append({"type": "reasoning", "summary": summary})
    parts: list[Json] = []
    if one.text or not (one.tool_calls or one.refusal):
        notes: Json = [dict(note) for note in one.annotations]
        logprobs: Json = [_written_token(token) for token in one.logprobs]
        text = {"type": "output_text", "text": one.text, "annotations": notes}
        parts.append({**text, "logprobs": logprobs})
    if one.refusal:
        parts.append({"type": "refusal", "refusal": one.refusal})
    if parts:
        output.append({"type": "message", "role": "assistant", "content": parts})
    for call in one.tool_calls:
        named = {"call_id": call.id, "name": call.name, "arguments": call.arguments}
        output.append({"type": "function_call", **named})
    reason = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(
        "" if one.refusal else one.finish_reason or ""
    )
    return {
        "status": "incomplete" if reason else "completed",
        "incomplete_details": {"reason": reason} if reason else None,
        "output": output,
    }


def _chat_choice(at: int, one: Choice) -> dict[str, Json]:
    has_text = bool(one.text) or not (one.tool_calls or one.refusal)
    message: dict[str, Json] = {
        "role": "assistant",
        "content": one.text if has_text else None,
        "refusal": one.refusal,
    }
    if one.reasoning:
        message["reasoning_content"] = one.reasoning
    if one.tool_calls:
        message["tool_calls"] = [_written_call(call) for call in one.tool_calls]
    if one.annotations:
        message["annotations"] = [dict(note) for note in one.annotations]
    logprobs: Json = None
    if one.logprobs:
        logprobs = {"content": [_written_token(token) for token in one.logprobs], "refusal": None}
    reason = one.finish_reason
    return {"index": at, "message": message, "logprobs": logprobs, "finish_reason": reason}


def _written_call(call: ToolCall) -> Json:
    function: dict[str, Json] = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}


def _written_token(token: TokenLogprob) -> Json:
    top: list[Json] = [{"token": text, "logprob": value} for text, value in token.top]
    return {"token": token.token, "logprob": token.logprob, "top_logprobs": top}


def _completion_choice(at: int, one: Choice) -> dict[str, Json]:
    logprobs: Json = None
    if one.logprobs:
        logprobs = {
            "tokens": [token.token for token in one.logprobs],
            "token_logprobs": [token.logprob for token in one.logprobs],
            "top_logprobs": [dict(token.top) or None for token in one.logprobs],
        }
    reason = one.finish_reason
    return {"index": at, "text": one.text, "logprobs": logprobs, "finish_reason": reason}


def _listed(vector: tuple[float, ...]) -> Json:
    return cast("list[Json]", list(vector))


def _packed(vector: tuple[float, ...]) -> Json:
    """Encode a vector as little-endian 32-bit floats in base64."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


# ----------------------------------------------------------------------------- Anthropic and Gemini

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
