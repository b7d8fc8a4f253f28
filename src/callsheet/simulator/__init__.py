"""The built-in provider: a server whose responses, latencies, limits and faults are repeatable.

It implements OpenAI's chat completions, responses, completions, embeddings and moderations,
Anthropic's messages, the batches of both, and Gemini's generateContent. It needs no key and no
network. `serve` runs it on a socket of this machine; `ProviderTransport` mounts the same app inside
a test, under Trio's virtual clock.
"""

from .app import Provider
from .chance import chat_latency, prompt_latency
from .faults import FAULT_KINDS, Fault, Faults
from .inprocess import ProviderTransport
from .server import CannotListen, serve
from .settings import HEADERS_ON_429, BatchSettings, ProviderSettings
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
