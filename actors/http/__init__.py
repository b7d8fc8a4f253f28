"""HTTP/1.1 over Trio: the transport, its connections, and the bodies of responses."""

from .carrier import Configure, HttpCarrier, HttpResponse, carrier_over, transport_for
from .connection import may_have_run
from .pool import PoolStatistics
from .response_reader import ResponseReader, TooLarge
from .retry_after import duration_s, retry_after_s, should_retry
from .transport import LeanTransport

__all__ = [
    "Configure",
    "HttpCarrier",
    "HttpResponse",
    "LeanTransport",
    "PoolStatistics",
    "ResponseReader",
    "TooLarge",
    "carrier_over",
    "duration_s",
    "may_have_run",
    "retry_after_s",
    "should_retry",
    "transport_for",
]
