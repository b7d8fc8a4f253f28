"""Write OUTPUT and the errors file: correct lines of earlier runs stay, others are appended."""

import contextlib
import hashlib
import os
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, final

from ...actors import write_remedy
from ..errors import MAKE_ROOM, ArchiveFailed, BulkRefused
from ..settings import BulkSettings, Paths
from .lines import RowOutcome, key_start
from .lines_file import ChangedByOthers, LinesFile, new_beside
from .store import StoredResponses

_OLD = """CREATE TABLE old (
    line BLOB PRIMARY KEY, count INTEGER NOT NULL, wanted INTEGER NOT NULL
) WITHOUT ROWID"""
_SURPLUS = "SELECT 1 FROM old WHERE count > wanted LIMIT 1"
_TAKE = "UPDATE old SET wanted = wanted + 1 WHERE line = ? AND wanted < count"
_AGAIN = "UPDATE old SET wanted = wanted + 1, count = count + 1 WHERE line = ?"
_GIVE = "UPDATE old SET wanted = wanted - 1 WHERE line = ? AND wanted"
_IS_OLD = "SELECT 1 FROM old WHERE line = ?"


class RowFormat(Protocol):
    """How rows are written to OUTPUT.

    Attributes:
        is_quoted: True if a line end in quotes does not end a line, as in CSV.
    """

    is_quoted: bool

    def head(self) -> bytes:
        """Return the first line of the file; empty for none."""
        ...

    def lines(self, rows: Sequence[RowOutcome]) -> list[bytes]:
        """Return the lines of rows, in their order."""
        ...

    def is_failure(self, line: bytes) -> bool:
        """Return whether a line is that of a row that failed, and will be sent again."""
        ...

    def growing(self, paths: Paths) -> Path:
        """Return the file that the lines are written to."""
        ...

    def count_missing(self, paths: Paths, store: StoredResponses) -> int:
        """Count the responses in OUTPUT that are not in the store.

        Raises:
            OSError, StorageError: a file cannot be read.
        """
        ...

    def complete(self, paths: Paths) -> None:
        """Write OUTPUT, if the lines are written to another file.

        Raises:
            OSError: the file cannot be written.
        """
        ...


@final
class JsonLines:
    """OUTPUT as JSON Lines, without rows that failed (see `RowFormat`)."""

    is_quoted = False

    def head(self) -> bytes:
        """See `RowFormat`."""
        return b""

    def lines(self, rows: Sequence[RowOutcome]) -> list[bytes]:
        """See `RowFormat`."""
        return [row.line for row in rows if row.is_answer]

    def is_failure(self, line: bytes) -> bool:  # noqa: ARG002  # none is written
        """See `RowFormat`."""
        return False

    def growing(self, paths: Paths) -> Path:
        """See `RowFormat`."""
        return paths.output

    def count_missing(self, paths: Paths, store: StoredResponses) -> int:
        """See `RowFormat`."""
        with paths.output.open("rb") as lines:
            return store.count_missing(filter(None, map(key_start, lines)))

    def complete(self, paths: Paths) -> None:
        """See `RowFormat`."""


JSON_LINES = JsonLines()
"""The usual format of OUTPUT."""


@final
class RunOutput:
    """OUTPUT and the errors file of a run. All methods block.

    Args:
        paths: the files of the run.
        settings: the settings of the run.
        form: the format of OUTPUT.

    Raises:
        BulkRefused: a file cannot be used.
    """

    def __init__(self, paths: Paths, settings: BulkSettings, form: RowFormat = JSON_LINES) -> None:
        self._form = form
        self._paths = paths
        self._trouble: ArchiveFailed | None = None
        self._errors: LinesFile | None = None
        self._has_begun = False
        kind = OrderedOutput if settings.ordered else UnorderedOutput
        try:
            if paths.errors.is_dir():
                paths.errors.unlink()  # raises, before anything is sent
            self._output: OutputFile = kind(form.growing(paths), form)
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
            self._begin()
            if failed:
                if self._errors is None:
                    self._errors = LinesFile(self._paths.errors)
                self._errors.append(b"".join(failed))
            self._output.write(left)
        except (OSError, sqlite3.Error) as error:
            self._trouble = ArchiveFailed(self._reason(error), write_remedy(error) or MAKE_ROOM)
            raise self._trouble from None

    def finish(self) -> None:
        """Finish OUTPUT after every row has ended.

        Raises:
            ArchiveFailed: OUTPUT could not be completed.
        """
        if self._trouble is not None:
            raise self._trouble
        try:
            self._begin()
            self._output.finish()
            self._form.complete(self._paths)
        except (OSError, sqlite3.Error) as error:
            is_ours = not isinstance(error, ChangedByOthers)
            usual = write_remedy(error) or MAKE_ROOM
            remedy = usual if is_ours else "do not change the file during a run"
            raise ArchiveFailed(self._reason(error), remedy) from None

    def break_off(self, left: Sequence[RowOutcome]) -> None:
        """Write the rows that wait for an earlier one, when not every row has ended.

        The next run finds the gap and fills it.

        Args:
            left: these rows, in order.
        """
        with contextlib.suppress(ArchiveFailed, OSError):
            if left:
                self.write(left, ())
            if self._has_begun:
                self._form.complete(self._paths)

    def _begin(self) -> None:
        """Remove the errors of an earlier run, which stay if this one is refused."""
        if not self._has_begun:
            self._paths.errors.unlink(missing_ok=True)
            self._has_begun = True

    def close(self) -> None:
        """Close the files."""
        self._output.close()
        if self._errors is not None:
            self._errors.close()

    def _reason(self, error: OSError | sqlite3.Error) -> str:
        path = getattr(error, "filename", None) or self._paths.output
        return f"{path} cannot be written: {reason_of(error)}"


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
    path = output if error.filename is None else error.filename  # or one beside OUTPUT
    return BulkRefused(
        f"{path} cannot be written: {reason_of(error)}",
        write_remedy(error) or "give an OUTPUT in a writable folder, on a disk with free space",
    )


