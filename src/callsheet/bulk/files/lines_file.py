"""A file of whole lines: what a process that died has left half is cut off, nothing is torn."""

import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import final

__all__ = [
    "ChangedByOthers",
    "LinesFile",
]


if sys.platform != "win32":  # there, the store's own lock has to do
    import fcntl

_PIECE = 64 * 1024


class ChangedByOthers(OSError):
    """Somebody else has moved, removed or changed a file meanwhile."""


@final
class LinesFile:
    """A file that ends with the end of a line, whatever happens, and is one process's at a time.

    All of it blocks; call it from a thread, one at a time.

    Args:
        path: of the file; made if it is not there.

    Raises:
        BlockingIOError: somebody else has it, maybe by another name.
        OSError: it cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        # What a link leads to: whatever takes the file's place must not take the link's.
        self.path = path.resolve()
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        try:
            self._lock()  # before anything is cut off that another process is just writing
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
        """It is on the disk when this returns, and so is its name.

        Raises:
            Meddled: it is not there, or not as it was written.
            OSError: it is not on the disk.
        """
        os.fsync(self._file)
        _sync_folder(self.path.parent)
        if not self._is_there() or os.fstat(self._file).st_size != self.size:
            raise ChangedByOthers("somebody else has moved, removed or changed it meanwhile")

    def close(self) -> None:
        """Let go of it."""
        os.close(self._file)

    def _lock(self) -> None:
        """It is this process's until it is closed: the inode, so by any name."""
        if sys.platform == "win32":
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:
            return  # a file system without locks
        if not self._is_there():
            raise BlockingIOError(errno.EAGAIN, "somebody else has just replaced it")

    def _is_there(self) -> bool:
        """Whether its name still leads to it."""
        try:
            return os.path.samestat(os.fstat(self._file), self.path.stat())
        except FileNotFoundError:
            return False

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


def _sync_folder(folder: Path) -> None:
    """Names of files in it are on the disk when this returns."""
    if sys.platform == "win32":
        return  # it has no such call
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that does this by itself
            raise
    finally:
        os.close(handle)
