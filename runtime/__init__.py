"""A supervised actor runtime on Trio. It knows nothing of LLMs or HTTP."""

from .actor import Actor, defers, handles, streams
from .dump import dump, format_tree
from .errors import (
    ActorCrashed,
    ActorStopped,
    AlreadyPresent,
    AlreadyRunning,
    AskFailed,
    AskTimedOut,
    ChildNotFound,
    ChildRestarting,
    Deadlock,
    Dropped,
    MailboxFull,
    RestartIntensityExceeded,
    UnhandledMessage,
    Verdict,
)
from .incarnation import Timer
from .instruments import (
    ActorCrash,
    ActorEvent,
    DeadLetter,
    Instrument,
    MessageFailed,
    MessageHandled,
    StructlogInstrument,
)
from .lost import Lost
from .mailbox import Coalesce, MailboxStatistics, Overflow, Rank
from .message import Message
from .nursery import open_collapsing_nursery
from .pool import spawn_pool
from .ref import Ref
from .reply import ReplySlot, Settlement
from .restarts import RestartPolicy
from .runtime import Runtime, open_runtime
from .shutdown import PlannedStop, ShutdownPlan, ShutdownReport, StopReport
from .snapshot import (
    ActorSnapshot,
    Doing,
    RuntimeSnapshot,
    Snapshot,
    State,
    SupervisorSnapshot,
    Tally,
)
from .strategy import Restart, Strategy
from .stream import Items, Sink, StreamOf
from .supervisor import Supervisor

__all__ = [
    "Actor",
    "ActorCrash",
    "ActorCrashed",
    "ActorEvent",
    "ActorSnapshot",
    "ActorStopped",
    "AlreadyPresent",
    "AlreadyRunning",
    "AskFailed",
    "AskTimedOut",
    "ChildNotFound",
    "ChildRestarting",
    "Coalesce",
    "DeadLetter",
    "Deadlock",
    "Doing",
    "Dropped",
    "Instrument",
    "Items",
    "Lost",
    "MailboxFull",
    "MailboxStatistics",
    "Message",
    "MessageFailed",
    "MessageHandled",
    "Overflow",
    "PlannedStop",
    "Rank",
    "Ref",
    "ReplySlot",
    "Restart",
    "RestartIntensityExceeded",
    "RestartPolicy",
    "Runtime",
    "RuntimeSnapshot",
    "Settlement",
    "ShutdownPlan",
    "ShutdownReport",
    "Sink",
    "Snapshot",
    "State",
    "StopReport",
    "Strategy",
    "StreamOf",
    "StructlogInstrument",
    "Supervisor",
    "SupervisorSnapshot",
    "Tally",
    "Timer",
    "UnhandledMessage",
    "Verdict",
    "defers",
    "dump",
    "format_tree",
    "handles",
    "open_collapsing_nursery",
    "open_runtime",
    "spawn_pool",
    "streams",
]
