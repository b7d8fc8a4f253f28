"""OUTPUT: what it has already and is right stays, and the rest is appended."""

import hashlib
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, final

from .lines_file import LinesFile

__all__ = ["OrderedOutput", "Output", "UnorderedOutput", "matching"]


class Output(Protocol):
    """A file that is brought from what it is to what it should be.

    Whoever reads it meanwhile may find it short, but never half a line. All of it blocks, and may
    raise `OSError`; then the file has whole lines, and not all of them.
    """

    def write(self, lines: Sequence[bytes]) -> None:
        """These lines should be there as well; in ordered files, they come next."""
        ...

    def finish(self) -> None:
        """Nothing else should be there. It is on the disk when this returns."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


def matching(old: bytes, lines: Sequence[bytes]) -> tuple[int, int]:
    """How many of these lines a text begins with, and how many bytes they are. Pure (R14)."""
    at = 0
    for count, line in enumerate(lines):
        if not old.startswith(line, at):
            return count, at
        at += len(line)
    return len(lines), at


@final
class OrderedOutput:
    """Lines in the order in which they are written (see `Output`).

    As long as what should be there is there, nothing is written. At the first difference the file
    is cut, and goes on with what should follow.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._file = LinesFile(path)
        self._right = 0  # bytes, from the beginning, that are as they should be

    def write(self, lines: Sequence[bytes]) -> None:
        """See `Output`."""
        if self._right < self._file.size and lines:
            count, same = matching(self._file.read(self._right, sum(map(len, lines))), lines)
            self._right += same
            lines = lines[count:]
            if lines:
                self._file.cut(self._right)
        if lines:
            self._file.append(b"".join(lines))
            self._right = self._file.size

    def finish(self) -> None:
        """See `Output`."""
        if self._right < self._file.size:
            self._file.cut(self._right)
        self._file.sync()

    def close(self) -> None:
        """See `Output`."""
        self._file.close()


@final
class UnorderedOutput:
    """Lines in any order, each once (see `Output`).

    What is there from earlier runs stays where it is. Digests of it are kept in a temporary file,
    so that its size does not matter. What should not be there goes at the end, by a new file that
    takes the place of the old one.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._file = LinesFile(path)
        self._old: sqlite3.Connection | None = None
        if not self._file.size:
            return
        self._old = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._old.execute("PRAGMA journal_mode = OFF")
        self._old.execute("CREATE TABLE old (line BLOB, PRIMARY KEY (line)) WITHOUT ROWID")
        self._old.execute("BEGIN")
        self._old.executemany(
            "INSERT OR IGNORE INTO old VALUES (?)",
            ((_digest(line),) for line in self._file.lines()),
        )
        self._old.execute("COMMIT")

    def write(self, lines: Sequence[bytes]) -> None:
        """See `Output`."""
        if self._old is not None:
            lines = [line for line in lines if not self._take(self._old, line)]
        if lines:
            self._file.append(b"".join(lines))

    def finish(self) -> None:
        """See `Output`."""
        if self._old is not None and self._old.execute("SELECT 1 FROM old").fetchone():
            self._drop(self._old)
        self._file.sync()

    def close(self) -> None:
        """See `Output`."""
        self._file.close()
        if self._old is not None:
            self._old.close()

    def _take(self, old: sqlite3.Connection, line: bytes) -> bool:
        """Whether a line is there; it is not asked for again."""
        return old.execute("DELETE FROM old WHERE line = ?", (_digest(line),)).rowcount > 0

    def _drop(self, old: sqlite3.Connection) -> None:
        """Write the file anew without what nobody has asked for."""
        path = self._file.path
        new = path.with_name(f"{path.name}.new")
        with new.open("wb") as file:
            for line in self._file.lines():
                if not old.execute("SELECT 1 FROM old WHERE line = ?", (_digest(line),)).fetchone():
                    file.write(line)
            file.flush()
            os.fsync(file.fileno())
        self._file.close()
        new.replace(path)
        self._file = LinesFile(path)


def _digest(line: bytes) -> bytes:
    return hashlib.blake2b(line, digest_size=16).digest()
