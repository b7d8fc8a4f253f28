"""OpenAI's keys, headers, limits and errors.

Source: docs/providers.md, OpenAI: limits and headers; OpenAI: errors.
"""

import math
from collections.abc import Mapping

import attrs
from starlette.requests import Request

from .body import RequestRefused
from .caching import CacheRules, openai_rules
from .call import ModelCall, bearer_in, retry_headers
from .limits import Level, LimitRefusal
from .settings import ProviderSettings
from .wire import Json, compact, event, go_duration

ORGANIZATION = "org-callsheet"

# The ends of a shorter key would reveal too much of it.
SHOWN_KEY_LENGTH = 20

_MARKS = {"requests": "requests per min (RPM)", "tokens": "tokens per min (TPM)"}


@attrs.frozen
class OpenAI:
    """OpenAI, as the simulator implements it (see `SimulatedVendor`)."""

    _settings: ProviderSettings

    def limits(self) -> Mapping[str, int | None]:
        """Return the limits on requests, and on input and output tokens together."""
        return {"requests": self._settings.rpm, "tokens": self._settings.tpm}

    def key_in(self, request: Request) -> str | None:
        """Return the bearer token."""
        return bearer_in(request)

    def check(self, request: Request, size: int) -> None:
        """Accept every request."""

    def id_headers(self, request_id: str) -> dict[str, str]:
        """Return the header with the request id."""
        return {"x-request-id": request_id}

    def account_headers(self) -> dict[str, str]:
        """Return the headers with version and organisation."""
        return {"openai-version": "2020-10-01", "openai-organization": ORGANIZATION}

    def work_headers(self, latency_s: float) -> dict[str, str]:
        """Return the header with the processing time."""
        return {"openai-processing-ms": str(int(latency_s * 1000))}

    def level_headers(self, levels: Mapping[str, Level], date: float) -> dict[str, str]:  # noqa: ARG002 - these are durations
        """Return the three `x-ratelimit-*` headers of each limit."""
        found: dict[str, str] = {}
        for name, level in levels.items():
            found[f"x-ratelimit-limit-{name}"] = str(level.limit)
            found[f"x-ratelimit-remaining-{name}"] = str(level.remaining)
            found[f"x-ratelimit-reset-{name}"] = go_duration(level.reset_s)
        return found

    def costs(self, call: ModelCall) -> Mapping[str, float]:
        """Charge one request, and the tokens that it sends or may be answered with."""
        charge = self._settings.charge(call.estimated_tokens, call.max_output_tokens)
        return {"requests": 1, "tokens": charge}

    def cache_rules(self, model: str) -> CacheRules | None:
        """Return the rules of a model's prompt cache; None if it has none."""
        return openai_rules(model)

    def totals(
        self,
        input_tokens: int,
        output_tokens: int,
        *,
        cached_tokens: int,  # noqa: ARG002 - they count as others do
        ended: bool,
    ) -> Mapping[str, float]:
        """The charge of the admission stands, unless the settings say that it is corrected."""
        if not (ended and self._settings.corrects_charge):
            return {}
        return {"tokens": input_tokens + output_tokens}

    def bad_key(self, key: str | None) -> RequestRefused:
        """401: no key, or a wrong one, of which only the ends are shown (L8)."""
        if key is None:
            return RequestRefused(
                401,
                "You didn't provide an API key. You need to provide your API key in an "
                "Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
            )
        shown = f"{key[:3]}{'*' * 8}{key[-4:]}" if len(key) >= SHOWN_KEY_LENGTH else "*" * 8
        return RequestRefused(401, f"Incorrect API key provided: {shown}.", code="invalid_api_key")

    def no_such_model(self, model: str) -> RequestRefused:
        """404: there is no model of this name."""
        return RequestRefused(
            404,
            f"The model `{model}` does not exist or you do not have access to it.",
            code="model_not_found",
        )

    def rate_limited(self, refusal: LimitRefusal, model: str) -> RequestRefused:
        """Return the 429 of a limit, with the waiting time in its text."""
        where = f"for {model} in organization {ORGANIZATION} on {_MARKS[refusal.what]}"
        if math.isinf(refusal.wait_s):
            message = (
                f"Request too large {where}: Limit {refusal.limit}, Requested "
                f"{refusal.requested}. The input or output tokens must be reduced in order to run "
                "successfully."
            )
        else:
            # Rounded up to a millisecond, so that a client that waits this long is admitted.
            wait = go_duration(math.ceil(refusal.wait_s * 1000 - 1e-6) / 1000)
            message = (
                f"Rate limit reached {where}: Limit {refusal.limit}, Used {refusal.used}, "
                f"Requested {refusal.requested}. Please try again in {wait}."
            )
        return RequestRefused(
            429,
            message,
            type=refusal.what,
            code="rate_limit_exceeded",
            headers=retry_headers(self._settings, refusal.wait_s),
        )

    def refused(self, kind: str, retry_after: int | None) -> RequestRefused:
        """Return the refusal of a fault: 401, 429, 500, 503 or 529, or 429 for a spent quota."""
        headers = {} if retry_after is None else {"retry-after": str(retry_after)}
        match kind:
            case "401":
                return RequestRefused(401, "Incorrect API key provided.", code="invalid_api_key")
            case "429":
                if retry_after is not None:
                    headers |= retry_headers(self._settings, retry_after)
                    headers["retry-after"] = str(retry_after)
                return RequestRefused(
                    429,
                    "Rate limit reached: traffic ramped up too fast. Please slow down.",
                    type="rate_limit_error",
                    code="slow_down",
                    headers=headers,
                )
            case "quota":
                return RequestRefused(
                    429,
                    "You exceeded your current quota, please check your plan and billing details.",
                    type="insufficient_quota",
                    code="insufficient_quota",
                    headers=retry_headers(self._settings, math.inf),
                )
            case "503" | "529":
                return RequestRefused(
                    int(kind),
                    "The server is overloaded. Please try again later.",
                    type="service_unavailable_error",
                    code="server_is_overloaded",
                    headers=headers,
                )
            case _:
                return RequestRefused(
                    500,
                    "The server had an error while processing your request. Sorry about that!",
                    type="server_error",
                    headers=headers,
                )

    def error_body(self, error: RequestRefused, request_id: str) -> bytes:  # noqa: ARG002 - sent in a header only
        """Return the error body with its four members."""
        return compact(_error(error))

    def error_event(self) -> bytes:
        """Return a stream event with an "error" instead of choices."""
        return event(_error(self.refused("500", None)))


def no_capacity() -> RequestRefused:
    """Return the 429 of a flex call without capacity; it costs nothing."""
    return RequestRefused(
        429, "Resource Unavailable", type="rate_limit_error", code="resource_unavailable"
    )


def _error(error: RequestRefused) -> dict[str, Json]:
    return {
        "error": {
            "message": error.message,
            "type": error.type,
            "param": error.param,
            "code": error.code,
        }
    }
