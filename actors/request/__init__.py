"""Sending a call: one send, retry and hedging at one target, fallback over targets."""

from .actor import GetRequestStatistics, RequestActor, RequestStatistics
from .breaker import BreakerPolicy, BreakerStatistics
from .classification import classify, is_retried
from .failures import AttemptFailed, Failures, without_key
from .fallback import Target
from .hedging import HedgePolicy
from .retry import RetryPolicy, ThrottlePolicy

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
    "without_key",
]
