"""The parts of an actor, which know each other: cell, incarnation, mailbox, reply slot and ref.

No module outside this package imports its submodules.
"""

from .actor import Actor, Handler, defers, handles, streams
from .cell import Cell
from .deadlines import check_seconds
from .inbox import Inbox, Spec
from .incarnation import Timer, Watch, is_cancellation, open_collapsing_nursery
from .instruments import (
    ActorCrash,
    ActorEvent,
    DeadLetter,
    Guarded,
    Instrument,
    LostMessage,
    MessageFailed,
    MessageHandled,
    StructlogInstrument,
)
from .keyed import Key
from .mailbox import Coalesce, MailboxStatistics, Overflow, Priority
from .node import RESTARTS, Node, Restart, States, Stopper, TreeContext, Waker
from .pool import Member, PoolInbox
from .ref import Ref
from .reply import Message, Outcome, ReplySlot, check_thread
from .snapshot import (
    ActorSnapshot,
    Ended,
    EndReason,
    InProgress,
    MessageCounts,
    RuntimeSnapshot,
    Snapshot,
    State,
    Strategy,
    SupervisorSnapshot,
)
from .stream import AskStream, StreamOf, StreamSink

__all__ = [
    "RESTARTS",
    "Actor",
    "ActorCrash",
    "ActorEvent",
    "ActorSnapshot",
    "AskStream",
    "Cell",
    "Coalesce",
    "DeadLetter",
    "EndReason",
    "Ended",
    "Guarded",
    "Handler",
    "InProgress",
    "Inbox",
    "Instrument",
    "Key",
    "LostMessage",
    "MailboxStatistics",
    "Member",
    "Message",
    "MessageCounts",
    "MessageFailed",
    "MessageHandled",
    "Node",
    "Outcome",
    "Overflow",
    "PoolInbox",
    "Priority",
    "Ref",
    "ReplySlot",
    "Restart",
    "RuntimeSnapshot",
    "Snapshot",
    "Spec",
    "State",
    "States",
    "Stopper",
    "Strategy",
    "StreamOf",
    "StreamSink",
    "StructlogInstrument",
    "SupervisorSnapshot",
    "Timer",
    "TreeContext",
    "Waker",
    "Watch",
    "check_seconds",
    "check_thread",
    "defers",
    "handles",
    "is_cancellation",
    "open_collapsing_nursery",
    "streams",
]
