"""The Batch API stage: BatchApiActor, the life of a batch, and its journal."""

from .actor import BatchApiActor, BatchApiStatistics, GetBatchApiStatistics, KeptAnswers
from .journal import lines_in
from .policy import BatchApiPolicy

__all__ = [
    "BatchApiActor",
    "BatchApiPolicy",
    "BatchApiStatistics",
    "GetBatchApiStatistics",
    "KeptAnswers",
    "lines_in",
]
