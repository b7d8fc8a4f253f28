"""The actors that make LLM API work fast, cheap and safe to cancel."""

from .asking import Pieces
from .batch_api import BatchApiActor, BatchStatistics, CountBatches
from .batcher import BatcherActor
from .batches import BatchApiPolicy
from .batching import Batching, Bounds, ListStrategy, Packing, Strategy, TrustStatistics, Weight
from .breaker import BreakerPolicy, BreakerStatistics
from .budget import ThrottlePolicy
from .cache import CacheActor, CacheStatistics, ClearCache, CountCache
from .caching import CachePolicy, CacheStore
from .call_plan import CallPlan, Sharing
from .casting import cast_troupe, open_troupe
from .composer import Compose, PostComposerActor, StepFailed
from .endpoint import Endpoint, Timeouts
from .errors import (
    AuthenticationFailed,
    BadRequest,
    BudgetExceeded,
    CallFailed,
    ConnectionFailed,
    DeadlineTooShort,
    LedgerUnavailable,
    MalformedAnswer,
    ProviderUnavailable,
    QuotaExhausted,
    RateLimited,
    RequestTooLarge,
)
from .events import CallEvent, Observer
from .gathered import BatcherStatistics, BatchRecord, CountGathered
from .hedging import HedgePolicy
from .ledger import Budget, LedgerPolicy, LedgerStatistics
from .ledger_actor import CountCosts, LedgerActor
from .limiter import ChangeLimits, CountLimits, Explain, LimitStatistics, RateLimiterActor
from .limiting import Explanation, Lane, LimiterSnapshot, Limits, Rate
from .log import log_call
from .messages import (
    ChatMessage,
    Choice,
    Complete,
    Delta,
    Origin,
    Request,
    Response,
    Stream,
    Usage,
)
from .permit import Permit, Throttled
from .post import Post, PostStats
from .prices import Price, PriceBook, PriceError, TierPrice, default_prices
from .recipe import Recipe, RecipeError, Step, default_recipe, load_recipe
from .redaction import redact_secrets
from .request import CountRequests, RequestActor, RequestStatistics
from .retry import RetryPolicy
from .router import RouteChoice, RouterActor
from .routing import Offer, Route, Routing
from .settings import TroupeSettings
from .target import Target
from .transport import LeanTransport
from .troupe import Troupe
from .vendors import VENDORS, Vendor, vendor_at, vendor_named
from .wire import Inexpressible

__all__ = [
    "VENDORS",
    "AuthenticationFailed",
    "BadRequest",
    "BatchApiActor",
    "BatchApiPolicy",
    "BatchRecord",
    "BatchStatistics",
    "BatcherActor",
    "BatcherStatistics",
    "Batching",
    "Bounds",
    "BreakerPolicy",
    "BreakerStatistics",
    "Budget",
    "BudgetExceeded",
    "CacheActor",
    "CachePolicy",
    "CacheStatistics",
    "CacheStore",
    "CallEvent",
    "CallFailed",
    "CallPlan",
    "ChangeLimits",
    "ChatMessage",
    "Choice",
    "ClearCache",
    "Complete",
    "Compose",
    "ConnectionFailed",
    "CountBatches",
    "CountCache",
    "CountCosts",
    "CountGathered",
    "CountLimits",
    "CountRequests",
    "DeadlineTooShort",
    "Delta",
    "Endpoint",
    "Explain",
    "Explanation",
    "HedgePolicy",
    "Inexpressible",
    "Lane",
    "LeanTransport",
    "LedgerActor",
    "LedgerPolicy",
    "LedgerStatistics",
    "LedgerUnavailable",
    "LimitStatistics",
    "LimiterSnapshot",
    "Limits",
    "ListStrategy",
    "MalformedAnswer",
    "Observer",
    "Offer",
    "Origin",
    "Packing",
    "Permit",
    "Pieces",
    "Post",
    "PostComposerActor",
    "PostStats",
    "Price",
    "PriceBook",
    "PriceError",
    "ProviderUnavailable",
    "QuotaExhausted",
    "Rate",
    "RateLimited",
    "RateLimiterActor",
    "Recipe",
    "RecipeError",
    "Request",
    "RequestActor",
    "RequestStatistics",
    "RequestTooLarge",
    "Response",
    "RetryPolicy",
    "Route",
    "RouteChoice",
    "RouterActor",
    "Routing",
    "Sharing",
    "Step",
    "StepFailed",
    "Strategy",
    "Stream",
    "Target",
    "ThrottlePolicy",
    "Throttled",
    "TierPrice",
    "Timeouts",
    "Troupe",
    "TroupeSettings",
    "TrustStatistics",
    "Usage",
    "Vendor",
    "Weight",
    "cast_troupe",
    "default_prices",
    "default_recipe",
    "load_recipe",
    "log_call",
    "open_troupe",
    "redact_secrets",
    "vendor_at",
    "vendor_named",
]
