"""The actors that make LLM API work fast, cheap and safe to cancel."""

from .asking import Pieces
from .batch_api import BatchApiActor, BatchStatistics, CountBatches
from .batcher import BatcherActor
from .batches.policy import BatchApiPolicy
from .batches.store import lines_in
from .batching.former import Batching
from .batching.lists import ListStrategy
from .batching.packing import Packing
from .batching.strategy import Strategy
from .batching.trust import TrustStatistics
from .cache import CacheActor
from .caching.policy import CachePolicy
from .caching.questions import CacheStatistics, ClearCache, CountCache
from .caching.store import CacheStore
from .call import Call, critical_path
from .call_plan import CallPlan, Sharing
from .calls import Complete, Origin, Stream
from .casting import cast_troupe, open_troupe
from .composer import Compose, PostComposerActor, StepFailed
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
from .events import CallEvent, Observer, Stage, ignore, log_call
from .gathered import BatcherStatistics, BatchRecord, CountGathered
from .http import LeanTransport
from .identity import sharing_key
from .ledger import (
    NOTHING,
    Amount,
    Budget,
    CountCosts,
    LedgerActor,
    LedgerPolicy,
    LedgerStatistics,
    LedgerUnusable,
    Totals,
    connect,
    recover,
    sums,
)
from .messages import ChatMessage, Choice, Delta, Json, Request, Response, Role, Task, Usage
from .permit import Dimension, Permit, Throttled
from .plan import Plan
from .post import Post, PostStats
from .rate_limit import (
    BucketState,
    ChangeLimits,
    CountLimits,
    Explain,
    Explanation,
    Lane,
    LimiterSnapshot,
    Limits,
    LimitStatistics,
    Rate,
    RateLimiterActor,
    TokenEstimator,
)
from .recipe import Recipe, Step, default_recipe, load_recipe
from .recipe_rules import RecipeError
from .redaction import redact_secrets
from .request import (
    BreakerPolicy,
    BreakerStatistics,
    CountRequests,
    HedgePolicy,
    RequestActor,
    RequestStatistics,
    RetryPolicy,
    Target,
    ThrottlePolicy,
)
from .router import RouteChoice, RouterActor
from .routing.offer import Offer
from .routing.routes import Route, Routing
from .settings import TroupeSettings
from .shape import Result
from .template import TemplateError, names_used, render
from .troupe import Troupe
from .vendors import (
    VENDORS,
    Answer,
    ApiError,
    Bounds,
    Endpoint,
    Inexpressible,
    Malformed,
    OpenAIChat,
    OpenAIEmbeddings,
    Price,
    PriceBook,
    PriceError,
    TierPrice,
    Timeouts,
    Vendor,
    Weight,
    WireFormat,
    default_prices,
    dumps,
    loads,
    read_chat,
    read_completion,
    read_embeddings,
    vendor_at,
    vendor_named,
)

__all__ = [
    "NOTHING",
    "VENDORS",
    "Amount",
    "Answer",
    "ApiError",
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
    "BucketState",
    "Budget",
    "BudgetExceeded",
    "CacheActor",
    "CachePolicy",
    "CacheStatistics",
    "CacheStore",
    "Call",
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
    "Dimension",
    "Endpoint",
    "Explain",
    "Explanation",
    "HedgePolicy",
    "Inexpressible",
    "Json",
    "Lane",
    "LeanTransport",
    "LedgerActor",
    "LedgerPolicy",
    "LedgerStatistics",
    "LedgerUnavailable",
    "LedgerUnusable",
    "LimitStatistics",
    "LimiterSnapshot",
    "Limits",
    "ListStrategy",
    "Malformed",
    "MalformedAnswer",
    "Observer",
    "Offer",
    "OpenAIChat",
    "OpenAIEmbeddings",
    "Origin",
    "Packing",
    "Permit",
    "Pieces",
    "Plan",
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
    "Result",
    "RetryPolicy",
    "Role",
    "Route",
    "RouteChoice",
    "RouterActor",
    "Routing",
    "Sharing",
    "Stage",
    "Step",
    "StepFailed",
    "Strategy",
    "Stream",
    "Target",
    "Task",
    "TemplateError",
    "ThrottlePolicy",
    "Throttled",
    "TierPrice",
    "Timeouts",
    "TokenEstimator",
    "Totals",
    "Troupe",
    "TroupeSettings",
    "TrustStatistics",
    "Usage",
    "Vendor",
    "Weight",
    "WireFormat",
    "cast_troupe",
    "connect",
    "critical_path",
    "default_prices",
    "default_recipe",
    "dumps",
    "ignore",
    "lines_in",
    "load_recipe",
    "loads",
    "log_call",
    "names_used",
    "open_troupe",
    "read_chat",
    "read_completion",
    "read_embeddings",
    "recover",
    "redact_secrets",
    "render",
    "sharing_key",
    "sums",
    "vendor_at",
    "vendor_named",
]
