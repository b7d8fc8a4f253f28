"""The one way to SQLite: files, their format, ownership and errors, threads and group commit."""

from .commit import GroupCommit, InThread, in_place, in_worker_thread
from .database import Database, ProcessLock, open_database
from .errors import (
    DamagedFile,
    FileInUse,
    ForeignFile,
    OtherVersion,
    StorageError,
    StorageFull,
    StorageUnavailable,
)
from .format import DatabaseFormat

__all__ = [
    "DamagedFile",
    "Database",
    "DatabaseFormat",
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
