"""Make the body of a response in the format of its row, or use the provider's own."""

import base64
import struct
from collections.abc import Mapping
from typing import cast

from ...actors import (
    ApiError,
    Choice,
    DecodedResponse,
    Json,
    Malformed,
    Response,
    TokenLogprob,
    ToolCall,
    read_chat,
    read_completion,
    read_embeddings,
    read_moderations,
    read_response,
)
from ..row import Row
from .vendor_bodies import generated_member, is_vendors, read_vendor_body, vendor_body, with_usage

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
