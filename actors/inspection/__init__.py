"""Look into a running troupe: readings of its actors, calls, limits, spend and errors.

`TroupeReader` asks the stages, and `InspectorActor` serves readings on a socket of the file system.
"""

from ..lazy import lazy_imports

with lazy_imports(__name__):
    from .actor import Inspection as Inspection
    from .actor import InspectorActor as InspectorActor
    from .assembly import Answers as Answers
    from .combining import combined_reading as combined_reading
    from .lines import InspectedProgram as InspectedProgram
    from .lines import UnreadableLine as UnreadableLine
    from .lines import read_program as read_program
    from .lines import read_reading as read_reading
    from .lines import this_program as this_program
    from .lines import to_line as to_line
    from .publishing import ProgramReport as ProgramReport
    from .publishing import Publication as Publication
    from .publishing import PublishingActor as PublishingActor
    from .publishing import read_report as read_report
    from .publishing import shortened as shortened
    from .publishing import to_report as to_report
    from .reader import TroupeReader as TroupeReader
    from .readings import FORMAT as FORMAT
    from .readings import ActorReading as ActorReading
    from .readings import BatchesReading as BatchesReading
    from .readings import BudgetReading as BudgetReading
    from .readings import CacheReading as CacheReading
    from .readings import CallReading as CallReading
    from .readings import EndpointReading as EndpointReading
    from .readings import ErrorReading as ErrorReading
    from .readings import LaneReading as LaneReading
    from .readings import LimitReading as LimitReading
    from .readings import ModelSpend as ModelSpend
    from .readings import PauseReading as PauseReading
    from .readings import Reading as Reading
    from .readings import RunReading as RunReading
    from .readings import SharingReading as SharingReading
    from .readings import SpendReading as SpendReading
    from .readings import WorkerReading as WorkerReading
    from .records import CallRecords as CallRecords
    from .records import shown as shown
    from .socket_file import InspectionUnavailable as InspectionUnavailable
    from .socket_file import check_inspection as check_inspection
