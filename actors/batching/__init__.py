"""Sending several requests as one call: when, which, and whose answer is whose. Pure (R14).

`callsheet.actors.batcher` does it.
"""

from ..vendors import Bounds, Weight
from .former import Batch, BatchFormer, Batching, Reason
from .lists import ListStrategy
from .packing import Packing
from .shares import split_cost, split_count, split_usage
from .strategy import Strategy, common_key
from .trust import Trust, TrustStatistics, say_the_same
from .window import Window

__all__ = [
    "Batch",
    "BatchFormer",
    "Batching",
    "Bounds",
    "ListStrategy",
    "Packing",
    "Reason",
    "Strategy",
    "Trust",
    "TrustStatistics",
    "Weight",
    "Window",
    "common_key",
    "say_the_same",
    "split_cost",
    "split_count",
    "split_usage",
]
