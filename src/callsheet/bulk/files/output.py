"""Write OUTPUT: correct lines of earlier runs stay, and the others are appended."""

import hashlib
import os
import shutil
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, final

from .lines_file import LinesFile

_OLD = """CREATE TABLE old (
    line BLOB PRIMARY KEY, count INTEGER NOT NULL, is_wanted INTEGER NOT NULL
) WITHOUT ROWID"""
_SURPLUS = "SELECT 1 FROM old WHERE count > 1 OR NOT is_wanted LIMIT 1"
_GIVE = "UPDATE old SET is_wanted = 0 WHERE line = ? AND is_wanted"
_IS_OLD = "SELECT 1 FROM old WHERE line = ?"


class OutputFile(Protocol):
    """A file that is changed from its present lines to the wanted ones.

    Another reader may find the file incomplete, but never half a line. All methods block and may
    raise `OSError`; then the file has whole lines, but not all.
    """

    def write(self, lines: Sequence[bytes]) -> None:
        """Add lines; in an ordered file, they come next."""
        ...

    def finish(self) -> None:
        """Remove all other lines, and flush the file to the disk."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


def matching(old: bytes, lines: Sequence[bytes]) -> tuple[int, int]:
    """Return how many of the lines a text begins with, and their size in bytes. Pure (R14)."""
    at = 0
    for count, line in enumerate(lines):
        if not old.startswith(line, at):
            return count, at
        at += len(line)
    return len(lines), at


@final
class OrderedOutput:
    """Lines in the order in which they are written (see `OutputFile`).

    While the existing lines are the wanted ones, nothing is written. At the first difference the
    file is truncated, and the wanted lines follow.

    Args:
        path: the path of the file.
    """

    def __init__(self, path: Path) -> None:
        self._file = LinesFile(path)
        self._right = 0  # bytes from the start that are correct

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

    Correct lines of earlier runs stay in place; a temporary file has their digests, so memory does
    not grow with them. At the end, unwanted lines are removed by writing a new file that replaces
    the old one.

    Args:
        path: the path of the file.
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
        """Return whether the file has a line already; each line counts once."""
        take = "UPDATE old SET is_wanted = 1 WHERE line = ? AND NOT is_wanted"
        return old.execute(take, (_digest(line),)).rowcount > 0

    def _drop(self, old: sqlite3.Connection) -> None:
        """Rewrite the file without unwanted lines, and each line once."""
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
        # Lock the new file before it gets the name; the old one stays locked until it loses it.
        renewed = LinesFile(new)
        new.replace(path)
        renewed.path = path
        self._file.close()
        self._file = renewed


def _digest(line: bytes) -> bytes:
    return hashlib.blake2b(line, digest_size=16).digest()
