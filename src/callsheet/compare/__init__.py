"""The ways of making many calls, side by side in one run.

`compare` runs them all against a provider that it starts; `run_mode` runs one of them against a
provider that is there.
"""

from .comparison import Comparison, Disagreement, Watch, check_answers, compare
from .local_provider import ProviderNotStarted, open_provider
from .percentiles import nearest_rank
from .rehearsal import Rehearsal, RehearsedItem, rehearse
from .run import ModeResult, RunFailed, run_mode
from .ways import MODES, Mode
from .workloads import WORKLOADS, Workload, WorkloadName, make_workload

__all__ = [
    "MODES",
    "WORKLOADS",
    "Comparison",
    "Disagreement",
    "Mode",
    "ModeResult",
    "ProviderNotStarted",
    "Rehearsal",
    "RehearsedItem",
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
