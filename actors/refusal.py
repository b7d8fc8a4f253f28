"""What an HTTP status and the error that came with it mean for the caller. Pure (R14)."""

from http import HTTPStatus

from .errors import (
    AuthenticationFailed,
    BadRequest,
    CallFailed,
    ProviderUnavailable,
    QuotaExhausted,
    RateLimited,
)
from .wire import ApiError

__all__ = ["TRANSIENT", "classify"]

TRANSIENT = (RateLimited, ProviderUnavailable)
"""What may be gone by the next attempt; everything else would only be refused again."""

_BY_STATUS: dict[int, tuple[type[CallFailed], str]] = {
    401: (AuthenticationFailed, "; check the key (OPENAI_API_KEY)"),
    402: (QuotaExhausted, "; the account needs credit"),
    403: (AuthenticationFailed, "; this key may not do this (OPENAI_API_KEY)"),
    404: (BadRequest, "; check the base URL and the model"),
    408: (ProviderUnavailable, ""),
    409: (ProviderUnavailable, ""),
    425: (ProviderUnavailable, ""),
    429: (RateLimited, ""),
    498: (RateLimited, ""),  # Groq's flex tier has no capacity just now
}

# Sent with 429 by OpenAI, as type or as code, where waiting does not help.
_NO_CREDIT = {
    "insufficient_quota",
    "credit_balance_exhausted",
    "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded",
    "organization_usage_limit_exceeded",
}


def classify(status: int, said: ApiError) -> tuple[type[CallFailed], str]:
    """The error that an answer with this status is, and what to do about it.

    Args:
        status: the HTTP status, not 200.
        said: the error in the body.

    Returns:
        The class, and a remedy to append to the message, empty or starting with "; ".
    """
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        if _NO_CREDIT & {said.type, said.code}:
            return QuotaExhausted, "; the account needs credit, waiting does not help"
        if said.message.startswith("Request too large"):
            return BadRequest, ""
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return ProviderUnavailable, ""
    return BadRequest, ""
