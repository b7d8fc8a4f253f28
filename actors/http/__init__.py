"""HTTP/1.1 over Trio: the transport, its connections, and the bodies of responses."""

from .carrier import Configure, HttpAnswer, Way, transport_for, way_over
from .connection import may_have_run
from .pool import PoolStatistics
from .response_body import AnswerBody, TooLarge
from .retry_after import duration_s, retry_after_s, should_retry
from .transport import LeanTransport

__all__ = [
    "AnswerBody",
    "Configure",
    "HttpAnswer",
    "LeanTransport",
    "PoolStatistics",
    "TooLarge",
    "Way",
    "duration_s",
    "may_have_run",
    "retry_after_s",
    "should_retry",
    "transport_for",
    "way_over",
]
