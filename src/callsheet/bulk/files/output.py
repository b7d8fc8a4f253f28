"""Write OUTPUT and the errors file: correct lines of earlier runs stay, others are appended."""

import contextlib
import hashlib
import os
import shutil
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, final

from ..errors import MAKE_ROOM, ArchiveFailed, BulkRefused
from ..settings import BulkSettings, Paths
from .lines_file import ChangedByOthers, LinesFile
from .outcome import RowOutcome

_OLD = """CREATE TABLE old (
    line BLOB PRIMARY KEY, count INTEGER NOT NULL, is_wanted INTEGER NOT NULL
) WITHOUT ROWID"""
_SURPLUS = "SELECT 1 FROM old WHERE count > 1 OR NOT is_wanted LIMIT 1"
_GIVE = "UPDATE old SET is_wanted = 0 WHERE line = ? AND is_wanted"
_IS_OLD = "SELECT 1 FROM old WHERE line = ?"


@final
class RunOutput:
    """OUTPUT and the errors file of a run. All methods block.

    Args:
        paths: the files of the run.
        settings: the settings of the run.

    Raises:
        BulkRefused: a file cannot be used.
    """

    def __init__(self, paths: Paths, settings: BulkSettings) -> None:
        self._paths = paths
        self._trouble: ArchiveFailed | None = None
        self._errors: LinesFile | None = None
        kind = OrderedOutput if settings.ordered else UnorderedOutput
        try:
            self._output: OutputFile = kind(paths.output)
            paths.errors.unlink(missing_ok=True)
        except BlockingIOError:
            raise in_use(paths.output) from None
        except OSError as error:
            raise not_writable(paths.output, error) from None

    def write(self, left: Sequence[RowOutcome], failed: Sequence[bytes]) -> None:
        """Write rows. After a failure it writes no more: the next run writes all from the store.

        Args:
            left: rows that come next in OUTPUT; those that failed are left out.
            failed: lines for the errors file.

        Raises:
            ArchiveFailed: a file cannot be written.
        """
        if self._trouble is not None:
            raise self._trouble
        try:
            if failed:
                if self._errors is None:
                    self._errors = LinesFile(self._paths.errors)
                self._errors.append(b"".join(failed))
            self._output.write([one for one in left if one.is_answer])
        except (OSError, sqlite3.Error) as error:
            self._trouble = ArchiveFailed(self._reason(error))
            raise self._trouble from None

    def finish(self) -> None:
        """Finish OUTPUT after every row has ended.

        Raises:
            ArchiveFailed: OUTPUT could not be completed.
        """
        if self._trouble is not None:
            raise self._trouble
        try:
            self._output.finish()
        except (OSError, sqlite3.Error) as error:
            is_ours = not isinstance(error, ChangedByOthers)
            remedy = MAKE_ROOM if is_ours else "do not change the file during a run"
            raise ArchiveFailed(self._reason(error), remedy) from None

    def break_off(self, left: Sequence[RowOutcome]) -> None:
        """Write the rows that wait for an earlier one, when not every row has ended.

        The next run finds the gap and fills it.

        Args:
            left: these rows, in order.
        """
        with contextlib.suppress(ArchiveFailed):
            self.write(left, ())

    def close(self) -> None:
        """Close the files."""
        self._output.close()
        if self._errors is not None:
            self._errors.close()

    def _reason(self, error: OSError | sqlite3.Error) -> str:
        return f"{self._paths.output} cannot be written: {reason_of(error)}"


def reason_of(error: OSError | sqlite3.Error) -> str:
    """Return the reason of an error, without the path that it may name."""
    return getattr(error, "strerror", None) or str(error)


def in_use(output: Path) -> BulkRefused:
    """Return the refusal of an OUTPUT that another run writes."""
    return BulkRefused(
        f"another run is writing {output.name}, possibly under another name",
        "wait until it has ended, or give another OUTPUT",
    )


def not_writable(output: Path, error: OSError) -> BulkRefused:
    """Return the refusal of an OUTPUT that cannot be written."""
    return BulkRefused(
        f"{output} cannot be written: {reason_of(error)}",
        "give an OUTPUT in a writable folder, on a disk with free space",
    )


class OutputFile(Protocol):
    """A file of the rows that have a response; each format of OUTPUT implements it.

    The file is changed from its present rows to the wanted ones. Another reader may find it
    incomplete, but never half a row. All methods block and may raise `OSError`; then the file has
    whole rows, but not all.
    """

    def write(self, rows: Sequence[RowOutcome]) -> None:
        """Add rows that have a response; in an ordered file, they come next."""
        ...

    def finish(self) -> None:
        """Remove all other rows, and flush the file to the disk."""
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

    def write(self, rows: Sequence[RowOutcome]) -> None:
        """See `OutputFile`."""
        lines = [row.line for row in rows]
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

    def write(self, rows: Sequence[RowOutcome]) -> None:
        """See `OutputFile`."""
        lines = [row.line for row in rows]
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
