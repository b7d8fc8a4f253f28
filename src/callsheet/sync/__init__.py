"""Callsheet for plain programs, notebooks and threads: the calls block.

The names are those of `callsheet`, with the same arguments. Under each `open_troupe` is one thread
that runs Trio; see docs/asyncio.md.
"""

from ..doors import DoorClosed
from .endpoints import open_builtin_provider, open_endpoint
from .stream import BlockingStream
from .troupe import BlockingTroupe, open_troupe

__all__ = [
    "BlockingStream",
    "BlockingTroupe",
    "DoorClosed",
    "open_builtin_provider",
    "open_endpoint",
    "open_troupe",
]
