"""Combining requests into one call: BatcherActor, batch former, lists and packing."""

from .actor import BatcherActor
from .former import Batching
from .lists import ListStrategy
from .members import BatcherStatistics, BatchRecord, CountGathered, ExplainSharing
from .packing import Packing, TrustStatistics
from .strategy import Strategy

__all__ = [
    "BatchRecord",
    "BatcherActor",
    "BatcherStatistics",
    "Batching",
    "CountGathered",
    "ExplainSharing",
    "ListStrategy",
    "Packing",
    "Strategy",
    "TrustStatistics",
]
