"""Write refusals in the shapes of OpenAI's and Anthropic's errors."""

from collections.abc import Mapping

from ...actors import Json
from ...bodies import ERROR_TYPES
from ..errors import Refusal, RefusalKind
from .sse import data_event, named_event, to_json

_OPENAI_TYPES: Mapping[RefusalKind, str] = {
    "invalid_request": "invalid_request_error",
    "authentication": "invalid_request_error",
    "permission": "invalid_request_error",
    "not_found": "invalid_request_error",
    "too_large": "invalid_request_error",
    "content_filter": "invalid_request_error",
    "budget": "insufficient_quota",
    "quota": "insufficient_quota",
    "rate_limit": "rate_limit_error",
    "unavailable": "server_error",
    "provider": "server_error",
    "timeout": "server_error",
    "internal": "server_error",
}
_OPENAI_CODES: Mapping[RefusalKind, str] = {
    "authentication": "invalid_api_key",
    "not_found": "model_not_found",
    "content_filter": "content_filter",
    "rate_limit": "rate_limit_exceeded",
    "budget": "budget_exceeded",
    "timeout": "timeout",
}
_ANTHROPIC_TYPES: Mapping[RefusalKind, str] = {
    "invalid_request": "invalid_request_error",
    "authentication": "authentication_error",
    "permission": "permission_error",
    "not_found": "not_found_error",
    "too_large": "request_too_large",
    "content_filter": "invalid_request_error",
    "budget": "billing_error",
    "quota": "billing_error",
    "rate_limit": "rate_limit_error",
    "unavailable": "overloaded_error",
    "timeout": "timeout_error",
}
_RATE_LIMIT_STATUS = 429


def openai_error(refusal: Refusal, request_id: str) -> bytes:  # noqa: ARG001  # it is in a header
    """Return the body of an error for OpenAI's SDKs.

    Args:
        refusal: what the client is told.
        request_id: the gateway's id of the HTTP request.
    """
    return to_json(_openai_members(refusal))


def openai_error_event(refusal: Refusal, request_id: str) -> bytes:  # noqa: ARG001
    """Return the event with which a stream of chunks fails.

    Args:
        refusal: what the client is told.
        request_id: the gateway's id of the HTTP request.
    """
    return data_event(_openai_members(refusal))


def responses_error_event(refusal: Refusal, request_id: str) -> bytes:  # noqa: ARG001
    """Return the event with which a stream of OpenAI's Responses fails.

    It has the documented members and, besides, the member ``error`` by which SDKs find it.

    Args:
        refusal: what the client is told.
        request_id: the gateway's id of the HTTP request.
    """
    error = _openai_members(refusal)["error"]
    flat = error if isinstance(error, dict) else {}
    named = {name: flat.get(name) for name in ("code", "message", "param")}
    return named_event("error", {**named, "type": "error", "error": error})


def anthropic_error(refusal: Refusal, request_id: str) -> bytes:
    """Return the body of an error for Anthropic's SDKs.

    Args:
        refusal: what the client is told.
        request_id: the gateway's id of the HTTP request.
    """
    return to_json(_anthropic_members(refusal, request_id))


def anthropic_error_event(refusal: Refusal, request_id: str) -> bytes:
    """Return the event with which a stream of Anthropic's events fails.

    Args:
        refusal: what the client is told.
        request_id: the gateway's id of the HTTP request.
    """
    return named_event("error", _anthropic_members(refusal, request_id))


def _openai_members(refusal: Refusal) -> dict[str, Json]:
    if refusal.body is not None and "type" not in refusal.body:
        own = refusal.body.get("error")
        if isinstance(own, dict) and isinstance(own.get("message"), str):
            return dict(refusal.body)
    return {
        "error": {
            "message": refusal.message,
            "type": _OPENAI_TYPES[refusal.kind],
            "param": refusal.param or None,
            "code": refusal.code or _OPENAI_CODES.get(refusal.kind),
        }
    }


def _anthropic_members(refusal: Refusal, request_id: str) -> dict[str, Json]:
    if refusal.body is not None and refusal.body.get("type") == "error":
        own = refusal.body.get("error")
        if isinstance(own, dict) and isinstance(own.get("message"), str):
            return {**refusal.body, "request_id": request_id}
    kind = _ANTHROPIC_TYPES.get(refusal.kind) or ERROR_TYPES.get(refusal.status, "api_error")
    if refusal.kind == "quota" and refusal.status == _RATE_LIMIT_STATUS:
        kind = "rate_limit_error"
    message = refusal.message
    if refusal.param and refusal.param not in message:
        message = f"{refusal.param}: {message}"
    error: dict[str, Json] = {"type": kind, "message": message}
    return {"type": "error", "error": error, "request_id": request_id}
