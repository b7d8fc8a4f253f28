"""Supervision: start actors, restart them after a crash, and stop them (R7)."""

from .owned import OwnedChildren
from .pool import spawn_pool
from .restarts import RestartPolicy, StopOrder
from .supervisor import Supervisor, SupervisorNode

__all__ = [
    "OwnedChildren",
    "RestartPolicy",
    "StopOrder",
    "Supervisor",
    "SupervisorNode",
    "spawn_pool",
]
