"""Reserve disk space, and release it when the disk is full, to store what was paid for."""

import contextlib
import os
from pathlib import Path
from typing import final


@final
class Reserve:
    """A file that reserves disk space.

    Args:
        path: the path of the file.
        size: its size in bytes.
    """

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self._size = size

    def take(self) -> None:
        """Reserve the space if there is enough; otherwise reserve nothing."""
        try:
            # Written rather than truncated to size: a sparse file reserves nothing.
            self._path.write_bytes(os.urandom(1024) * (self._size // 1024))
        except OSError:
            self.give_back()

    def give_back(self) -> bool:
        """Release the space; return whether any was reserved."""
        with contextlib.suppress(OSError):
            self._path.unlink()
            return True
        return False
