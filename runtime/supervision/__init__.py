"""Supervisors: what starts actors, restarts them after a crash, and stops them (R7)."""

from .pool import spawn_pool
from .restarts import RestartPolicy
from .supervisor import Supervisor

__all__ = [
    "RestartPolicy",
    "Supervisor",
    "spawn_pool",
]