class OutputFile(Protocol):
    """A file of rows that have ended, in order or not.

    The file is changed from its present rows to the wanted ones. Another reader may find it
    incomplete, but never half a row. All methods block and may raise `OSError`; then the file has
    whole rows, but not all.
    """

    def write(self, rows: Sequence[RowOutcome]) -> None:
        """Add rows; in an ordered file, they come next."""
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
        form: the format of the lines.
    """

    def __init__(self, path: Path, form: RowFormat = JSON_LINES) -> None:
        self._file = LinesFile(path, is_quoted=form.is_quoted)
        self._form = form
        self._has_head = False
        self._right = 0  # bytes from the start that are correct

    def write(self, rows: Sequence[RowOutcome]) -> None:
        """See `OutputFile`."""
        if rows:  # without any, the head is not known
            self._write(rows)

    def _write(self, rows: Sequence[RowOutcome]) -> None:
        lines = self._form.lines(rows)
        if not self._has_head:
            self._has_head = True
            lines = [line for line in (self._form.head(), *lines) if line]
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
        self._write(())  # the head of a file without rows
        if self._right < self._file.size:
            self._file.cut(self._right)
        self._file.sync()

    def close(self) -> None:
        """See `OutputFile`."""
        self._file.close()


@final
class UnorderedOutput:
    """Lines in any order (see `OutputFile`).

    Correct lines of earlier runs stay in place; a temporary file has their digests, so memory does
    not grow with them. At the end, unwanted lines are removed by writing a new file that replaces
    the old one. Lines of rows that failed are removed at once, because these rows are sent again.

    Args:
        path: the path of the file.
        form: the format of the lines.
    """

    def __init__(self, path: Path, form: RowFormat = JSON_LINES) -> None:
        self._file = LinesFile(path, is_quoted=form.is_quoted)
        self._form = form
        self._has_begun = False
        self._old: sqlite3.Connection | None = None

    def _begin(self) -> None:
        """Find the lines of earlier runs, and remove those of rows that failed."""
        form = self._form
        if not self._file.size:
            return
        if form.head() and any(map(form.is_failure, self._file.lines())):
            self._rewrite(lambda line: not form.is_failure(line))
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
        if rows:  # without any, the head is not known
            self._write(rows)

    def _write(self, rows: Sequence[RowOutcome]) -> None:
        lines = self._form.lines(rows)
        if not self._has_begun:
            self._has_begun = True
            self._begin()
            self._write_head(self._form.head())
        if self._old is not None:
            lines = [line for line in lines if not self._take(self._old, line)]
        if lines:
            self._file.append(b"".join(lines))

    def finish(self) -> None:
        """See `OutputFile`."""
        self._write(())  # the head of a file without rows
        if self._old is not None and self._old.execute(_SURPLUS).fetchone():
            self._drop(self._old)
        self._file.sync()

    def close(self) -> None:
        """See `OutputFile`."""
        self._file.close()
        if self._old is not None:
            self._old.close()

    def _write_head(self, head: bytes) -> None:
        """Write the first line; if the file has another one, all lines are written again."""
        if not head:
            return
        if self._file.size and next(self._file.lines()) != head:
            self._file.cut(0)
            if self._old is not None:
                self._old.close()
                self._old = None
        if not self._file.size:
            self._file.append(head)
        elif self._old is not None:
            self._take(self._old, head)

    def _take(self, old: sqlite3.Connection, line: bytes) -> bool:
        """Return whether the file has a line already; rows of a table may have the same line."""
        name = (_digest(line),)
        if old.execute(_TAKE, name).rowcount:
            return True
        old.execute(_AGAIN, name)
        return False

    def _drop(self, old: sqlite3.Connection) -> None:
        """Rewrite the file without unwanted lines."""

        def is_kept(line: bytes) -> bool:
            name = (_digest(line),)
            return bool(
                old.execute(_GIVE, name).rowcount or not old.execute(_IS_OLD, name).fetchone()
            )

        self._rewrite(is_kept)

    def _rewrite(self, is_kept: Callable[[bytes], bool]) -> None:
        """Write a new file with some of the lines, which replaces the old one."""
        path = self._file.path
        new = new_beside(path)
        try:
            with new.open("wb") as file:
                file.writelines(line for line in self._file.lines() if is_kept(line))
                file.flush()
                os.fsync(file.fileno())
            shutil.copymode(path, new)
        except BaseException:
            new.unlink(missing_ok=True)
            raise
        # Lock the new file before it gets the name; the old one stays locked until it loses it.
        renewed = LinesFile(new, is_quoted=self._form.is_quoted)
        new.replace(path)
        renewed.path = path
        self._file.close()
        self._file = renewed


def _digest(line: bytes) -> bytes:
    return hashlib.blake2b(line, digest_size=16).digest()
