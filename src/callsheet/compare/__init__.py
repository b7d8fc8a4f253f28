"""The ways of making many calls, side by side in one run.

`compare` runs them all against a provider that it starts; `run_mode` runs one of them against a
provider that is there.
"""

from .comparison import (
    Comparison,
    Disagreement,
    ProviderNotStarted,
    Watch,
    check_answers,
    compare,
    open_provider,
)
from .lower_bound import ItemLowerBound, LowerBound, rehearse
from .run import ModeResult, RunFailed, nearest_rank, run_mode
from .ways import MODES, Mode
from .workloads import WORKLOADS, Workload, WorkloadName, make_workload

__all__ = [
    "MODES",
    "WORKLOADS",
    "Comparison",
    "Disagreement",
    "ItemLowerBound",
    "LowerBound",
    "Mode",
    "ModeResult",
    "ProviderNotStarted",
    "RunFailed",
    "Watch",
    "Workload",
    "WorkloadName",
    "check_answers",
    "compare",
    "make_workload",
    "nearest_rank",
    "open_provider",
    "rehearse",
    "run_mode",
]
