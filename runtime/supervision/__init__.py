"""Supervision: start actors, restart them after a crash, and stop them (R7)."""

from .pool import PoolRef
from .restarts import RestartPolicy
from .supervisor import Supervisor, SupervisorNode

__all__ = ["PoolRef", "RestartPolicy", "Supervisor", "SupervisorNode"]
