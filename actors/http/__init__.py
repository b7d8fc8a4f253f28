"""HTTP/1.1 over Trio: the transport, its connections, and the bodies of responses."""

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .carrier import (
        Configure,
        HttpCarrier,
        HttpResponse,
        carrier_over,
        proxy_in,
        transport_for,
    )
    from .connection import may_have_run
    from .environment import check_environment
    from .pool import PoolStatistics
    from .response_reader import ResponseReader, TooLarge
    from .retry_after import duration_s, retry_after_s, should_retry
    from .transport import LeanTransport
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        carrier="Configure HttpCarrier HttpResponse carrier_over proxy_in transport_for",
        connection="may_have_run",
        environment="check_environment",
        pool="PoolStatistics",
        response_reader="ResponseReader TooLarge",
        retry_after="duration_s retry_after_s should_retry",
        transport="LeanTransport",
    )

__all__ = [
    "Configure",
    "HttpCarrier",
    "HttpResponse",
    "LeanTransport",
    "PoolStatistics",
    "ResponseReader",
    "TooLarge",
    "carrier_over",
    "check_environment",
    "duration_s",
    "may_have_run",
    "proxy_in",
    "retry_after_s",
    "should_retry",
    "transport_for",
]
