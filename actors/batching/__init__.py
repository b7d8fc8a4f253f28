"""Combining requests into one call: `BatcherActor` gathers them by list or by packing (L5)."""

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .actor import BatcherActor
    from .agreement import Agreements, AgreementStatistics, CheckPlan
    from .combined_cost import CombinedCost
    from .former import Batching
    from .lists import ListStrategy
    from .packing import Packing
    from .statistics import BatchingStatistics, BatchRecord, ExplainBatching, GetBatchingStatistics
    from .strategy import BatchStrategy
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        actor="BatcherActor",
        agreement="Agreements AgreementStatistics CheckPlan",
        combined_cost="CombinedCost",
        former="Batching",
        lists="ListStrategy",
        packing="Packing",
        statistics="BatchingStatistics BatchRecord ExplainBatching GetBatchingStatistics",
        strategy="BatchStrategy",
    )

__all__ = [
    "AgreementStatistics",
    "Agreements",
    "BatchRecord",
    "BatchStrategy",
    "BatcherActor",
    "Batching",
    "BatchingStatistics",
    "CheckPlan",
    "CombinedCost",
    "ExplainBatching",
    "GetBatchingStatistics",
    "ListStrategy",
    "Packing",
]
