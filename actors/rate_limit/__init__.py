"""The rate limiter: RateLimiterActor over a core that makes its decisions without waiting (R14)."""

from .actor import ChangeLimits, CountLimits, Explain, LimitStatistics, RateLimiterActor
from .estimator import Counter, TokenEstimator, offline_counter
from .explanation import BucketState, Explanation, LimiterSnapshot
from .lanes import Lane
from .limits import Limits, Rate
from .reports import read_refusal, read_reports

__all__ = [
    "BucketState",
    "ChangeLimits",
    "CountLimits",
    "Counter",
    "Explain",
    "Explanation",
    "Lane",
    "LimitStatistics",
    "LimiterSnapshot",
    "Limits",
    "Rate",
    "RateLimiterActor",
    "TokenEstimator",
    "offline_counter",
    "read_refusal",
    "read_reports",
]
