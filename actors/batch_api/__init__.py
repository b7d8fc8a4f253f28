"""The Batch API stage: sends requests that can wait as batches, and keeps a journal of them."""

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
