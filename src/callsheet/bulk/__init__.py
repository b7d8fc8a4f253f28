"""Bulk runs: send every request of an input file once, and write the responses to an output file.

`bulk` starts a run; see `docs/bulk.md`. A run is a tree of actors, and rows walk forward only: the
reader takes them from the input, the store finds those that have a response already, the dispatcher
sends the others, the store keeps each result on disk (L7), and the writer writes OUTPUT and reports
it. `docs/architecture.md` has the way of a row on one page.
"""

from ..collecting import rare_collections
from .bulk import bulk
from .dataframe import bulk_dataframe
from .engine.run import BulkRun
from .errors import BulkRefused, BulkStopped, RunEnding
from .files.lines import Result
from .progress import Progress, RowEnded, RowObserver
from .reading.rows import RowLike
from .reading.settings import ReadSettings
from .row import BadRow, Row
from .settings import BulkSettings, Paths
from .shared.sharing import SharedRun

__all__ = [
    "BadRow",
    "BulkRefused",
    "BulkRun",
    "BulkSettings",
    "BulkStopped",
    "Paths",
    "Progress",
    "ReadSettings",
    "Result",
    "Row",
    "RowEnded",
    "RowLike",
    "RowObserver",
    "RunEnding",
    "SharedRun",
    "bulk",
    "bulk_dataframe",
    "rare_collections",
]
