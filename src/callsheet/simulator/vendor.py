"""What sets the vendors apart: keys, headers, what is counted, and how they say no."""

import math
from collections.abc import Mapping
from typing import Protocol

from .apierror import RequestRefused
from .call import ModelCall
from .exchange import AsgiExchange
from .limits import Level, LimitRefusal
from .settings import ProviderSettings

__all__ = [
    "SimulatedVendor",
    "bearer_in",
    "retry_headers",
]


class SimulatedVendor(Protocol):
    """One vendor's ways, as the provider plays them."""

    def limits(self) -> Mapping[str, int | None]:
        """Its limits a minute, by name."""
        ...

    def key_in(self, exchange: AsgiExchange) -> str | None:
        """The key that a request brings."""
        ...

    def check(self, exchange: AsgiExchange) -> None:
        """Raise `RequestRefused` when the request lacks what every request to this vendor needs."""
        ...

    def id_headers(self, request_id: str) -> dict[str, str]:
        """What every answer has, refusals too."""
        ...

    def account_headers(self) -> dict[str, str]:
        """What every answer to a known key has, refusals too."""
        ...

    def work_headers(self, latency_s: float) -> dict[str, str]:
        """What only the answer of a model has."""
        ...

    def level_headers(self, levels: Mapping[str, Level], date: float) -> dict[str, str]:
        """The limits' headers.

        Args:
            levels: how full each bucket is.
            date: the time, in seconds since 1970.
        """
        ...

    def costs(self, call: ModelCall) -> Mapping[str, float]:
        """What a call is charged at admission, by name of the limit."""
        ...

    def totals(self, input_tokens: int, output_tokens: int, *, ended: bool) -> Mapping[str, float]:
        """What a call should have been charged once so many tokens are read and produced.

        Args:
            input_tokens: of the prompt.
            output_tokens: produced so far.
            ended: whether no more will be.
        """
        ...

    def bad_key(self, key: str | None) -> RequestRefused:
        """401: no key, or a wrong one."""
        ...

    def no_such_model(self, model: str) -> RequestRefused:
        """404: there is no model of this name."""
        ...

    def rate_limited(self, refusal: LimitRefusal, model: str) -> RequestRefused:
        """429: too fast, or larger than the limit can ever hold."""
        ...

    def refused(self, kind: str, retry_after: int | None) -> RequestRefused:
        """The refusal that a fault asks for: one of `REFUSALS`."""
        ...

    def error_body(self, error: RequestRefused, request_id: str) -> bytes:
        """A refusal's JSON."""
        ...

    def error_event(self) -> bytes:
        """What a stream says when it fails in the middle."""
        ...


def bearer_in(exchange: AsgiExchange) -> str | None:
    """The key in an Authorization header."""
    scheme, _, key = exchange.headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" and key.strip() else None


def retry_headers(settings: ProviderSettings, wait_s: float) -> dict[str, str]:
    """The headers of a 429 that say when to try again, as far as the settings have them.

    Args:
        settings: the provider's.
        wait_s: seconds until it would be let in; infinite when it never will.
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
