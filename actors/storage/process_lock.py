"""A lock between processes."""

from pathlib import Path
from typing import final

from .errors import DamagedFile, FileInUse, StorageUnavailable
from .format import DAMAGE, connect, error_name


@final
class ProcessLock:
    """A lock that a process holds until it releases it or ends, however it ends.

    It is an exclusive SQLite transaction on a file of its own, which works on every system.

    Args:
        path: the file of the lock; it is created if it does not exist.

    Raises:
        DamagedFile: the file has contents, which a lock never has.
        FileInUse: another process, or another `ProcessLock` of this one, holds the lock.
        StorageUnavailable: the file cannot be created or locked.
    """

    def __init__(self, path: Path) -> None:
        import sqlite3  # noqa: PLC0415  # see above

        name = f"the lock {path}"
        try:
            path.touch(mode=0o600)  # does not open a file that exists, see `check_header`
            self._connection = connect(path, "mode=rw")
        except (OSError, sqlite3.Error) as error:
            raise StorageUnavailable(name, str(error)) from error
        try:
            self._connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.Error as error:
            self._connection.close()
            if error_name(error) in DAMAGE:  # SQLite reads the file only if it is not locked
                raise DamagedFile(name, "the file is not empty") from error
            raise FileInUse(name, "another process has locked it") from error

    @staticmethod
    def is_held(path: Path) -> bool:
        """Return whether a running process holds the lock."""
        if not path.exists():
            return False
        try:
            ProcessLock(path).release()
        except FileInUse:
            return True
        except DamagedFile:
            pass  # no process holds it
        return False

    def release(self) -> None:
        """Release the lock; the file stays. Releasing twice is harmless."""
        self._connection.close()
