"""Batch APIs: what they say, when a batch goes, how it fares, and what is remembered of it.

All of it is pure but the journal's file. `callsheet.actors.batch_api` has the actor.
"""

from ..identity import content_key
from ..vendors import (
    ANTHROPIC_BATCHES,
    DIALECTS,
    OPENAI_BATCHES,
    TOGETHER_BATCHES,
    AnthropicBatches,
    BatchDialect,
    BatchView,
    ControlCall,
    LineError,
    LineResult,
    OpenAIBatches,
    Page,
    dialect_named,
)
from .job import Ending, Job, Phase, Step, Told
from .plan import Bounds, Gathered, Plan, Pool, Size
from .policy import BatchApiPolicy
from .splitting import LineSplitter, LineTooLong
from .store import JournalInUse, Known, Store, Unclaimed, lines_in

__all__ = [
    "ANTHROPIC_BATCHES",
    "DIALECTS",
    "OPENAI_BATCHES",
    "TOGETHER_BATCHES",
    "AnthropicBatches",
    "BatchApiPolicy",
    "BatchDialect",
    "BatchView",
    "Bounds",
    "ControlCall",
    "Ending",
    "Gathered",
    "Job",
    "JournalInUse",
    "Known",
    "LineError",
    "LineResult",
    "LineSplitter",
    "LineTooLong",
    "OpenAIBatches",
    "Page",
    "Phase",
    "Plan",
    "Pool",
    "Size",
    "Step",
    "Store",
    "Told",
    "Unclaimed",
    "content_key",
    "dialect_named",
    "lines_in",
]
