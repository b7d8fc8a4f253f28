"""The one way to SQLite: files, their format, ownership and errors, threads and group commit."""

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .commit import GroupCommit, InThread, in_place, in_worker_thread
    from .database import Database, open_database
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
    from .format import DatabaseFormat
    from .process_lock import ProcessLock
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        commit="GroupCommit InThread in_place in_worker_thread",
        database="Database open_database",
        errors=(
            "DamagedFile DiskError FileInUse ForeignFile OtherVersion StorageError StorageFull "
            "StorageUnavailable"
        ),
        format="DatabaseFormat",
        process_lock="ProcessLock",
    )

__all__ = [
    "DamagedFile",
    "Database",
    "DatabaseFormat",
    "DiskError",
    "FileInUse",
    "ForeignFile",
    "GroupCommit",
    "InThread",
    "OtherVersion",
    "ProcessLock",
    "StorageError",
    "StorageFull",
    "StorageUnavailable",
    "in_place",
    "in_worker_thread",
    "open_database",
]
