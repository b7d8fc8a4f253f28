"""Write responses in the shapes of OpenAI: chats, completions, Responses and embeddings."""

import base64
import math
import struct
from collections.abc import Sequence
from typing import cast

from ..actors import Choice, Json, Response, TokenLogprob, ToolCall, Usage

_MAX_FLOAT32 = (2 - 2**-23) * 2.0**127


def choices_of(response: Response) -> Sequence[Choice]:
    """Return the choices of a response; one with its text if it has none."""
    return response.choices or (Choice(response.text, response.finish_reason),)


_ALONE = ("live", "flex", "priority", "batch")  # routes of calls that share no usage with others


def is_alone(response: Response) -> bool:
    """Return whether the usage in the provider's own body is that of the call, and of it alone.

    That of a packed, shared or cached response is of another call, too. A body without a usage is
    right for a call that used no tokens.
    """
    body = response.body or {}
    has_usage = "usage" in body or "usageMetadata" in body
    return response.route in _ALONE and (has_usage or not response.usage.total_tokens)


def chat_body(response: Response, body_id: str, created: int) -> dict[str, Json]:
    """Return a response as a chat completion.

    Args:
        response: the response to write.
        body_id: the id of the body.
        created: the time of the response, in seconds of Unix time.
    """
    choices: list[Json] = [_chat_choice(at, one) for at, one in enumerate(choices_of(response))]
    return _completion(response, "chat.completion", body_id, created, choices)


def completion_body(response: Response, body_id: str, created: int) -> dict[str, Json]:
    """Return a response as a completion of one or several prompts.

    Args:
        response: the response to write.
        body_id: the id of the body.
        created: the time of the response, in seconds of Unix time.
    """
    found = enumerate(choices_of(response))
    choices: list[Json] = [_completion_choice(at, one) for at, one in found]
    return _completion(response, "text_completion", body_id, created, choices)


def _completion(
    response: Response, kind: str, body_id: str, created: int, choices: list[Json]
) -> dict[str, Json]:
    return {
        "id": body_id,
        "object": kind,
        "created": created,
        "model": response.model,
        "choices": choices,
        "usage": chat_usage(response.usage),
    }


def response_body(response: Response, body_id: str, created: int) -> dict[str, Json]:
    """Return a response as an object of OpenAI's Responses.

    Args:
        response: the response to write.
        body_id: the id of the body.
        created: the time of the response, in seconds of Unix time.
    """
    return {
        "id": body_id,
        "object": "response",
        "created_at": created,
        "model": response.model,
        **response_members(choices_of(response)[0]),
        "usage": response_usage(response.usage),
    }


def embeddings_body(response: Response, *, is_base64: bool) -> dict[str, Json]:
    """Return a response with vectors.

    Args:
        response: the response to write.
        is_base64: whether each vector is written as base64 of little-endian 32-bit floats.
    """
    write = packed_vector if is_base64 else listed_vector
    vectors: list[Json] = [
        {"object": "embedding", "index": at, "embedding": write(vector)}
        for at, vector in enumerate(response.embeddings)
    ]
    usage = chat_usage(response.usage)
    return {"object": "list", "data": vectors, "model": response.model, "usage": usage}


def chat_usage(usage: Usage) -> dict[str, Json]:
    """Return the tokens of a call by the names of chats, completions and embeddings."""
    return _tokens(usage, "prompt", "completion")


def response_usage(usage: Usage) -> dict[str, Json]:
    """Return the tokens of a call by the names of OpenAI's Responses."""
    return _tokens(usage, "input", "output")


def _tokens(usage: Usage, read: str, written: str) -> dict[str, Json]:
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


def response_members(one: Choice) -> dict[str, Json]:
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


def listed_vector(vector: tuple[float, ...]) -> Json:
    """Return a vector as a list of numbers."""
    return cast("list[Json]", list(vector))


def packed_vector(vector: tuple[float, ...]) -> Json:
    """Encode a vector as little-endian 32-bit floats in base64; what is too large is infinite."""
    try:
        packed = struct.pack(f"<{len(vector)}f", *vector)
    except OverflowError:
        fitting = (x if abs(x) <= _MAX_FLOAT32 else math.copysign(math.inf, x) for x in vector)
        packed = struct.pack(f"<{len(vector)}f", *fitting)
    return base64.b64encode(packed).decode()
