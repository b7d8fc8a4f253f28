"""Look into a running troupe: readings of its actors, calls, limits, spend and errors.

`TroupeReader` asks the stages, and `InspectorActor` serves readings on a socket of the file system.
"""

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .assembly import Answers
    from .reader import TroupeReader
    from .readings import (
        FORMAT,
        ActorReading,
        BatchesReading,
        BudgetReading,
        CacheReading,
        CallReading,
        EndpointReading,
        ErrorReading,
        LaneReading,
        LimitReading,
        ModelSpend,
        PauseReading,
        Reading,
        SharingReading,
        SpendReading,
    )
    from .records import CallRecords
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        assembly="Answers",
        reader="TroupeReader",
        readings=(
            "FORMAT ActorReading BatchesReading BudgetReading CacheReading CallReading "
            "EndpointReading ErrorReading LaneReading LimitReading ModelSpend PauseReading Reading "
            "SharingReading SpendReading"
        ),
        records="CallRecords",
    )

__all__ = [
    "FORMAT",
    "ActorReading",
    "Answers",
    "BatchesReading",
    "BudgetReading",
    "CacheReading",
    "CallReading",
    "CallRecords",
    "EndpointReading",
    "ErrorReading",
    "LaneReading",
    "LimitReading",
    "ModelSpend",
    "PauseReading",
    "Reading",
    "SharingReading",
    "SpendReading",
    "TroupeReader",
]
