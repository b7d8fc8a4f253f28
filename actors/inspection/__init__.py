"""Look into a running troupe: readings of its actors, calls, limits, spend and errors.

`TroupeReader` asks the stages, and `InspectorActor` serves readings on a socket of the file system.
"""

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .actor import Inspection, InspectorActor
    from .assembly import Answers
    from .lines import (
        InspectedProgram,
        UnreadableLine,
        read_program,
        read_reading,
        to_line,
    )
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
    from .socket_file import InspectionUnavailable
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        actor="Inspection InspectorActor",
        lines="InspectedProgram UnreadableLine read_program read_reading to_line",
        assembly="Answers",
        reader="TroupeReader",
        readings=(
            "FORMAT ActorReading BatchesReading BudgetReading CacheReading CallReading "
            "EndpointReading ErrorReading LaneReading LimitReading ModelSpend PauseReading Reading "
            "SharingReading SpendReading"
        ),
        records="CallRecords",
        socket_file="InspectionUnavailable",
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
    "InspectedProgram",
    "Inspection",
    "InspectionUnavailable",
    "InspectorActor",
    "LaneReading",
    "LimitReading",
    "ModelSpend",
    "PauseReading",
    "Reading",
    "SharingReading",
    "SpendReading",
    "TroupeReader",
    "UnreadableLine",
    "read_program",
    "read_reading",
    "to_line",
]
