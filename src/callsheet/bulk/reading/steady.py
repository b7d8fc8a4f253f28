"""Detect changes of a file while it is read: rows of two versions must not be mixed."""

import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, final

from .errors import InputChanged

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


_BUFFER_BYTES = 256 * 1024
_COMPARED_BYTES = 4096  # at each end of what a file had before it grew
_PIECE_BYTES = 1024 * 1024


@final
class SteadyFile(io.RawIOBase):
    """A file reader that raises if the file changes. Pipes are read without this check.

    A file that only grows is read to the end that it had when it was opened, if that was the end of
    a line. Changes are detected by size and modification time. File systems record the time in
    steps of some milliseconds, so a change right after opening that keeps the size is not detected.

    Args:
        path: the path of the file.

    Attributes:
        is_regular: False for a pipe or a device.

    Raises:
        OSError: the file cannot be read.
        InputChanged: the file was changed, or was replaced by the time it ends. Bytes that were
            read after the change are not returned.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._file = io.FileIO(path)
        self._was = self._seen = os.fstat(self._file.fileno())
        self.is_regular = stat.S_ISREG(self._was.st_mode)
        # The system's own files, as in /proc, are regular, have content, and a size of 0.
        self._is_sized = self.is_regular and self._was.st_size > 0
        self._ends = self._read_ends() if self._is_sized else (b"", b"")

    def buffered(self) -> BinaryIO:
        """Return a buffered reader of the file."""
        return io.BufferedReader(self, _BUFFER_BYTES)

    def pieces(self) -> Iterator[bytes]:
        """Yield a regular file from its beginning in pieces; the place of reading stays."""
        at = 0
        while piece := self._read_at(at, _PIECE_BYTES):
            at += len(piece)
            yield piece

    @property
    def has_grown(self) -> bool:
        """Whether the file was found to be longer than when it was opened."""
        return self._is_sized and self._seen.st_size > self._was.st_size

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        """See `io.RawIOBase`."""
        view = memoryview(buffer)
        if self._is_sized:
            view = view[: max(0, self._was.st_size - self._file.tell())]
        size = self._file.readinto(view) or 0 if view else 0
        self.check(is_end=not size, may_grow=True)
        return size

    def check(self, *, is_end: bool = False, may_grow: bool = False) -> None:
        """Check that the file has not changed.

        Args:
            is_end: True if the whole file was read; then its path is checked, too.
            may_grow: True if lines may have been added at its end.

        Raises:
            InputChanged: the file was changed or replaced.
        """
        if not self.is_regular:
            return
        now = os.fstat(self._file.fileno())
        if (now.st_size, now.st_mtime_ns) != (self._seen.st_size, self._seen.st_mtime_ns):
            if not (may_grow and now.st_size > self._was.st_size and self._only_grew()):
                raise InputChanged(f"{self._path} was written to while it was read")
            self._seen = now
        if is_end and self._is_replaced():
            raise InputChanged(f"{self._path} was replaced while it was read")

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()

    def _only_grew(self) -> bool:
        """Return whether what the file had is there still, as whole lines."""
        return self._is_sized and self._ends[-1].endswith(b"\n") and self._read_ends() == self._ends

    def _read_ends(self) -> tuple[bytes, bytes]:
        size = min(_COMPARED_BYTES, self._was.st_size)
        return self._read_at(0, size), self._read_at(self._was.st_size - size, size)

    def _read_at(self, place: int, size: int) -> bytes:
        here = self._file.tell()
        try:
            self._file.seek(place)
            return self._file.read(size) or b""
        finally:
            self._file.seek(here)

    def _is_replaced(self) -> bool:
        try:
            return not os.path.samestat(self._path.stat(), self._was)
        except OSError:
            return False  # it was removed after it was read to its end
