"""Gemini's keys, limits and errors.

Source: docs/providers.md, Gemini: limits and headers; Gemini: errors.
"""

import math
from collections.abc import Mapping

import attrs
from starlette.requests import Request

from .body import RequestRefused
from .caching import CacheRules, gemini_rules
from .call import ModelCall
from .limits import Level, LimitRefusal
from .settings import ProviderSettings
from .wire import Json, compact, event

_TYPES = "type.googleapis.com/google.rpc."
# {status of HTTP: status of the error}
_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_BAD_KEY = "API_KEY_INVALID"


@attrs.frozen
class Gemini:
    """Gemini, as the simulator implements it (see `SimulatedVendor`)."""

    _settings: ProviderSettings

    def limits(self) -> Mapping[str, int | None]:
        """Return the limits on requests and on input tokens."""
        return {"requests": self._settings.rpm, "tokens": self._settings.tpm}

    def key_in(self, request: Request) -> str | None:
        """Return the key in `x-goog-api-key`, or else in the query."""
        header = request.headers.get("x-goog-api-key", "").strip()
        return header or request.query_params.get("key") or None

    def check(self, request: Request, size: int) -> None:
        """Accept every request."""

    def id_headers(self, request_id: str) -> dict[str, str]:  # noqa: ARG002 - Gemini sends none
        """Return no headers."""
        return {}

    def account_headers(self) -> dict[str, str]:
        """Return no headers."""
        return {}

    def work_headers(self, latency_s: float) -> dict[str, str]:
        """Return the header with the processing time."""
        return {"server-timing": f"gfet4t7; dur={int(latency_s * 1000)}"}

    def level_headers(self, levels: Mapping[str, Level], date: float) -> dict[str, str]:  # noqa: ARG002 - Gemini sends none
        """Return no headers: Gemini tells nothing of its limits."""
        return {}

    def costs(self, call: ModelCall) -> Mapping[str, float]:
        """Charge one request and its estimated input tokens."""
        return {"requests": 1, "tokens": call.estimated_tokens}

    def cache_rules(self, model: str) -> CacheRules | None:
        """Return the rules of a model's prompt cache; None if it has none."""
        return gemini_rules(model) if self._settings.cache.gemini else None

    def totals(
        self,
        input_tokens: int,
        output_tokens: int,  # noqa: ARG002 - only input is limited
        *,
        cached_tokens: int,  # noqa: ARG002 - they count as others do
        ended: bool,  # noqa: ARG002 - input is known from the beginning
    ) -> Mapping[str, float]:
        """Return the input tokens."""
        return {"tokens": input_tokens}

    def bad_key(self, key: str | None) -> RequestRefused:  # noqa: ARG002 - the text is the same
        """Return the 400 for a missing or wrong key."""
        return RequestRefused(400, "API key not valid. Please pass a valid API key.", code=_BAD_KEY)

    def no_such_model(self, model: str) -> RequestRefused:
        """Return the 404 for an unknown model."""
        return RequestRefused(
            404,
            f"models/{model} is not found for API version v1beta, or is not supported for "
            "generateContent.",
        )

    def rate_limited(self, refusal: LimitRefusal, model: str) -> RequestRefused:
        """Return the 429 of a limit, with the waiting time in its details."""
        what = "requests" if refusal.what == "requests" else "input_token_count"
        return RequestRefused(
            429,
            "You exceeded your current quota, please check your plan and billing details. Quota "
            f"exceeded for metric: {what}, limit: {refusal.limit}, model: {model}",
            code="PerMinute",
            wait_s=None if math.isinf(refusal.wait_s) else refusal.wait_s,
        )

    def refused(self, kind: str, retry_after: int | None) -> RequestRefused:
        """Return the refusal of a fault."""
        match kind:
            case "401":
                return self.bad_key(None)
            case "429":
                return RequestRefused(
                    429, "Resource has been exhausted.", code="PerMinute", wait_s=retry_after
                )
            case "quota":
                return RequestRefused(
                    429, "You exceeded your current quota: requests per day.", code="PerDay"
                )
            case "503" | "529":
                return RequestRefused(503, "The model is overloaded. Please try again later.")
            case _:
                return RequestRefused(500, "An internal error has occurred. Please retry.")

    def error_body(self, error: RequestRefused, request_id: str) -> bytes:  # noqa: ARG002 - not sent
        """Return the error body, with its details."""
        return compact(_error(error))

    def error_event(self) -> bytes:
        """Return the event of a stream that fails in the middle."""
        return event(_error(self.refused("503", None)))


def _error(error: RequestRefused) -> dict[str, Json]:
    found: dict[str, Json] = {
        "code": error.status,
        "message": error.message,
        "status": _STATUSES.get(error.status, "UNKNOWN"),
    }
    code = error.code or ""
    if code == _BAD_KEY:
        info: Json = {"@type": f"{_TYPES}ErrorInfo", "reason": _BAD_KEY}
        found["details"] = [info]
    elif code.startswith("Per"):
        violation: Json = {"quotaId": f"GenerateRequests{code}PerProjectPerModel"}
        details: list[Json] = [{"@type": f"{_TYPES}QuotaFailure", "violations": [violation]}]
        if error.wait_s is not None:
            delay = f"{error.wait_s:.9f}".rstrip("0").rstrip(".")
            details.append({"@type": f"{_TYPES}RetryInfo", "retryDelay": f"{delay}s"})
        found["details"] = details
    return {"error": found}
