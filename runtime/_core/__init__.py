"""The parts of an actor, which know each other: cell, incarnation, mailbox, reply slot and ref.

No module outside this package imports its submodules.
"""

from .actor import Actor
from .cell import Cell
from .checks import check_seconds, check_size, check_thread, check_trio, is_count
from .child_group import ChildGroup
from .handlers import Handler, defers, handles, streams
from .inbox import Inbox, Spec
from .instruments import (
    ActorCrash,
    ActorEvent,
    Guarded,
    Instrument,
    LostMessage,
    MessageBegun,
    MessageDone,
    MessageOutcome,
    MessageSent,
    StructlogInstrument,
)
from .keyed import KeyFunction
from .log import Logger, get_logger
from .node import (
    RESTARTS,
    Node,
    Restart,
    RestartPolicy,
    States,
    Stopper,
    TreeContext,
    Waker,
)
from .nurseries import is_cancellation, open_collapsing_nursery
from .pool import Member, PoolInbox, PoolRef
from .queues import Coalesce, Overflow, Priority
from .ref import AnyRef, Askable, Ref, Streamable, cell_of
from .reply import Message, ReplySlot
from .snapshot import (
    STOP_ORDERS,
    STRATEGIES,
    ActorSnapshot,
    CrashSnapshot,
    Ended,
    EndReason,
    InProgress,
    MailboxStatistics,
    MessageCounts,
    Outcome,
    RuntimeSnapshot,
    Snapshot,
    State,
    StopOrder,
    Strategy,
    SupervisorSnapshot,
)
from .stream import AskStream, StreamOf, StreamSink
from .supervisor import Supervisor, SupervisorPlace, SupervisorSpec
from .timers import Timer, Watch
from .tracing import on_behalf_of
from .worker import Worker, waiting

__all__ = [
    "RESTARTS",
    "STOP_ORDERS",
    "STRATEGIES",
    "Actor",
    "ActorCrash",
    "ActorEvent",
    "ActorSnapshot",
    "AnyRef",
    "AskStream",
    "Askable",
    "Cell",
    "ChildGroup",
    "Coalesce",
    "CrashSnapshot",
    "EndReason",
    "Ended",
    "Guarded",
    "Handler",
    "InProgress",
    "Inbox",
    "Instrument",
    "KeyFunction",
    "Logger",
    "LostMessage",
    "MailboxStatistics",
    "Member",
    "Message",
    "MessageBegun",
    "MessageCounts",
    "MessageDone",
    "MessageOutcome",
    "MessageSent",
    "Node",
    "Outcome",
    "Overflow",
    "PoolInbox",
    "PoolRef",
    "Priority",
    "Ref",
    "ReplySlot",
    "Restart",
    "RestartPolicy",
    "RuntimeSnapshot",
    "Snapshot",
    "Spec",
    "State",
    "States",
    "StopOrder",
    "Stopper",
    "Strategy",
    "StreamOf",
    "StreamSink",
    "Streamable",
    "StructlogInstrument",
    "Supervisor",
    "SupervisorPlace",
    "SupervisorSnapshot",
    "SupervisorSpec",
    "Timer",
    "TreeContext",
    "Waker",
    "Watch",
    "Worker",
    "cell_of",
    "check_seconds",
    "check_size",
    "check_thread",
    "check_trio",
    "defers",
    "get_logger",
    "handles",
    "is_cancellation",
    "is_count",
    "on_behalf_of",
    "open_collapsing_nursery",
    "streams",
    "waiting",
]
