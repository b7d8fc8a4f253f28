"""Combining requests into one call: BatcherActor, batch former, lists and packing."""

from .actor import BatcherActor
from .former import Batching
from .lists import ListStrategy
from .packing import AgreementStatistics, Packing
from .statistics import BatchingStatistics, BatchRecord, ExplainBatching, GetBatchingStatistics
from .strategy import BatchStrategy

__all__ = [
    "AgreementStatistics",
    "BatchRecord",
    "BatchStrategy",
    "BatcherActor",
    "Batching",
    "BatchingStatistics",
    "ExplainBatching",
    "GetBatchingStatistics",
    "ListStrategy",
    "Packing",
]
