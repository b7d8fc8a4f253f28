"""Anthropic's keys, headers, limits and errors.

Source: docs/providers.md, Anthropic: limits and headers; Anthropic: errors.
"""

import math
from collections.abc import Mapping

import attrs
from starlette.requests import Request

from .body import RequestRefused
from .caching import CacheRules, anthropic_rules
from .call import ModelCall, bearer_in, retry_headers
from .limits import Level, LimitRefusal
from .settings import ProviderSettings
from .wire import Json, compact, event, rfc3339

MAX_BODY_BYTES = 32 * 1024 * 1024
# Remaining tokens are rounded to the nearest thousand.
TOKEN_STEP = 1000

# {status: type of the error}
_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    503: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_SPENT = "enforced_spend_limit_reached"


@attrs.frozen
class Anthropic:
    """Anthropic, as the simulator implements it (see `SimulatedVendor`)."""

    _settings: ProviderSettings

    def limits(self) -> Mapping[str, int | None]:
        """Return the limits on requests, on input tokens and on output tokens."""
        settings = self._settings
        return {
            "requests": settings.rpm,
            "input-tokens": settings.itpm,
            "output-tokens": settings.otpm,
        }

    def key_in(self, request: Request) -> str | None:
        """Return the key in `x-api-key`, or else the bearer token."""
        return request.headers.get("x-api-key", "").strip() or bearer_in(request)

    def check(self, request: Request, size: int) -> None:
        """Raise `RequestRefused` for a request without a version header, or too large."""
        most = MAX_BODY_BYTES
        if request.url.path.startswith("/v1/messages/batches"):
            most = self._settings.batches.max_request_bytes
        if size > most:
            raise RequestRefused(413, "Request exceeds the maximum size")
        if "anthropic-version" not in request.headers:
            raise RequestRefused(400, "anthropic-version: header is required")

    def id_headers(self, request_id: str) -> dict[str, str]:
        """Return the header with the request id."""
        return {"request-id": request_id}

    def account_headers(self) -> dict[str, str]:
        """Return the header with the organisation."""
        return {"anthropic-organization-id": "org-callsheet"}

    def work_headers(self, latency_s: float) -> dict[str, str]:  # noqa: ARG002 - Anthropic does not send it
        """Return no headers."""
        return {}

    def level_headers(self, levels: Mapping[str, Level], date: float) -> dict[str, str]:
        """Return the three `anthropic-ratelimit-*` headers of each limit, and of all tokens."""
        shown = dict(levels)
        if "input-tokens" in levels and "output-tokens" in levels:
            sides = (levels["input-tokens"], levels["output-tokens"])
            shown["tokens"] = Level(sum(s.limit for s in sides), sum(s.used for s in sides))
        found: dict[str, str] = {}
        for name, level in shown.items():
            prefix, remaining, reset_s = (
                f"anthropic-ratelimit-{name}",
                level.remaining,
                level.reset_s,
            )
            if name == "tokens":  # the sum is full when both are full
                reset_s = max(levels[f"{side}-tokens"].reset_s for side in ("input", "output"))
            if name != "requests":
                remaining = min(level.limit, round(remaining / TOKEN_STEP) * TOKEN_STEP)
            found[f"{prefix}-limit"] = str(level.limit)
            found[f"{prefix}-remaining"] = str(remaining)
            found[f"{prefix}-reset"] = rfc3339(date + reset_s)
        return found

    def costs(self, call: ModelCall) -> Mapping[str, float]:
        """Charge one request and its estimated input tokens; output is charged as it is produced.

        While the output so far is above its limit, no further call is admitted.
        """
        return {"requests": 1, "input-tokens": call.estimated_tokens, "output-tokens": 0}

    def cache_rules(self, model: str) -> CacheRules:
        """Return the rules of a model's prompt cache."""
        return anthropic_rules(model)

    def totals(
        self,
        input_tokens: int,
        output_tokens: int,
        *,
        cached_tokens: int,
        ended: bool,  # noqa: ARG002 - output is counted as it is produced
    ) -> Mapping[str, float]:
        """Return the input tokens that were not cached, and the output tokens produced so far."""
        return {"input-tokens": input_tokens - cached_tokens, "output-tokens": output_tokens}

    def bad_key(self, key: str | None) -> RequestRefused:
        """Return the 401 for a missing or wrong key."""
        return RequestRefused(
            401, "x-api-key header is required" if key is None else "invalid x-api-key"
        )

    def no_such_model(self, model: str) -> RequestRefused:
        """Return the 404 for an unknown model."""
        return RequestRefused(404, f"model: {model}")

    def rate_limited(self, refusal: LimitRefusal, model: str) -> RequestRefused:
        """Return the 429 of a limit; its text has no waiting time."""
        what = refusal.what.replace("-", " ")
        return RequestRefused(
            429,
            f"This request would exceed the rate limit of {refusal.limit} {what} per minute for "
            f"{model}. Reduce the prompt or the number of requests, or try again later.",
            headers=retry_headers(self._settings, refusal.wait_s),
        )

    def refused(self, kind: str, retry_after: int | None) -> RequestRefused:
        """Return the refusal of a fault: 401, 429, 500, 503 or 529, or 429 for a spent budget."""
        headers = {} if retry_after is None else {"retry-after": str(retry_after)}
        match kind:
            case "401":
                return RequestRefused(401, "invalid x-api-key")
            case "429":
                if retry_after is not None:
                    headers |= retry_headers(self._settings, retry_after)
                    headers["retry-after"] = str(retry_after)
                return RequestRefused(
                    429, "Traffic ramped up too fast. Slow down.", headers=headers
                )
            case "quota":
                return RequestRefused(
                    429,
                    "The spend limit of this organization is reached.",
                    code=_SPENT,
                    headers=retry_headers(self._settings, math.inf),
                )
            case "529":
                return RequestRefused(529, "Overloaded", headers=headers)
            case "503":
                return RequestRefused(503, "Service unavailable", headers=headers)
            case _:
                return RequestRefused(500, "Internal server error", headers=headers)

    def error_body(self, error: RequestRefused, request_id: str) -> bytes:
        """Return the error body, with the request id."""
        return compact({**_error(error), "request_id": request_id})

    def error_event(self) -> bytes:
        """Return the stream event `error`."""
        return event(_error(self.refused("529", None)), named=True)


def _error(error: RequestRefused) -> dict[str, Json]:
    found: dict[str, Json] = {
        "type": _TYPES.get(error.status, "api_error"),
        "message": _message(error),
    }
    if error.code == _SPENT:
        found["details"] = {"error_code": _SPENT}
    return {"type": "error", "error": found}


def _message(error: RequestRefused) -> str:
    """Return the text, which begins with the invalid member: "messages.0.role: ..."."""
    if error.param is None:
        return error.message
    place = error.param.replace("[", ".").replace("]", "")
    what = "Field required" if error.code == "missing_required_parameter" else error.message
    return f"{place}: {what}"
