"""The interface to one vendor's keys, headers, limits and errors."""

import math
from collections.abc import Mapping
from typing import Protocol

from .body import RequestRefused
from .call import ModelCall
from .exchange import AsgiExchange
from .limits import Level, LimitRefusal
from .settings import ProviderSettings


class SimulatedVendor(Protocol):
    """One vendor, as the simulator implements it."""

    def limits(self) -> Mapping[str, int | None]:
        """Return {name: limit per minute}."""
        ...

    def key_in(self, exchange: AsgiExchange) -> str | None:
        """Return the key of a request."""
        ...

    def check(self, exchange: AsgiExchange) -> None:
        """Raise `RequestRefused` if the request lacks what the vendor requires of every request."""
        ...

    def id_headers(self, request_id: str) -> dict[str, str]:
        """Return the headers of every response, refusals included."""
        ...

    def account_headers(self) -> dict[str, str]:
        """Return the headers of every response to a valid key, refusals included."""
        ...

    def work_headers(self, latency_s: float) -> dict[str, str]:
        """Return the headers of model responses only."""
        ...

    def level_headers(self, levels: Mapping[str, Level], date: float) -> dict[str, str]:
        """Return the headers of the limits.

        Args:
            levels: the level of each bucket.
            date: the time, in seconds since 1970.
        """
        ...

    def costs(self, call: ModelCall) -> Mapping[str, float]:
        """Return the charges of a call at admission, by name of the limit."""
        ...

    def totals(self, input_tokens: int, output_tokens: int, *, ended: bool) -> Mapping[str, float]:
        """Return the total charges of a call for the tokens so far, by name of the limit.

        Args:
            input_tokens: the tokens of the prompt.
            output_tokens: the tokens produced so far.
            ended: True if no more tokens follow.
        """
        ...

    def bad_key(self, key: str | None) -> RequestRefused:
        """Return the 401 for a missing or wrong key."""
        ...

    def no_such_model(self, model: str) -> RequestRefused:
        """Return the 404 for an unknown model."""
        ...

    def rate_limited(self, refusal: LimitRefusal, model: str) -> RequestRefused:
        """Return the 429 for a request over a limit, or larger than the limit."""
        ...

    def refused(self, kind: str, retry_after: int | None) -> RequestRefused:
        """Return the refusal of a fault: one of `REFUSALS`."""
        ...

    def error_body(self, error: RequestRefused, request_id: str) -> bytes:
        """Return the JSON body of a refusal."""
        ...

    def error_event(self) -> bytes:
        """Return the event of a stream that fails in the middle."""
        ...


def bearer_in(exchange: AsgiExchange) -> str | None:
    """Return the key in an Authorization header."""
    scheme, _, key = exchange.headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" and key.strip() else None


def retry_headers(settings: ProviderSettings, wait_s: float) -> dict[str, str]:
    """Return the headers of a 429 with the time of a retry, as far as the settings include them.

    Args:
        settings: the provider's settings.
        wait_s: seconds until the request would be admitted; infinite if it never will be.
    """
    found: dict[str, str] = {}
    if math.isfinite(wait_s):
        if "retry-after" in settings.headers_on_429:
            found["retry-after"] = str(max(1, math.ceil(wait_s)))
        if "retry-after-ms" in settings.headers_on_429:
            found["retry-after-ms"] = str(math.ceil(wait_s * 1000 - 1e-6))
    if "x-should-retry" in settings.headers_on_429:
        found["x-should-retry"] = "true" if math.isfinite(wait_s) else "false"
    return found
