"""A file of requests, and a file of answers: every row once, whatever happens in between.

`bulk` opens a run; see `docs/bulk.md`. Data flows one way: rows are taken from the input, the
archive sorts out those with an answer, the line asks for the others, and the archive keeps what
came of them before anybody is told (L7).
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
