"""The Batch API stage: BatchApiActor, the life of a batch, and its journal."""

from .actor import AcknowledgeResponses, BatchApiActor, BatchApiStatistics, GetBatchApiStatistics
from .journal import lines_in
from .policy import BatchApiPolicy

__all__ = [
    "AcknowledgeResponses",
    "BatchApiActor",
    "BatchApiPolicy",
    "BatchApiStatistics",
    "GetBatchApiStatistics",
    "lines_in",
]
