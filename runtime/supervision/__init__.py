"""Supervision: start actors, restart them after a crash, and stop them (R7)."""

from .owned import OwnedChildren
from .restarts import RestartPolicy
from .supervisor import Supervisor, SupervisorNode

__all__ = ["OwnedChildren", "RestartPolicy", "Supervisor", "SupervisorNode"]
