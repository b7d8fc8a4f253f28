"""The rate limiter: `RateLimiterActor` keeps calls within limits, without polling (L4).

Its core decides without waiting (R14).
"""

from ..lazy import lazy_imports

with lazy_imports(__name__):
    from .actor import ChangeLimits as ChangeLimits
    from .actor import Explain as Explain
    from .actor import GetLimiterStatistics as GetLimiterStatistics
    from .actor import LimiterStatistics as LimiterStatistics
    from .actor import RateLimiterActor as RateLimiterActor
    from .bucket import Bucket as Bucket
    from .estimator import TokenCounter as TokenCounter
    from .estimator import TokenEstimator as TokenEstimator
    from .estimator import offline_counter as offline_counter
    from .explanation import BucketState as BucketState
    from .explanation import Explanation as Explanation
    from .explanation import LimiterSnapshot as LimiterSnapshot
    from .explanation import SharedState as SharedState
    from .lane_queue import Lane as Lane
    from .lease_exchange import LeaseExchange as LeaseExchange
    from .lease_exchange import LeaseKeeping as LeaseKeeping
    from .lease_exchange import SharedLimiting as SharedLimiting
    from .leased_bucket import LeasedBucket as LeasedBucket
    from .leased_limits import LeasedLimits as LeasedLimits
    from .limits import Cost as Cost
    from .limits import Limits as Limits
    from .limits import Rate as Rate
    from .reports import read_refusal as read_refusal
    from .reports import read_reports as read_reports
    from .shared import Correction as Correction
    from .shared import LaneDemand as LaneDemand
    from .shared import LeaseAsk as LeaseAsk
    from .shared import LimitAsk as LimitAsk
    from .shared import LimitGrant as LimitGrant
    from .shared import LimitStore as LimitStore
    from .shared import MemoryLimitStore as MemoryLimitStore
    from .shared import PlacesAsk as PlacesAsk
    from .shared import SharedRate as SharedRate
    from .shared import ValkeyLimitStore as ValkeyLimitStore
    from .shares import GetShares as GetShares
    from .shares import LaneShare as LaneShare
    from .shares import LaneShares as LaneShares
    from .shares import LimitShare as LimitShare
    from .spread import PoolMember as PoolMember
    from .turns import GetTurns as GetTurns
    from .turns import QueuedTurn as QueuedTurn
    from .turns import Turns as Turns
