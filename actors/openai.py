"""The wire format of OpenAI-compatible chat completions: request to JSON body, JSON body to answer.

Tolerant in what it reads, because the compatible servers differ: every member but the text of the
first choice may be missing, and members it does not know are ignored.
"""

import json
import math
from collections.abc import Mapping
from typing import cast

import attrs

from .messages import Json, Request, Usage

__all__ = ["Answer", "ApiError", "Malformed", "decode", "decode_error", "encode"]


@attrs.frozen
class Answer:
    """What a chat completion says; None is what the server does not say."""

    text: str
    model: str | None
    finish_reason: str | None
    usage: Usage | None


@attrs.frozen
class ApiError:
    """What a provider says went wrong; all of it may be missing.

    Args:
        message: for people.
        type: the kind of error, such as ``rate_limit_error``.
        code: more precisely which, such as ``insufficient_quota``; or the HTTP status in digits.
        status: Google's name of it, such as ``RESOURCE_EXHAUSTED``.
        details: the JSON text of what else came with it (Google's and Anthropic's ``details``,
            OpenRouter's ``metadata``). It may quote the prompt, so it is in no repr (L8).
    """

    message: str = ""
    type: str = ""
    code: str = ""
    status: str = ""
    details: str = attrs.field(default="", repr=False)


class Malformed(ValueError):
    """The body is not a chat completion; the text says what it is instead."""


def encode(request: Request) -> dict[str, Json]:
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
        # JSON can say half a surrogate pair, which no file can be written with.
        text=content.encode(errors="replace").decode() if isinstance(content, str) else "",
        model=_text(body, "model") or None,
        finish_reason=_text(choice, "finish_reason") or None,
        usage=_usage(body.get("usage")),
    )


def decode_error(body: Json) -> ApiError:
    """The error in a body, in any of its shapes: an object, a text, or nothing known."""
    if isinstance(body, list) and body:  # Gemini puts its error into a list of one
        body = body[0]
    error: Json = body.get("error", body) if isinstance(body, dict) else body
    if isinstance(error, str):
        return ApiError(message=error)
    if not isinstance(error, dict):
        return ApiError()
    more = error.get("details") or error.get("metadata")
    return ApiError(
        _text(error, "message"),
        _text(error, "type"),
        _text(error, "code"),
        _text(error, "status"),
        json.dumps(more, ensure_ascii=False) if more else "",
    )


def _usage(usage: Json) -> Usage | None:
    if not isinstance(usage, dict):
        return None
    prompt, answer = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    if prompt is None and answer is None:
        return None
    details = usage.get("prompt_tokens_details")
    cached = _count(details, "cached_tokens") if isinstance(details, dict) else None
    return Usage(prompt or 0, answer or 0, cached or 0)


def _count(members: Mapping[str, Json], name: str) -> int | None:
    """A number of tokens; None for what is none, such as 1e999, which JSON can say."""
    value = members.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return max(0, int(value))


def _text(members: Mapping[str, Json], name: str) -> str:
    value = members.get(name)
    # Error codes come as numbers, too (vLLM, llama.cpp, OpenRouter).
    return str(value) if isinstance(cast("object", value), str | int) else ""
