"""A file of whole lines: half a line of a process that died is cut off."""

import contextlib
import errno
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import final

if sys.platform != "win32":  # on Windows, only the store is locked
    import fcntl

_PIECE = 64 * 1024


class ChangedByOthers(OSError):
    """Another process moved, removed or changed the file."""


def new_beside(path: Path) -> Path:
    """Create an empty file that is to replace another one, under a name that no file has.

    Args:
        path: the file to replace.

    Raises:
        OSError: the file cannot be created.
    """
    number = 0
    while True:
        new = path.with_name(f"{path.name}.callsheet-new{number or ''}")
        with contextlib.suppress(FileExistsError), new.open("xb"):
            return new
        number += 1


@final
class LinesFile:
    """A file that always ends at a line end, and is used by one process at a time.

    All methods block; call them from a thread, one at a time.

    Args:
        path: the path of the file; it is created if it does not exist.
        is_quoted: True if a line end in quotes does not end a line, as in CSV.

    Raises:
        BlockingIOError: another process uses the file, possibly under another name.
        OSError: the file cannot be read or written.
    """

    def __init__(self, path: Path, *, is_quoted: bool = False) -> None:
        self._is_quoted = is_quoted
        # The target of a link, because a new file must replace the target, not the link.
        self.path = path.resolve()
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        try:
            self._lock()  # before cutting off what another process may be writing
            self.size = self._whole()
            os.ftruncate(self._file, self.size)
        except BaseException:
            os.close(self._file)
            raise

    def append(self, text: bytes) -> None:
        """Append whole lines, either all or none.

        Raises:
            OSError: nothing was appended.
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
        """Truncate the file."""
        os.ftruncate(self._file, size)
        self.size = size

    def read(self, at: int, size: int) -> bytes:
        """Read up to `size` bytes from a position."""
        os.lseek(self._file, at, os.SEEK_SET)
        pieces: list[bytes] = []
        while size and (piece := os.read(self._file, size)):
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    def lines(self) -> Iterator[bytes]:
        """Yield each line with its line end."""
        with self.path.open("rb") as lines:
            yield from records(lines) if self._is_quoted else lines

    def sync(self) -> None:
        """Flush the file and its directory entry to the disk.

        Raises:
            ChangedByOthers: the file was moved, removed or changed.
            OSError: the file could not be flushed.
        """
        os.fsync(self._file)
        _sync_folder(self.path.parent)
        if not self._is_there() or os.fstat(self._file).st_size != self.size:
            raise ChangedByOthers("another process has moved, removed or changed the file")

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def _lock(self) -> None:
        """Lock the file's inode, that is under any name, until it is closed."""
        if sys.platform == "win32":
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:
            return  # a file system without locks
        if not self._is_there():
            raise BlockingIOError(errno.EAGAIN, "another process has just replaced it")

    def _is_there(self) -> bool:
        """Return whether the path still leads to the open file."""
        try:
            return os.path.samestat(os.fstat(self._file), self.path.stat())
        except FileNotFoundError:
            return False

    def _whole(self) -> int:
        """Return the size of the file without half a line at its end."""
        if self._is_quoted:
            return sum(map(len, self.lines()))
        end = os.fstat(self._file).st_size
        while end:
            start = max(0, end - _PIECE)
            newline = self.read(start, end - start).rfind(b"\n")
            if newline >= 0:
                return start + newline + 1
            end = start
        return 0


def records(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Yield each whole record of CSV; what follows the last one is left out.

    A record ends with a line up to which the number of quotes is even.

    Args:
        lines: the lines of the file.
    """
    record = b""
    for line in lines:
        record += line
        if record.count(b'"') % 2 == 0 and line.endswith(b"\n"):
            yield record
            record = b""


def _sync_folder(folder: Path) -> None:
    """Flush the entries of a directory to the disk."""
    if sys.platform == "win32":
        return  # Windows has no such call
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that needs no flush
            raise
    finally:
        os.close(handle)
