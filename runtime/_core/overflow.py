"""What happens to a message that finds its mailbox full (R5), and priorities."""

import enum
from collections.abc import Callable, Hashable
from typing import Literal

import attrs

from .reply import Message


@attrs.frozen
class Coalesce:
    """An overflow policy that keeps only the latest message of each key, in the place of the first.

    A message with a new key waits for room, as with "block".

    Args:
        key: returns the key of a message; messages with equal keys replace each other. What it
            raises reaches the sender as `MailboxFunctionFailed`.
    """

    key: Callable[[Message[object]], Hashable]


Overflow = Literal["block", "reject", "drop_newest", "drop_oldest"] | Coalesce
"""What happens to a message that finds the mailbox full (R5). "block": its sender waits for room.
"reject": its sender gets `MailboxFull`. "drop_newest": the message is dropped. "drop_oldest": the
oldest queued message is dropped; with priorities, the oldest of the least urgent ones, or the new
message if it is less urgent than all of them. `Coalesce`: whether or not there is room, the message
replaces the one with the same key. Every drop resolves its ask and is counted."""

POLICIES = ("block", "reject", "drop_newest", "drop_oldest")

Priority = Callable[[Message[object]], float]
"""Returns the priority of a message; the smallest is taken first, equal ones in their order. What
it raises reaches the sender as `MailboxFunctionFailed`."""


class Admission(enum.Enum):
    """What a mailbox does with a message that is offered."""

    ACCEPTED = "accepted"
    FULL = "full"  # the sender may wait for room
    REJECTED = "rejected"
    DROPPED = "dropped"


ACCEPTED = Admission.ACCEPTED
