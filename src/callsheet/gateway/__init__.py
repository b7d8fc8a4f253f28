"""The gateway: an HTTP server that speaks the providers' dialects and queues calls fairly."""

from .file import read_gateway
from .gateway import Gateway
from .opening import open_gateway
from .settings import GatewaySettings, ModelRoute, TlsFiles

__all__ = [
    "Gateway",
    "GatewaySettings",
    "ModelRoute",
    "TlsFiles",
    "open_gateway",
    "read_gateway",
]
