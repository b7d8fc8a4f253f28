"""How the slot of a message was filled."""

import enum


class Outcome(enum.Enum):
    """How a slot was filled."""

    REPLIED = "replied"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
