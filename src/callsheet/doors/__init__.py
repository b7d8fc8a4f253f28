"""What the doors for asyncio and for plain threads have in common: Trio in a thread of its own.

`callsheet.aio` and `callsheet.sync` are the doors. Under each is one thread that runs Trio, with a
troupe or a bulk run in it. A call goes there as a command, becomes a task of Trio, and is settled
once: with its result, with its error, or with `DoorClosed`.
"""

from .call import DoorCall
from .open_calls import OpenCalls
from .pieces import PieceStream, check_buffer
from .trio_thread import DoorClosed, Milestone, TrioThread

__all__ = [
    "DoorCall",
    "DoorClosed",
    "Milestone",
    "OpenCalls",
    "PieceStream",
    "TrioThread",
    "check_buffer",
]
