"""What processes share: limits, budgets, cached responses. One setting chooses where it is."""

from ..lazy import lazy_imports

with lazy_imports(__name__):
    from .memory import MemoryStores as MemoryStores
    from .records import MemoryRecords as MemoryRecords
    from .records import Records as Records
    from .records import RecordStore as RecordStore
    from .reports import LASTING_S as LASTING_S
    from .reports import REPORT_S as REPORT_S
    from .reports import ReportBoard as ReportBoard
    from .stores import Outage as Outage
    from .stores import SharedStores as SharedStores
    from .valkey import ValkeyStores as ValkeyStores
    from .valkey import stores_at as stores_at
