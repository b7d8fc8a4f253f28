"""The turns of one process's threads at a file that they all write.

SQLite lets a connection that waits for another one sleep, up to 0.1 s at a time, while others go
first. Threads of one process can wait for each other without sleeping.
"""

from pathlib import Path
from threading import Lock
from typing import final
from weakref import WeakValueDictionary

_guard = Lock()
_locks: WeakValueDictionary[Path, Lock] = WeakValueDictionary()  # {file: its lock}


@final
class FileTurn:
    """One connection's turn at a file. Other processes do not count: SQLite locks those out.

    Args:
        path: the file to write.
        wait_s: seconds after which a turn is taken without the others having ended theirs.
    """

    def __init__(self, path: Path, wait_s: float) -> None:
        key = path.resolve()
        with _guard:
            lock = _locks.get(key)
            if lock is None:
                lock = _locks[key] = Lock()
        self._lock = lock
        self._wait_s = wait_s
        self._is_taken = False

    def take(self) -> None:
        """Wait until no other thread has its turn."""
        if not self._is_taken:
            self._is_taken = self._lock.acquire(timeout=self._wait_s)

    def end(self) -> None:
        """End the turn; harmless if it was not taken."""
        if self._is_taken:
            self._is_taken = False
            self._lock.release()
