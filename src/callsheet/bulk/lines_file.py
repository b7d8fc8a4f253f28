"""A file of whole lines: what a process that died has left half is cut off, nothing is torn."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import final

__all__ = ["LinesFile"]

_PIECE = 64 * 1024


@final
class LinesFile:
    """A file that ends with the end of a line, whatever happens.

    All of it blocks; call it from a thread, one at a time.

    Args:
        path: of the file; made if it is not there.

    Raises:
        OSError: it cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        try:
            self.size = self._whole()
            os.ftruncate(self._file, self.size)
        except BaseException:
            os.close(self._file)
            raise

    def append(self, text: bytes) -> None:
        """Whole lines, all of them or none.

        Raises:
            OSError: none of them.
        """
        rest = memoryview(text)
        try:
            os.lseek(self._file, self.size, os.SEEK_SET)
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError:
            os.ftruncate(self._file, self.size)
            raise
        self.size += len(text)

    def cut(self, size: int) -> None:
        """It is so long, and no longer."""
        os.ftruncate(self._file, size)
        self.size = size

    def read(self, at: int, size: int) -> bytes:
        """So many bytes of it, or as many as there are."""
        os.lseek(self._file, at, os.SEEK_SET)
        pieces: list[bytes] = []
        while size and (piece := os.read(self._file, size)):
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    def lines(self) -> Iterator[bytes]:
        """Each of them, with its end."""
        with self.path.open("rb") as lines:
            yield from lines

    def sync(self) -> None:
        """It is on the disk when this returns."""
        os.fsync(self._file)

    def close(self) -> None:
        """Let go of it."""
        os.close(self._file)

    def _whole(self) -> int:
        """How long it is without half a line at its end."""
        end = os.fstat(self._file).st_size
        while end:
            start = max(0, end - _PIECE)
            newline = self.read(start, end - start).rfind(b"\n")
            if newline >= 0:
                return start + newline + 1
            end = start
        return 0
