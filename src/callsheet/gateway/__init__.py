"""The gateway: an HTTP server that speaks the providers' dialects and queues calls fairly.

Each name is loaded when it is first used: `callsheet keys` needs no server.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .file import read_gateway
    from .gateway import Gateway
    from .opening import open_gateway
    from .reload import SettingsChange
    from .settings import GatewaySettings, ModelRoute, TlsFiles
else:
    _HOME = {
        "Gateway": "gateway",
        "GatewaySettings": "settings",
        "ModelRoute": "settings",
        "SettingsChange": "reload",
        "TlsFiles": "settings",
        "open_gateway": "opening",
        "read_gateway": "file",
    }

    def __getattr__(name: str) -> object:
        """Load a name when it is first used (PEP 562)."""
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(f".{_HOME[name]}", __name__), name)
        return value


__all__ = [
    "Gateway",
    "GatewaySettings",
    "ModelRoute",
    "SettingsChange",
    "TlsFiles",
    "open_gateway",
    "read_gateway",
]
