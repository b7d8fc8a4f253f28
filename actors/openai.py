"""The wire format of OpenAI-compatible chat completions: request to JSON body, JSON body to answer.

Tolerant in what it reads, because the compatible servers differ: every member but the text of the
first choice may be missing, and members it does not know are ignored.
"""

from collections.abc import Mapping
from typing import cast

import attrs

from .messages import ChatRequest, Json, Usage

__all__ = ["Answer", "ApiError", "Malformed", "decode", "decode_error", "encode"]


@attrs.frozen
class Answer:
    """What a chat completion says. `model` is None where the server does not name it."""

    text: str
    model: str | None
    finish_reason: str | None
    usage: Usage


@attrs.frozen
class ApiError:
    """What a provider says went wrong; all of it may be missing."""

    message: str = ""
    type: str = ""
    code: str = ""


class Malformed(ValueError):
    """The body is not a chat completion; the text says what it is instead."""


def encode(request: ChatRequest) -> dict[str, Json]:
    """The JSON body of `POST /chat/completions`."""
    body: dict[str, Json] = {
        "model": request.model,
        "messages": [{"role": turn.role, "content": turn.content} for turn in request.messages],
    }
    for name in ("max_tokens", "temperature", "seed"):
        value: Json = getattr(request, name)
        if value is not None:
            body[name] = value
    return body | dict(request.extra)


def decode(body: Json) -> Answer | ApiError:
    """The answer in a body that came with status 200, or the error some servers send instead.

    Raises:
        Malformed: it is neither.
    """
    if not isinstance(body, dict):
        raise Malformed("the answer is JSON, but not an object")
    if body.get("error"):
        return decode_error(body)
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise Malformed('the answer has no "choices"')
    choice = choices[0]
    message = choice.get("message")
    if not isinstance(message, dict):
        raise Malformed('the first choice has no "message"')
    content = message.get("content")
    return Answer(
        text=content if isinstance(content, str) else "",
        model=_text(body, "model") or None,
        finish_reason=_text(choice, "finish_reason") or None,
        usage=_usage(body.get("usage")),
    )


def decode_error(body: Json) -> ApiError:
    """The error in a body, in any of its shapes: an object, a text, or nothing known."""
    error: Json = body.get("error", body) if isinstance(body, dict) else body
    if isinstance(error, str):
        return ApiError(message=error)
    if not isinstance(error, dict):
        return ApiError()
    return ApiError(_text(error, "message"), _text(error, "type"), _text(error, "code"))


def _usage(usage: Json) -> Usage:
    if not isinstance(usage, dict):
        return Usage()
    details = usage.get("prompt_tokens_details")
    return Usage(
        input_tokens=_count(usage, "prompt_tokens"),
        output_tokens=_count(usage, "completion_tokens"),
        cached_tokens=_count(details, "cached_tokens") if isinstance(details, dict) else 0,
    )


def _count(members: Mapping[str, Json], name: str) -> int:
    value = members.get(name)
    return max(0, int(value)) if isinstance(value, int | float) else 0


def _text(members: Mapping[str, Json], name: str) -> str:
    value = members.get(name)
    # Error codes come as numbers, too (vLLM, llama.cpp, OpenRouter).
    return str(value) if isinstance(cast("object", value), str | int) else ""
