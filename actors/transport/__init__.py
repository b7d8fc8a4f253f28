"""HTTP/1.1 over Trio: a transport for httpx that stays fast with thousands of calls in flight."""

from .body import ResponseBody
from .connect import OpenStream, Verify
from .errors import StaleConnection, may_have_run
from .head import Heading
from .lean import LeanTransport
from .pool import PoolStatistics

__all__ = [
    "Heading",
    "LeanTransport",
    "OpenStream",
    "PoolStatistics",
    "ResponseBody",
    "StaleConnection",
    "Verify",
    "may_have_run",
]
