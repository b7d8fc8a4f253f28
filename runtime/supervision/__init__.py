"""Supervision: start actors, restart them after a crash, and stop them (R7)."""

from .owned import OwnedChildren
from .supervisor import SupervisorNode

__all__ = ["OwnedChildren", "SupervisorNode"]
