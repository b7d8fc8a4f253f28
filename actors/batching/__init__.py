"""Combining requests into one call: `BatcherActor` gathers them by list or by packing (L5)."""

from ..lazy import lazy_imports

with lazy_imports(__name__):
    from .actor import BatcherActor as BatcherActor
    from .agreement import Agreements as Agreements
    from .agreement import AgreementStatistics as AgreementStatistics
    from .agreement import CheckPlan as CheckPlan
    from .combined_cost import CombinedCost as CombinedCost
    from .former import Batching as Batching
    from .lists import ListStrategy as ListStrategy
    from .packing import Packing as Packing
    from .statistics import BatchingStatistics as BatchingStatistics
    from .statistics import BatchRecord as BatchRecord
    from .statistics import ExplainBatching as ExplainBatching
    from .statistics import GetBatchingStatistics as GetBatchingStatistics
    from .strategy import BatchStrategy as BatchStrategy
