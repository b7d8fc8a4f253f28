"""Bulk runs: send every request of an input file once, and write the responses to an output file.

`bulk` starts a run; see `docs/bulk.md`. Data flows one way: the reader takes rows from the input,
the archive finds the rows that have a response already, the dispatcher sends the others, and the
archive writes each result to disk before the run reports it (L7).
"""

from .bulk import bulk
from .engine.run import BulkRun
from .errors import BulkRefused, BulkStopped, RunEnding
from .files.outcome import Result
from .progress import Progress, RowEnded, RowObserver
from .row import BadRow, Row
from .settings import BulkSettings, Paths

__all__ = [
    "BadRow",
    "BulkRefused",
    "BulkRun",
    "BulkSettings",
    "BulkStopped",
    "Paths",
    "Progress",
    "Result",
    "Row",
    "RowEnded",
    "RowObserver",
    "RunEnding",
    "bulk",
]
