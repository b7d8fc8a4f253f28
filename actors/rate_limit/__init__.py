"""The rate limiter: `RateLimiterActor` keeps calls within limits, without polling (L4).

Its core decides without waiting (R14).
"""

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .actor import (
        ChangeLimits,
        Explain,
        GetLimiterStatistics,
        LimiterStatistics,
        RateLimiterActor,
    )
    from .estimator import TokenCounter, TokenEstimator, offline_counter
    from .explanation import BucketState, Explanation, LimiterSnapshot
    from .lanes import Lane
    from .limits import Limits, Rate
    from .reports import read_refusal, read_reports
    from .spread import PoolMember
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        actor="ChangeLimits Explain GetLimiterStatistics LimiterStatistics RateLimiterActor",
        estimator="TokenCounter TokenEstimator offline_counter",
        explanation="BucketState Explanation LimiterSnapshot",
        lanes="Lane",
        limits="Limits Rate",
        reports="read_refusal read_reports",
        spread="PoolMember",
    )

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
    "PoolMember",
    "Rate",
    "RateLimiterActor",
    "TokenCounter",
    "TokenEstimator",
    "offline_counter",
    "read_refusal",
    "read_reports",
]
