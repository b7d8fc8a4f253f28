"""Detect changes of a file while it is read: rows of two versions must not be mixed."""

import io
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, final

from .errors import InputChanged

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


_BUFFER_BYTES = 256 * 1024


@final
class SteadyFile(io.RawIOBase):
    """A file reader that raises if the file changes. Pipes are read without this check.

    Changes are detected by size and modification time. File systems record the time in steps of
    some milliseconds, so a change right after opening that keeps the size is not detected.

    Args:
        path: the path of the file.

    Raises:
        OSError: the file cannot be read.
        InputChanged: the file was changed, or was replaced by the time it ends. Bytes that were
            read after the change are not returned.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._file = io.FileIO(path)
        self._was = os.fstat(self._file.fileno())

    def buffered(self) -> BinaryIO:
        """Return a buffered reader of the file."""
        return io.BufferedReader(self, _BUFFER_BYTES)

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        """See `io.RawIOBase`."""
        size = self._file.readinto(buffer) or 0
        self.check(is_end=not size)
        return size

    def check(self, *, is_end: bool = False) -> None:
        """Check that the file has not changed.

        Args:
            is_end: True if the whole file was read; then its path is checked, too.

        Raises:
            InputChanged: the file was changed or replaced.
        """
        if not stat.S_ISREG(self._was.st_mode):
            return
        now = os.fstat(self._file.fileno())
        if (now.st_size, now.st_mtime_ns) != (self._was.st_size, self._was.st_mtime_ns):
            raise InputChanged(f"{self._path} was written to while it was read")
        if is_end and self._is_replaced():
            raise InputChanged(f"{self._path} was replaced while it was read")

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()

    def _is_replaced(self) -> bool:
        try:
            return not os.path.samestat(self._path.stat(), self._was)
        except OSError:
            return False  # it was removed after it was read to its end
