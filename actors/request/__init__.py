"""Sending a call: one send, retry and hedging at one target, fallback over targets."""

from .actor import CountRequests, RequestActor, RequestStatistics
from .breaker import BreakerPolicy, BreakerStatistics
from .classification import classify, is_retried
from .failures import Failures, Refusal, without_key
from .fallback import Target
from .hedging import HedgePolicy
from .retry import RetryPolicy, ThrottlePolicy

__all__ = [
    "BreakerPolicy",
    "BreakerStatistics",
    "CountRequests",
    "Failures",
    "HedgePolicy",
    "Refusal",
    "RequestActor",
    "RequestStatistics",
    "RetryPolicy",
    "Target",
    "ThrottlePolicy",
    "classify",
    "is_retried",
    "without_key",
]
