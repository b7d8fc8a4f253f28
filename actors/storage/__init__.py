"""The one way to SQLite: files, their format, ownership and errors, threads and group commit."""

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .commit import GroupCommit, InThread, in_place, in_worker_thread
    from .database import Database
    from .errors import (
        DamagedFile,
        DiskError,
        FileInUse,
        ForeignFile,
        OtherVersion,
        StorageError,
        StorageFull,
        StorageUnavailable,
    )
    from .format import DatabaseFormat, FormatUpgrade
    from .opening import open_database
    from .process_lock import ProcessLock
    from .remedies import read_remedy, why_not_read, why_not_written, write_remedy
    from .write_ahead_log import beside, log_of
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        commit="GroupCommit InThread in_place in_worker_thread",
        database="Database",
        errors=(
            "DamagedFile DiskError FileInUse ForeignFile OtherVersion StorageError StorageFull "
            "StorageUnavailable"
        ),
        format="DatabaseFormat FormatUpgrade",
        opening="open_database",
        process_lock="ProcessLock",
        remedies="read_remedy why_not_read why_not_written write_remedy",
        write_ahead_log="beside log_of",
    )

__all__ = [
    "DamagedFile",
    "Database",
    "DatabaseFormat",
    "DiskError",
    "FileInUse",
    "ForeignFile",
    "FormatUpgrade",
    "GroupCommit",
    "InThread",
    "OtherVersion",
    "ProcessLock",
    "StorageError",
    "StorageFull",
    "StorageUnavailable",
    "beside",
    "in_place",
    "in_worker_thread",
    "log_of",
    "open_database",
    "read_remedy",
    "why_not_read",
    "why_not_written",
    "write_remedy",
]
