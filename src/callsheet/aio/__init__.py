"""Callsheet for programs that run asyncio: FastAPI, notebooks, and any other.

The names are those of `callsheet`, with the same arguments. Under each `open_troupe` is one thread
that runs Trio; see docs/asyncio.md.
"""

from ..doors import DoorClosed
from .endpoints import open_builtin_provider, open_endpoint
from .stream import AsyncioStream
from .troupe import AsyncioTroupe, open_troupe

__all__ = [
    "AsyncioStream",
    "AsyncioTroupe",
    "DoorClosed",
    "open_builtin_provider",
    "open_endpoint",
    "open_troupe",
]
