"""Classify an HTTP status and the error in its body as a `CallFailed`. Pure (R14)."""

import re
from http import HTTPStatus

from ..errors import (
    AuthenticationFailed,
    BadRequest,
    CallFailed,
    ContentFiltered,
    ProviderUnavailable,
    QuotaExhausted,
    RateLimited,
)
from ..vendors import ApiError

TRANSIENT = (RateLimited, ProviderUnavailable)
"""Errors that may have passed by the next attempt; any other error would only occur again."""

_BY_STATUS: dict[int, tuple[type[CallFailed], str]] = {
    401: (AuthenticationFailed, "; check the key"),
    402: (QuotaExhausted, "; the account needs credit"),
    403: (AuthenticationFailed, "; this key may not do this"),
    404: (BadRequest, "; check the base URL and the model"),
    405: (BadRequest, "; check the base URL"),
    408: (ProviderUnavailable, ""),
    409: (ProviderUnavailable, ""),
    413: (BadRequest, "; the request is too large"),
    424: (ProviderUnavailable, ""),  # TGI: the generation failed
    425: (ProviderUnavailable, ""),
    429: (RateLimited, ""),
    498: (RateLimited, ""),  # Groq's flex tier has no capacity now
    499: (ProviderUnavailable, ""),  # Google: the operation was cancelled
    501: (BadRequest, "; the server does not support this kind of request"),
    505: (BadRequest, "; the server does not support this version of HTTP"),
}

# Waiting does not help. OpenAI sends these with 429, as type or as code, or with 400 (the last
# two). Anthropic sends the billing error with 402, and the spend limit in the details of a 429.
_NO_CREDIT = {
    "insufficient_quota",
    "credit_balance_exhausted",
    "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded",
    "organization_usage_limit_exceeded",
    "billing_error",
    "exceeded_current_quota_error",  # Moonshot
    "enforced_spend_limit_reached",
    "billing_not_active",
    "billing_hard_limit_reached",
}
# Anthropic sends these with 400 and without a specific type: no credit, and the spend limit that
# the user has set.
_NO_CREDIT_TEXT = re.compile(
    r"credit balance is too low|reached your specified api usage limits", re.IGNORECASE
)
_SPEND_LIMIT = '"enforced_spend_limit_reached"'

# Gemini's quotaId contains PerMinute or PerDay, and both have a retryDelay of seconds.
# The word "day" alone is no sign: OpenAI and Groq refill a daily limit continuously, and send when.
_DAY = re.compile(r"PerDay|free-models-per-day")

_KEY = re.compile(r"\bkeys?\b|token|credential|auth|permission|api_key", re.IGNORECASE)

# All that the web firewalls of clouds say, also in JSON.
_FORBIDDEN = re.compile(r"(?:forbidden|access denied|(?:request )?blocked)\.?", re.IGNORECASE)

_FILTERED = {"content_filter", "content_policy_violation"}  # Azure with 400, OpenRouter with 403
_MODERATED = re.compile(r'"flagged_input"|"reasons"')  # members of OpenRouter's details

# The status that an error in a 200 body, or within a stream, would have had on its own.
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
    "too_many_requests": 429,  # Azure
    "RESOURCE_EXHAUSTED": 429,
    "capacity_exceeded": 498,
    "invalid_request_error": 400,
    "invalid_prompt": 400,
    "context_length_exceeded": 400,
    "content_filter": 400,
    "data_residency_mismatch": 400,
    "bio_policy": 400,
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
}


def classify(status: int, error: ApiError, *, is_json: bool = True) -> tuple[type[CallFailed], str]:
    """Return the class of a refused call's error, and a remedy.

    Args:
        status: the HTTP status; 200 for an error in the body of a response or within a stream.
        error: the error in the body.
        is_json: whether the body is JSON, and so the API's; a firewall sends a page or a text.

    Returns:
        The class, and the remedy to append to the message: empty, or starting with "; ".
    """
    if status == HTTPStatus.OK:
        status = _status_of(error)
    is_apis = is_json and not (_FORBIDDEN.fullmatch(error.message) and not error.type)
    if status == HTTPStatus.FORBIDDEN and not is_apis and not _KEY.search(error.message):
        # It may pass: firewalls block addresses that send too much, or single requests.
        return ProviderUnavailable, "; a firewall before the API may have refused it"
    return _special(status, error) or _by_status(status)


def is_retried(kind: type[CallFailed], *, should_retry: bool | None) -> bool:
    """Return whether another attempt at the same target may succeed.

    Args:
        kind: the class of the error.
        should_retry: the provider's ``x-should-retry`` header; None without one. It overrides the
            status, but not an exhausted quota.
    """
    if issubclass(kind, QuotaExhausted):
        return False
    return issubclass(kind, TRANSIENT) if should_retry is None else should_retry


def _special(status: int, error: ApiError) -> tuple[type[CallFailed], str] | None:
    """Return the class and remedy of errors that the status alone would misclassify."""
    no_credit = _NO_CREDIT & {error.type, error.code} or _SPEND_LIMIT in error.details
    if no_credit or _NO_CREDIT_TEXT.search(error.message):
        remedy = "; the account needs credit or a higher spend limit, waiting does not help"
        return QuotaExhausted, remedy
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        if _DAY.search(error.details) or _DAY.search(error.message):
            return QuotaExhausted, "; the daily quota is used up"
        if error.message.startswith("Request too large"):
            return BadRequest, ""
    if status == HTTPStatus.BAD_REQUEST and "API_KEY_INVALID" in (error.details + error.message):
        return AuthenticationFailed, "; check the key"  # Gemini
    if status in (HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN) and (
        error.code in _FILTERED or _MODERATED.search(error.details)
    ):
        return ContentFiltered, "; a content filter refused the prompt"
    return None


def _by_status(status: int) -> tuple[type[CallFailed], str]:
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return ProviderUnavailable, ""
    return BadRequest, ""


def _status_of(error: ApiError) -> int:
    """Return the status that an error in a 200 body implies; 502 if it implies none."""
    if re.fullmatch(r"[45]\d\d", error.code, re.ASCII):  # OpenRouter, vLLM, Google
        return int(error.code)
    for word in (error.code, error.type, error.status):  # the most precise first
        if word in _STATUS_OF:
            return _STATUS_OF[word]
    if "image" in error.code:  # a dozen codes of Responses, such as "image_too_large"
        return int(HTTPStatus.BAD_REQUEST)
    return int(HTTPStatus.BAD_GATEWAY)
