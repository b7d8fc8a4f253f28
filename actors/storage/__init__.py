"""The one way to SQLite: files, their format, ownership and errors, threads and group commit."""

from ..lazy import lazy_imports

with lazy_imports(__name__):
    from .commit import GroupCommit as GroupCommit
    from .commit import InThread as InThread
    from .commit import in_place as in_place
    from .commit import in_worker_thread as in_worker_thread
    from .database import Database as Database
    from .errors import DamagedFile as DamagedFile
    from .errors import DiskError as DiskError
    from .errors import FileInUse as FileInUse
    from .errors import ForeignFile as ForeignFile
    from .errors import OtherVersion as OtherVersion
    from .errors import StorageError as StorageError
    from .errors import StorageFull as StorageFull
    from .errors import StorageUnavailable as StorageUnavailable
    from .file_turns import FileTurn as FileTurn
    from .format import DatabaseFormat as DatabaseFormat
    from .format import FormatUpgrade as FormatUpgrade
    from .opening import check_writable as check_writable
    from .opening import exists as exists
    from .opening import open_database as open_database
    from .process_lock import ProcessLock as ProcessLock
    from .remedies import read_remedy as read_remedy
    from .remedies import why_not_read as why_not_read
    from .remedies import why_not_written as why_not_written
    from .remedies import write_remedy as write_remedy
    from .write_ahead_log import beside as beside
    from .write_ahead_log import log_of as log_of
