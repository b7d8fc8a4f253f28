"""Callsheet for programs that run asyncio: FastAPI, notebooks, and any other.

The names are those of `callsheet`, with the same arguments. Under each `open_troupe` is one thread
that runs Trio; see docs/asyncio.md.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from ..doors import DoorClosed
from ..other_homes import no_name
from .connection import while_connected
from .endpoints import open_builtin_provider, open_endpoint
from .stream import AsyncioStream
from .troupe import AsyncioTroupe, open_troupe

if TYPE_CHECKING:
    from .bulk_run import AsyncioBulkRun, bulk, bulk_dataframe
else:

    def __getattr__(name: str) -> object:
        """Load what bulk runs need with the first of their names (PEP 562)."""
        if name not in ("AsyncioBulkRun", "bulk", "bulk_dataframe"):
            raise no_name(name, __name__)
        bulk_run = import_module(".bulk_run", __name__)
        value = globals()[name] = getattr(bulk_run, name)
        return value


__all__ = [
    "AsyncioBulkRun",
    "AsyncioStream",
    "AsyncioTroupe",
    "DoorClosed",
    "bulk",
    "bulk_dataframe",
    "open_builtin_provider",
    "open_endpoint",
    "open_troupe",
    "while_connected",
]
