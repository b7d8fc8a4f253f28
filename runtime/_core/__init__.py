"""The parts of one actor that know each other: place, incarnation, mailbox, reply, ref."""

from .actor import Actor, Handler, defers, handles, streams
from .cell import Cell, Spec
from .incarnation import Timer, is_cancellation, open_collapsing_nursery
from .instruments import (
    ActorCrash,
    ActorEvent,
    DeadLetter,
    Guarded,
    Instrument,
    MessageFailed,
    MessageHandled,
    StructlogInstrument,
)
from .mailbox import Coalesce, MailboxStatistics, Overflow, Priority
from .node import Node, States, TreeContext, Waker
from .ref import Ref
from .reply import Message, Outcome, ReplySlot
from .snapshot import (
    ActorSnapshot,
    InProgress,
    MessageCounts,
    RuntimeSnapshot,
    Snapshot,
    State,
    SupervisorSnapshot,
)
from .states import (
    RESTARTS,
    STRATEGIES,
    LostMessage,
    Restart,
    Strategy,
    is_restarted,
    restart_group,
)
from .stream import AskStream, StreamOf, StreamSink

__all__ = [
    "RESTARTS",
    "STRATEGIES",
    "Actor",
    "ActorCrash",
    "ActorEvent",
    "ActorSnapshot",
    "AskStream",
    "Cell",
    "Coalesce",
    "DeadLetter",
    "Guarded",
    "Handler",
    "InProgress",
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
    "StructlogInstrument",
    "SupervisorSnapshot",
    "Timer",
    "TreeContext",
    "Waker",
    "defers",
    "handles",
    "is_cancellation",
    "is_restarted",
    "open_collapsing_nursery",
    "restart_group",
    "streams",
]
