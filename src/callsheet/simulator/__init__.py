"""The built-in provider: a server whose answers, limits and faults repeat.

It speaks as OpenAI (chat completions, completions, embeddings) and as Anthropic (messages), and
does the work of both in batches too.

It needs no key and no network. `serve` puts it on a socket of this machine; `ProviderTransport`
mounts the same app inside a test, under Trio's virtual clock.
"""

from .app import Provider
from .batchsettings import BatchSettings
from .faults import FAULT_KINDS, Fault, Faults
from .inprocess import ProviderTransport
from .latency import chat_latency, prompt_latency
from .server import CannotListen, serve
from .settings import HEADERS_ON_429, ProviderSettings
from .stats import BilledTokens, ProviderStats

__all__ = [
    "FAULT_KINDS",
    "HEADERS_ON_429",
    "BatchSettings",
    "BilledTokens",
    "CannotListen",
    "Fault",
    "Faults",
    "Provider",
    "ProviderSettings",
    "ProviderStats",
    "ProviderTransport",
    "chat_latency",
    "prompt_latency",
    "serve",
]
