"""Disk space that a run has in reserve, to store what was paid for when the disk is full.

The end of the file tells what the run store has; after a kill, it shows a store that lacks this.
"""

import contextlib
import errno
import os
import zlib
from pathlib import Path
from typing import BinaryIO, final

from ...actors import StorageFull, write_remedy

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
RESERVE_BYTES = 4 * 1024**2
_MARK_BYTES, _BLOCK_BYTES = 64, 1024


@final
class Reserve:
    """A file that reserves disk space.

    Args:
        path: the path of the file.
        size: its size in bytes.
    """

    def __init__(self, path: Path, size: int = RESERVE_BYTES) -> None:
        self._path = path
        self._size = size

    def take(self) -> None:
        """Reserve the space.

        Raises:
            StorageFull: there is too little room, or the file may not grow so far.
        """
        try:
            # Written rather than truncated to size: a sparse file reserves nothing.
            self._path.write_bytes(os.urandom(_BLOCK_BYTES) * (self._size // _BLOCK_BYTES))
        except OSError as error:
            self.give_back()
            if error.errno not in _FULL:
                raise
            size = f"{self._size // 1024:,} KiB"
            raise StorageFull(
                self._path.name,
                f"no {size} can be reserved to store what is paid for when the disk is full "
                f"({error.strerror})",
                f"make room for {size}, or give another OUTPUT"
                if error.errno == errno.ENOSPC
                else write_remedy(error),
            ) from None

    def is_like(self, file: BinaryIO) -> bool:
        """Return whether an open file has the content of a reserve: one block again and again.

        Args:
            file: the file to look at.
        """
        first, second = file.read(_BLOCK_BYTES), file.read(_BLOCK_BYTES)
        return first == second and file.seek(0, os.SEEK_END) <= self._size

    def give_back(self) -> bool:
        """Release the space; return whether any was reserved."""
        with contextlib.suppress(OSError):
            self._path.unlink()
            return True
        return False

    def mark(self, text: str) -> None:
        """Note a text at the end of the space, in place of the one before.

        It need not be on disk: after a power cut, an earlier one is true as well.

        Args:
            text: up to 50 ASCII characters on one line.
        """
        line = f"{text} {zlib.crc32(text.encode()):08x}".ljust(_MARK_BYTES - 1) + "\n"
        with contextlib.suppress(OSError), self._path.open("r+b") as file:
            file.seek(self._size - _MARK_BYTES)
            file.write(line.encode())

    def read_mark(self) -> str:
        """Return the text that a process has left; "" if there is none."""
        with contextlib.suppress(OSError, UnicodeError, ValueError), self._path.open("rb") as file:
            file.seek(self._size - _MARK_BYTES)
            text, crc = file.read(_MARK_BYTES).decode("ascii").rstrip().rsplit(" ", 1)
            if int(crc, 16) == zlib.crc32(text.encode()):
                return text
        return ""
