"""Make the body of a response in the format of its row, or use the provider's own.

Rows of batch files have the format of OpenAI, Anthropic or Gemini; all others that of OpenAI.
"""

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
    read_chat,
    read_completion,
    read_embeddings,
    read_moderations,
    read_response,
    vendor_named,
)
from ...bodies import (
    ERROR_TYPES,
    chat_body,
    chat_usage,
    choices_of,
    completion_body,
    embeddings_body,
    is_alone,
    message_body,
    message_usage,
    read_arguments,
    response_body,
    response_usage,
)
from ..row import ANTHROPIC_URL, Row, is_gemini_url
from .line_members import GeminiError

_RESPONSES = "/v1/responses"
_ID_PREFIXES = {_RESPONSES: "resp_", "/v1/completions": "cmpl-"}


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
    if is_alone(response) or row.request.task == "moderation":  # whose bodies have no usage
        return body
    if is_vendors(row.url):
        return with_usage(row.url, body, response.usage)
    write_usage = response_usage if row.url == _RESPONSES else chat_usage
    return {**body, "usage": write_usage(response.usage)}


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
    task = row.request.task
    if task == "embedding":
        is_base64 = row.request.extra_body.get("encoding_format") == "base64"
        return embeddings_body(response, is_base64=is_base64)
    own_id = response.body.get("id") if response.body is not None else None
    if not isinstance(own_id, str) or not own_id:
        own_id = f"{_ID_PREFIXES.get(row.url, 'chatcmpl-')}{name}"
    if row.url == _RESPONSES:
        return response_body(response, own_id, created)
    write = completion_body if task == "completion" else chat_body
    return write(response, own_id, created)


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


# ----------------------------------------------------------------------------- Anthropic and Gemini

_FINISH_REASONS = {
    "stop": "STOP",
    "tool_calls": "STOP",
    "length": "MAX_TOKENS",
    "content_filter": "SAFETY",
}
"""{OpenAI's finish reason: Gemini's}"""
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
        return {**body, "usage": message_usage(usage)}
    return {**body, "usageMetadata": _gemini_usage(usage)}


def vendor_body(url: str, response: Response, name: str) -> dict[str, Json]:
    """Make a body from the response of another provider.

    Args:
        url: the path of the row.
        response: the response to the request.
        name: the name to make an id from.
    """
    if url == ANTHROPIC_URL:
        return message_body(response, f"msg_{name}")
    candidates: list[Json] = [
        {
            "content": {"role": "model", "parts": _parts(choice)},
            "finishReason": _FINISH_REASONS.get(choice.finish_reason or "", "OTHER"),
            "index": at,
        }
        for at, choice in enumerate(choices_of(response))
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


def anthropic_error(error: CallFailed) -> dict[str, Json]:
    """Return an error as Anthropic's batches have it: its own, or one that is made.

    Args:
        error: why the row has no response.
    """
    own = error.body
    if own is not None and own.get("type") == "error":
        return dict(own)
    kind = ERROR_TYPES.get(error.status or 0, "api_error")
    return {"type": "error", "error": {"type": kind, "message": str(error)}}


def gemini_error(error: CallFailed) -> GeminiError:
    """Return an error as Gemini's batches have it.

    Args:
        error: why the row has no response.
    """
    return {"code": _CODES.get(error.status or 0, 2), "message": str(error)}


def _parts(choice: Choice) -> list[Json]:
    parts: list[Json] = []
    if choice.reasoning:
        parts.append({"text": choice.reasoning, "thought": True})
    if text := choice.text or choice.refusal:
        parts.append({"text": text})
    for call in choice.tool_calls:
        named: dict[str, Json] = {"name": call.name, "args": read_arguments(call.arguments)}
        parts.append({"functionCall": {"id": call.id, **named} if call.id else named})
    return parts


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
