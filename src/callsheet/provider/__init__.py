"""The built-in provider: an OpenAI-compatible server whose answers, limits and faults repeat.

It needs no key and no network. `serve` puts it on a socket of this machine; `ProviderTransport`
mounts the same app inside a test, under Trio's virtual clock.
"""

from .app import Provider
from .faults import FAULT_KINDS, Fault, Faults
from .inprocess import ProviderTransport
from .latency import chat_latency
from .server import CannotListen, serve
from .settings import ProviderSettings
from .stats import ProviderStats

__all__ = [
    "FAULT_KINDS",
    "CannotListen",
    "Fault",
    "Faults",
    "Provider",
    "ProviderSettings",
    "ProviderStats",
    "ProviderTransport",
    "chat_latency",
    "serve",
]
