"""Sees that a file is what it was when it was opened: rows of a mixture of two are nobody's."""

import io
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, final

from .errors import InputChanged

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["SteadyFile"]

_BUFFER_BYTES = 256 * 1024


@final
class SteadyFile(io.RawIOBase):
    """The bytes of a file, as long as nobody writes into it. Of a pipe, whatever comes.

    A change is seen by size and time of modification, which file systems keep to some milliseconds:
    one of the same size, so soon after the opening, is not.

    Args:
        path: of the file.

    Raises:
        OSError: it cannot be read.
        InputChanged: it has changed, or another file has taken its place by the time it ends. Bytes
            that were read after that are not given out.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._file = io.FileIO(path)
        self._was = os.fstat(self._file.fileno())

    def buffered(self) -> BinaryIO:
        """It, read in larger pieces."""
        return io.BufferedReader(self, _BUFFER_BYTES)

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        """See `io.RawIOBase`."""
        size = self._file.readinto(buffer) or 0
        self.check(is_end=not size)
        return size

    def check(self, *, is_end: bool = False) -> None:
        """See that nothing has changed.

        Args:
            is_end: all of it was read; so see as well that the path is still its own.

        Raises:
            InputChanged: something has.
        """
        if not stat.S_ISREG(self._was.st_mode):
            return
        now = os.fstat(self._file.fileno())
        if (now.st_size, now.st_mtime_ns) != (self._was.st_size, self._was.st_mtime_ns):
            raise InputChanged(f"{self._path} was written to while it was read")
        if is_end and self._is_replaced():
            raise InputChanged(f"{self._path} was replaced while it was read")

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()
        super().close()

    def _is_replaced(self) -> bool:
        try:
            return not os.path.samestat(self._path.stat(), self._was)
        except OSError:
            return False  # it is gone, and was read to its end
