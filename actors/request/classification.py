"""What an HTTP status and the error that came with it mean for the caller. Pure (R14)."""

import re
from http import HTTPStatus

from ..errors import (
    AuthenticationFailed,
    BadRequest,
    CallFailed,
    ProviderUnavailable,
    QuotaExhausted,
    RateLimited,
)
from ..vendors import ApiError

__all__ = [
    "TRANSIENT",
    "classify",
    "is_retried",
]


TRANSIENT = (RateLimited, ProviderUnavailable)
"""What may be gone by the next attempt; everything else would only be refused again."""

_BY_STATUS: dict[int, tuple[type[CallFailed], str]] = {
    401: (AuthenticationFailed, "; check the key"),
    402: (QuotaExhausted, "; the account needs credit"),
    403: (AuthenticationFailed, "; this key may not do this"),
    404: (BadRequest, "; check the base URL and the model"),
    408: (ProviderUnavailable, ""),
    409: (ProviderUnavailable, ""),
    413: (BadRequest, "; the request is too large"),
    425: (ProviderUnavailable, ""),
    429: (RateLimited, ""),
    498: (RateLimited, ""),  # Groq's flex tier has no capacity just now
}

# Waiting does not help. OpenAI sends these with 429, as type or as code, or with 400 (the last
# two); Anthropic the billing error with 402 and the spend limit in the details of a 429.
_NO_CREDIT = {
    "insufficient_quota",
    "credit_balance_exhausted",
    "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded",
    "organization_usage_limit_exceeded",
    "billing_error",
    "enforced_spend_limit_reached",
    "billing_not_active",
    "billing_hard_limit_reached",
}
# Anthropic sends these with 400 and no type of their own: no credit, one's own spend limit.
_NO_CREDIT_TEXT = re.compile(
    r"credit balance is too low|reached your specified api usage limits", re.IGNORECASE
)
_SPEND_LIMIT = '"enforced_spend_limit_reached"'

# Gemini's quotaId has PerMinute or PerDay in it, and a retryDelay of seconds comes with both.
# Days in words are left alone: OpenAI and Groq refill a day's limit continuously, and say when.
_DAY = re.compile(r"PerDay|free-models-per-day")

_FILTERED = {"content_filter", "content_policy_violation"}  # Azure with 400, OpenRouter with 403
_MODERATED = re.compile(r'"flagged_input"|"reasons"')  # members of OpenRouter's details

# What an error in a 200 body or in the middle of a stream would have had as its status.
_STATUS_OF = {
    "authentication_error": 401,
    "invalid_api_key": 401,
    "UNAUTHENTICATED": 401,
    "permission_error": 403,
    "PERMISSION_DENIED": 403,
    "not_found_error": 404,
    "model_not_found": 404,
    "NOT_FOUND": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "RESOURCE_EXHAUSTED": 429,
    "capacity_exceeded": 498,
    "invalid_request_error": 400,
    "invalid_prompt": 400,
    "context_length_exceeded": 400,
    "content_filter": 400,
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
}


def classify(status: int, said: ApiError) -> tuple[type[CallFailed], str]:
    """The error that a refused call is, and what to do about it.

    Args:
        status: the HTTP status; 200 for an error in the body of an answer or of a stream.
        said: the error in the body.

    Returns:
        The class, and a remedy to append to the message, empty or starting with "; ".
    """
    if status == HTTPStatus.OK:
        status = _status_of(said)
    return _special(status, said) or _by_status(status)


def is_retried(kind: type[CallFailed], *, should_retry: bool | None) -> bool:
    """Whether another attempt at the same target is worth anything.

    Args:
        kind: the error.
        should_retry: what the provider itself said in ``x-should-retry``; None if nothing. It is
            obeyed against the status, but no header makes up for a quota that is used up.
    """
    if issubclass(kind, QuotaExhausted):
        return False
    return issubclass(kind, TRANSIENT) if should_retry is None else should_retry


def _special(status: int, said: ApiError) -> tuple[type[CallFailed], str] | None:
    """What the status alone would tell wrongly, or not well."""
    no_credit = _NO_CREDIT & {said.type, said.code} or _SPEND_LIMIT in said.details
    if no_credit or _NO_CREDIT_TEXT.search(said.message):
        remedy = "; the account needs credit or a higher spend limit, waiting does not help"
        return QuotaExhausted, remedy
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        if _DAY.search(said.details) or _DAY.search(said.message):
            return QuotaExhausted, "; the quota of the day is used up"
        if said.message.startswith("Request too large"):
            return BadRequest, ""
    if status == HTTPStatus.BAD_REQUEST and "API_KEY_INVALID" in (said.details + said.message):
        return AuthenticationFailed, "; check the key"  # Gemini
    if status in (HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN) and (
        said.code in _FILTERED or _MODERATED.search(said.details)
    ):
        return BadRequest, "; a content filter refused the prompt"
    return None


def _by_status(status: int) -> tuple[type[CallFailed], str]:
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return ProviderUnavailable, ""
    return BadRequest, ""


def _status_of(said: ApiError) -> int:
    """The status that an error without one of its own says; 502 if it does not say."""
    if re.fullmatch(r"[45]\d\d", said.code, re.ASCII):  # OpenRouter, vLLM, Google
        return int(said.code)
    for word in (said.code, said.type, said.status):  # the most precise first
        if word in _STATUS_OF:
            return _STATUS_OF[word]
    return int(HTTPStatus.BAD_GATEWAY)
