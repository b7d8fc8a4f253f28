"""Serve any ASGI app with Hypercorn under Trio, whatever its clients do.

`serve` bounds what clients send and how long they take, cuts those that stall, and ends gently
(`Serving.drain`) or at once (cancellation). `call_until_gone` ends the work of a request whose
client has gone (R4).
"""

from .address import CannotServe, Listen, check_address
from .gone import Gone, call_until_gone
from .limits import ServingLimits
from .proxies import TrustedProxies
from .server import Serving, ServingStatistics, serve
from .tls import Tls, certificate_path, key_path

__all__ = [
    "CannotServe",
    "Gone",
    "Listen",
    "Serving",
    "ServingLimits",
    "ServingStatistics",
    "Tls",
    "TrustedProxies",
    "call_until_gone",
    "certificate_path",
    "check_address",
    "key_path",
    "serve",
]
