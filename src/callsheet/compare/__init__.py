"""Compare modes of running the same workload: sequential, staged, fixed window, and Callsheet.

`compare` starts the built-in provider and runs every mode against it. `run_mode` runs one mode
against a provider that is already running.
"""

from .comparison import (
    AnswerMismatch,
    Comparison,
    ProgressCallback,
    ProviderNotStarted,
    check_answers,
    compare,
    open_provider,
)
from .lower_bound import ItemLowerBound, LowerBound, compute_lower_bound
from .modes import MODES, Mode
from .run import ModeResult, RunFailed, nearest_rank, run_mode
from .workloads import WORKLOADS, Workload, WorkloadName, make_workload

__all__ = [
    "MODES",
    "WORKLOADS",
    "AnswerMismatch",
    "Comparison",
    "ItemLowerBound",
    "LowerBound",
    "Mode",
    "ModeResult",
    "ProgressCallback",
    "ProviderNotStarted",
    "RunFailed",
    "Workload",
    "WorkloadName",
    "check_answers",
    "compare",
    "compute_lower_bound",
    "make_workload",
    "nearest_rank",
    "open_provider",
    "run_mode",
]
