"""Sending a call: `RequestActor` retries and hedges it at one target, and falls back to others."""

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .actor import GetRequestStatistics, RequestActor, RequestStatistics
    from .breaker import BreakerPolicy, BreakerStatistics
    from .classification import classify, is_retried
    from .failures import AttemptFailed, Failures
    from .fallback import Target
    from .hedging import HedgePolicy
    from .quoted_keys import response_without_key, without_key
    from .retry import RetryPolicy, ThrottlePolicy
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        actor="GetRequestStatistics RequestActor RequestStatistics",
        breaker="BreakerPolicy BreakerStatistics",
        classification="classify is_retried",
        failures="AttemptFailed Failures",
        fallback="Target",
        hedging="HedgePolicy",
        quoted_keys="response_without_key without_key",
        retry="RetryPolicy ThrottlePolicy",
    )

__all__ = [
    "AttemptFailed",
    "BreakerPolicy",
    "BreakerStatistics",
    "Failures",
    "GetRequestStatistics",
    "HedgePolicy",
    "RequestActor",
    "RequestStatistics",
    "RetryPolicy",
    "Target",
    "ThrottlePolicy",
    "classify",
    "is_retried",
    "response_without_key",
    "without_key",
]
