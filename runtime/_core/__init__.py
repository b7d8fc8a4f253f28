"""The parts of an actor, which know each other: cell, incarnation, mailbox, reply slot and ref.

No module outside this package imports its submodules.
"""

from .actor import Actor
from .cell import Cell
from .deadlines import check_seconds
from .handlers import Handler, defers, handles, streams
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
from .mailbox import Coalesce, MailboxStatistics, Overflow, Priority
from .node import RESTARTS, Node, Restart, States, TreeContext, Waker
from .ref import AnyRef, Askable, Ref, Streamable
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
    "AnyRef",
    "AskStream",
    "Askable",
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
    "LostMessage",
    "MailboxStatistics",
    "Message",
    "MessageCounts",
    "MessageFailed",
    "MessageHandled",
    "Node",
    "Outcome",
    "Overflow",
    "Priority",
    "Ref",
    "ReplySlot",
    "Restart",
    "RuntimeSnapshot",
    "Snapshot",
    "Spec",
    "State",
    "States",
    "Strategy",
    "StreamOf",
    "StreamSink",
    "Streamable",
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
