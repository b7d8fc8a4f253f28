"""OUTPUT: what it has already and is right stays, the rest is appended in whole lines."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import final

__all__ = ["OutputFile", "matching"]

_LOOK_BACK = 64 * 1024


def matching(old: bytes, lines: Sequence[bytes]) -> tuple[int, int]:
    """How many of these lines a text begins with, and how many bytes they are. Pure (R14)."""
    at = 0
    for count, line in enumerate(lines):
        if not old.startswith(line, at):
            return count, at
        at += len(line)
    return len(lines), at


@final
class OutputFile:
    """A file of lines that is brought from what it is to what it should be.

    As long as what should be there is there, nothing is written. At the first difference the file
    ends there, and goes on with what should follow. Whoever reads it meanwhile may find it short,
    but never half a line.

    All of it blocks; call it from a thread, one at a time.

    Args:
        path: of the file; made if it is not there.

    Raises:
        OSError: it cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        try:
            self._old = self._cut_torn_line()
        except BaseException:
            os.close(self._file)
            raise
        self._right = 0  # bytes, from the beginning, that are as they should be

    @property
    def is_behind(self) -> bool:
        """Whether there is more in it that may be right."""
        return self._right < self._old

    def write(self, lines: Sequence[bytes]) -> None:
        """These lines come next.

        Raises:
            OSError: they do not; the file ends with the last line before them.
        """
        if lines and self.is_behind:
            size = sum(map(len, lines))
            os.lseek(self._file, self._right, os.SEEK_SET)
            count, same = matching(_read(self._file, size), lines)
            self._right += same
            lines = lines[count:]
            if not lines:
                return
            os.ftruncate(self._file, self._right)
            self._old = self._right
        self._append(b"".join(lines))

    def finish(self) -> None:
        """Nothing follows: the file ends here, and is on the disk when this returns.

        Raises:
            OSError: it is not.
        """
        if self.is_behind:
            os.ftruncate(self._file, self._right)
            self._old = self._right
        os.fsync(self._file)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)

    def _append(self, text: bytes) -> None:
        rest = memoryview(text)
        try:
            os.lseek(self._file, self._right, os.SEEK_SET)
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError:
            os.ftruncate(self._file, self._right)
            raise
        self._right += len(text)
        self._old = self._right

    def _cut_torn_line(self) -> int:
        """A process that died may have left half a line; how long the file is without it."""
        size = end = os.fstat(self._file).st_size
        while end:
            start = max(0, end - _LOOK_BACK)
            os.lseek(self._file, start, os.SEEK_SET)
            newline = _read(self._file, end - start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        if end < size:
            os.ftruncate(self._file, end)
        return end


def _read(file: int, size: int) -> bytes:
    pieces: list[bytes] = []
    while size and (piece := os.read(file, size)):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)
