"""How a process that has a ledger open is known to be there."""

import contextlib
import sqlite3
from pathlib import Path

__all__ = ["forget", "hold", "is_held"]


def hold(path: Path, run: int) -> sqlite3.Connection:
    """Take a run's lock: an exclusive transaction on a file beside the ledger.

    The system lets go of it when the process ends, however it ends, and SQLite can hold it on
    every system.

    Raises:
        sqlite3.OperationalError: somebody has it.
    """
    lock = sqlite3.connect(
        _lock_path(path, run), timeout=0, isolation_level=None, check_same_thread=False
    )
    try:
        lock.execute("BEGIN EXCLUSIVE")
    except BaseException:
        lock.close()
        raise
    return lock


def is_held(path: Path, run: int) -> bool:
    """Whether the run's process is there."""
    try:
        hold(path, run).close()
    except sqlite3.OperationalError:
        return True
    return False


def forget(path: Path, run: int) -> None:
    """The run has ended: its lock is needed no more."""
    with contextlib.suppress(OSError):
        _lock_path(path, run).unlink(missing_ok=True)


def _lock_path(path: Path, run: int) -> Path:
    return path.with_name(f"{path.name}.run-{run}")
