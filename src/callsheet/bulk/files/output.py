"""OUTPUT: what it has already and is right stays, and the rest is appended."""

import hashlib
import os
import shutil
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, final

from .lines_file import LinesFile

__all__ = [
    "OrderedOutput",
    "OutputFile",
    "UnorderedOutput",
    "matching",
]


_OLD = """CREATE TABLE old (
    line BLOB PRIMARY KEY, count INTEGER NOT NULL, is_wanted INTEGER NOT NULL
) WITHOUT ROWID"""
_SURPLUS = "SELECT 1 FROM old WHERE count > 1 OR NOT is_wanted LIMIT 1"
_GIVE = "UPDATE old SET is_wanted = 0 WHERE line = ? AND is_wanted"
_IS_OLD = "SELECT 1 FROM old WHERE line = ?"


class OutputFile(Protocol):
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
    """Lines in the order in which they are written (see `OutputFile`).

    As long as what should be there is there, nothing is written. At the first difference the file
    is cut, and goes on with what should follow.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._file = LinesFile(path)
        self._right = 0  # bytes, from the beginning, that are as they should be

    def write(self, lines: Sequence[bytes]) -> None:
        """See `OutputFile`."""
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
        """See `OutputFile`."""
        if self._right < self._file.size:
            self._file.cut(self._right)
        self._file.sync()

    def close(self) -> None:
        """See `OutputFile`."""
        self._file.close()


@final
class UnorderedOutput:
    """Lines in any order, each once (see `OutputFile`).

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
        self._old.execute(_OLD)
        self._old.execute("BEGIN")
        self._old.executemany(
            "INSERT INTO old VALUES (?, 1, 0) ON CONFLICT (line) DO UPDATE SET count = count + 1",
            ((_digest(line),) for line in self._file.lines()),
        )
        self._old.execute("COMMIT")

    def write(self, lines: Sequence[bytes]) -> None:
        """See `OutputFile`."""
        if self._old is not None:
            lines = [line for line in lines if not self._take(self._old, line)]
        if lines:
            self._file.append(b"".join(lines))

    def finish(self) -> None:
        """See `OutputFile`."""
        if self._old is not None and self._old.execute(_SURPLUS).fetchone():
            self._drop(self._old)
        self._file.sync()

    def close(self) -> None:
        """See `OutputFile`."""
        self._file.close()
        if self._old is not None:
            self._old.close()

    def _take(self, old: sqlite3.Connection, line: bytes) -> bool:
        """Whether a line is there; it is not asked for again."""
        take = "UPDATE old SET is_wanted = 1 WHERE line = ? AND NOT is_wanted"
        return old.execute(take, (_digest(line),)).rowcount > 0

    def _drop(self, old: sqlite3.Connection) -> None:
        """Write the file anew without what nobody has asked for, and each line once."""
        path = self._file.path
        new = path.with_name(f"{path.name}.new")
        with new.open("wb") as file:
            for line in self._file.lines():
                name = (_digest(line),)
                if old.execute(_GIVE, name).rowcount or not old.execute(_IS_OLD, name).fetchone():
                    file.write(line)
            file.flush()
            os.fsync(file.fileno())
        shutil.copymode(path, new)
        # It is this process's before it has the name, and the old one is until it has lost it.
        renewed = LinesFile(new)
        new.replace(path)
        renewed.path = path
        self._file.close()
        self._file = renewed


def _digest(line: bytes) -> bytes:
    return hashlib.blake2b(line, digest_size=16).digest()
