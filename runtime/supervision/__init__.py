"""Supervision: start actors, restart them after a crash, and stop them (R7)."""

from .supervisor import OwnedChildren, SupervisorNode

__all__ = ["OwnedChildren", "SupervisorNode"]
