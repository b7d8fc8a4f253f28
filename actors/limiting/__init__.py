"""How fast calls may go: the decisions, without any waiting (R14)."""

from ..permit import DIMENSIONS, Dimension, Refused, Report
from .bucket import Bucket
from .estimator import Estimate, EstimatorStatistics, TokenEstimator
from .explanation import BucketState, Explanation, LimiterSnapshot, ScopeState
from .finder import Finder, FinderStatistics
from .lanes import FairQueue, Lane, Waiting
from .learned import Learned
from .limiter import Grant, Limiter
from .limits import Cost, Impossible, Limits, Rate, TooLate
from .reports import read_refusal, read_reports
from .scope import Ask, Reservation

__all__ = [
    "DIMENSIONS",
    "Ask",
    "Bucket",
    "BucketState",
    "Cost",
    "Dimension",
    "Estimate",
    "EstimatorStatistics",
    "Explanation",
    "FairQueue",
    "Finder",
    "FinderStatistics",
    "Grant",
    "Impossible",
    "Lane",
    "Learned",
    "Limiter",
    "LimiterSnapshot",
    "Limits",
    "Rate",
    "Refused",
    "Report",
    "Reservation",
    "ScopeState",
    "TokenEstimator",
    "TooLate",
    "Waiting",
    "read_refusal",
    "read_reports",
]
