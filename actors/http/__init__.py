"""HTTP/1.1 over Trio: the transport, its connections, and the bodies of responses."""

from ..lazy import lazy_imports

with lazy_imports(__name__):
    from .carrier import Configure as Configure
    from .carrier import HttpCarrier as HttpCarrier
    from .carrier import HttpResponse as HttpResponse
    from .carrier import carrier_over as carrier_over
    from .carrier import proxy_in as proxy_in
    from .carrier import transport_for as transport_for
    from .connection import may_have_run as may_have_run
    from .environment import check_environment as check_environment
    from .environment import named_authorities as named_authorities
    from .environment import proxy_of as proxy_of
    from .pool import PoolStatistics as PoolStatistics
    from .response_reader import ResponseReader as ResponseReader
    from .response_reader import TooLarge as TooLarge
    from .retry_after import duration_s as duration_s
    from .retry_after import retry_after_s as retry_after_s
    from .retry_after import should_retry as should_retry
    from .transport import LeanTransport as LeanTransport
