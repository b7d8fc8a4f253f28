"""The actors that make LLM API work fast, cheap and safe to cancel."""

from .batch import Batching
from .batcher import BatcherActor
from .composer import Compose, PostComposerActor, StepFailed
from .endpoint import Endpoint, Timeouts
from .errors import (
    AuthenticationFailed,
    BadRequest,
    CallFailed,
    ConnectionFailed,
    MalformedAnswer,
    ProviderUnavailable,
    QuotaExhausted,
    RateLimited,
    RequestTooLarge,
)
from .events import CallEvent, Observer
from .limiter import RateLimiterActor
from .limits import Limits
from .log import log_call
from .messages import (
    ChatMessage,
    Choice,
    Complete,
    Delta,
    Origin,
    Permit,
    Request,
    Response,
    Stream,
    Usage,
)
from .post import Post, PostStats
from .prices import Price, PriceBook, PriceError, default_prices
from .recipe import Recipe, RecipeError, Step, default_recipe, load_recipe
from .redaction import redact_secrets
from .request import RequestActor
from .retry import RetryPolicy
from .troupe import Troupe, TroupeSettings, cast_troupe, open_troupe
from .vendors import VENDORS, Vendor, vendor_at, vendor_named
from .wire import Inexpressible

__all__ = [
    "VENDORS",
    "AuthenticationFailed",
    "BadRequest",
    "BatcherActor",
    "Batching",
    "CallEvent",
    "CallFailed",
    "ChatMessage",
    "Choice",
    "Complete",
    "Compose",
    "ConnectionFailed",
    "Delta",
    "Endpoint",
    "Inexpressible",
    "Limits",
    "MalformedAnswer",
    "Observer",
    "Origin",
    "Permit",
    "Post",
    "PostComposerActor",
    "PostStats",
    "Price",
    "PriceBook",
    "PriceError",
    "ProviderUnavailable",
    "QuotaExhausted",
    "RateLimited",
    "RateLimiterActor",
    "Recipe",
    "RecipeError",
    "Request",
    "RequestActor",
    "RequestTooLarge",
    "Response",
    "RetryPolicy",
    "Step",
    "StepFailed",
    "Stream",
    "Timeouts",
    "Troupe",
    "TroupeSettings",
    "Usage",
    "Vendor",
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
