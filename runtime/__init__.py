"""A supervised actor runtime on Trio. It knows nothing of LLMs or HTTP."""

from .actor import Actor, defers, handles
from .cell import Timer
from .errors import (
    ActorCrashed,
    ActorStopped,
    AskFailed,
    AskTimedOut,
    MailboxFull,
    NameTaken,
    RestartIntensityExceeded,
    UnhandledMessage,
    Verdict,
)
from .mailbox import MailboxStatistics
from .message import Message
from .nursery import open_collapsing_nursery
from .ref import Ref
from .reply import ReplySlot, Settlement
from .restarts import RestartPolicy
from .runtime import Runtime, open_runtime
from .snapshot import ActorSnapshot, CellState, Doing, RuntimeSnapshot, Tally

__all__ = [
    "Actor",
    "ActorCrashed",
    "ActorSnapshot",
    "ActorStopped",
    "AskFailed",
    "AskTimedOut",
    "CellState",
    "Doing",
    "MailboxFull",
    "MailboxStatistics",
    "Message",
    "NameTaken",
    "Ref",
    "ReplySlot",
    "RestartIntensityExceeded",
    "RestartPolicy",
    "Runtime",
    "RuntimeSnapshot",
    "Settlement",
    "Tally",
    "Timer",
    "UnhandledMessage",
    "Verdict",
    "defers",
    "handles",
    "open_collapsing_nursery",
    "open_runtime",
]
