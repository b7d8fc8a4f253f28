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
from .mailbox import Coalesce, MailboxStatistics, Overflow, Rank
from .node import Node, Rouser, Shared, States
from .ref import Ref
from .reply import Message, ReplySlot, Settlement
from .snapshot import (
    ActorSnapshot,
    Doing,
    RuntimeSnapshot,
    Snapshot,
    State,
    SupervisorSnapshot,
    Tally,
)
from .states import RESTARTS, STRATEGIES, Lost, Restart, Strategy, is_restarted, restart_group
from .stream import Items, Sink, StreamOf

__all__ = [
    "RESTARTS",
    "STRATEGIES",
    "Actor",
    "ActorCrash",
    "ActorEvent",
    "ActorSnapshot",
    "Cell",
    "Coalesce",
    "DeadLetter",
    "Doing",
    "Guarded",
    "Handler",
    "Instrument",
    "Items",
    "Lost",
    "MailboxStatistics",
    "Message",
    "MessageFailed",
    "MessageHandled",
    "Node",
    "Overflow",
    "Rank",
    "Ref",
    "ReplySlot",
    "Restart",
    "Rouser",
    "RuntimeSnapshot",
    "Settlement",
    "Shared",
    "Sink",
    "Snapshot",
    "Spec",
    "State",
    "States",
    "Strategy",
    "StreamOf",
    "StructlogInstrument",
    "SupervisorSnapshot",
    "Tally",
    "Timer",
    "defers",
    "handles",
    "is_cancellation",
    "is_restarted",
    "open_collapsing_nursery",
    "restart_group",
    "streams",
]
