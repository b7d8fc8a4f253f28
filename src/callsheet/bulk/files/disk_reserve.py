"""Room on the disk that is given back when there is no other: for what is paid for already."""

import contextlib
import os
from pathlib import Path
from typing import final

__all__ = [
    "Reserve",
]


@final
class Reserve:
    """A file of nothing.

    Args:
        path: of the file.
        size: of it, in bytes.
    """

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self._size = size

    def take(self) -> None:
        """Take the room, if there is so much; else there is none to give back."""
        try:
            # Written, not merely set long: a hole in a file takes no room.
            self._path.write_bytes(os.urandom(1024) * (self._size // 1024))
        except OSError:
            self.give_back()

    def give_back(self) -> bool:
        """Give the room back; whether there was any."""
        with contextlib.suppress(OSError):
            self._path.unlink()
            return True
        return False
