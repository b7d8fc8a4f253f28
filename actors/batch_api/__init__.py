"""The Batch API stage: BatchApiActor, the life of a batch, and its journal."""

from .actor import BatchApiActor, BatchStatistics, CountBatches, KeptAnswers
from .journal import lines_in
from .policy import BatchApiPolicy

__all__ = [
    "BatchApiActor",
    "BatchApiPolicy",
    "BatchStatistics",
    "CountBatches",
    "KeptAnswers",
    "lines_in",
]
