"""Sending a call: `RequestActor` retries and hedges it at one target, and falls back to others."""

from ..lazy import lazy_imports

with lazy_imports(__name__):
    from .actor import GetRequestStatistics as GetRequestStatistics
    from .actor import RequestActor as RequestActor
    from .actor import RequestStatistics as RequestStatistics
    from .breaker import BreakerPolicy as BreakerPolicy
    from .breaker import BreakerStatistics as BreakerStatistics
    from .classification import classify as classify
    from .classification import is_retried as is_retried
    from .failures import AttemptFailed as AttemptFailed
    from .failures import Failures as Failures
    from .fallback import Target as Target
    from .hedging import HedgePolicy as HedgePolicy
    from .quoted_keys import response_without_key as response_without_key
    from .quoted_keys import without_key as without_key
    from .retry import RetryPolicy as RetryPolicy
    from .retry import ThrottlePolicy as ThrottlePolicy
