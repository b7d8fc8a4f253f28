"""The rate limiter: RateLimiterActor over a core that makes its decisions without waiting (R14)."""

from .actor import ChangeLimits, Explain, GetLimiterStatistics, LimiterStatistics, RateLimiterActor
from .estimator import TokenCounter, TokenEstimator, offline_counter
from .explanation import BucketState, Explanation, LimiterSnapshot
from .lanes import Lane
from .limits import Limits, Rate
from .reports import read_refusal, read_reports

__all__ = [
    "BucketState",
    "ChangeLimits",
    "Explain",
    "Explanation",
    "GetLimiterStatistics",
    "Lane",
    "LimiterSnapshot",
    "LimiterStatistics",
    "Limits",
    "Rate",
    "RateLimiterActor",
    "TokenCounter",
    "TokenEstimator",
    "offline_counter",
    "read_refusal",
    "read_reports",
]
