"""The file of the journal: what one process has sent and received, for the next process.

    serial     how often the journal was opened; part of each batch id, so that ids are unique; and
               the name of the run whose journal it is
    batches    the batches that are intended or running
    lines      the lines of these batches, and the results that no caller has claimed yet

A write is on disk when it returns (L7). The journal belongs to one process at a time.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, cast, final

import attrs

from ..storage import (
    Database,
    DatabaseFormat,
    ForeignFile,
    StorageUnavailable,
    beside,
    log_of,
    open_database,
)
from .plan import BatchGroup

_BATCH = "id, account, path, model, tokens, size, mark, batch_id, is_certain, is_over"
_LINE = "id, batch, position, key, result, stored_at"
_JOURNAL = DatabaseFormat(
    noun="batch journal",
    application_id=0x43534A4C,  # "CSJL"
    version=4,  # 3 has no owner
    schema=(
        "CREATE TABLE serial (opened INTEGER NOT NULL, owner TEXT NOT NULL, crc INTEGER NOT NULL)",
        "INSERT INTO serial VALUES (0, '', checksum(0, ''))",
        """CREATE TABLE batches (
            id TEXT PRIMARY KEY, account TEXT NOT NULL, path TEXT NOT NULL, model TEXT NOT NULL,
            tokens INTEGER NOT NULL, size INTEGER NOT NULL, mark TEXT NOT NULL DEFAULT '',
            batch_id TEXT NOT NULL DEFAULT '', is_certain INTEGER NOT NULL DEFAULT 1,
            is_over INTEGER NOT NULL DEFAULT 0, crc INTEGER NOT NULL DEFAULT 0
        ) WITHOUT ROWID""",
        """CREATE TABLE lines (
            id TEXT PRIMARY KEY, batch TEXT NOT NULL, position INTEGER NOT NULL, key TEXT NOT NULL,
            result BLOB, stored_at REAL, crc INTEGER NOT NULL DEFAULT 0
        ) WITHOUT ROWID""",
        "CREATE INDEX lines_of ON lines (batch, position)",
    ),
    checked={"serial": "opened, owner", "batches": _BATCH, "lines": _LINE},
)
_LINES = "SELECT count(*) FROM lines"
_WHOLE_SERIAL = "verified(crc, opened, owner)"
_SEAL_SERIAL = "UPDATE serial SET crc = checksum(opened, owner)"
_WHOLE_BATCH = f"verified(crc, {_BATCH})"
_WHOLE_LINE = f"verified(crc, {_LINE})"
_SEAL_BATCH = f"UPDATE batches SET crc = checksum({_BATCH}) WHERE id = ?"  # noqa: S608  # constants
_SEAL_LINE = f"UPDATE lines SET crc = checksum({_LINE}) WHERE id = ?"  # noqa: S608  # constants


@attrs.frozen(kw_only=True)
class KnownBatch:
    """A batch that the journal contains and that is not over.

    Args:
        id: Callsheet's id of the batch.
        group: the path and model of its lines.
        tokens: the estimated tokens of its prompts.
        size: the number of lines when it was made.
        mark: the provider's name of its uploaded input; "" before the upload.
        batch_id: the provider's id of the batch; "" if it is not known.
        is_certain: whether the batch with that id is surely this one.
        lines: custom id and content key of each line without a result.
    """

    id: str
    group: BatchGroup
    tokens: int
    size: int
    mark: str
    batch_id: str
    is_certain: bool
    lines: tuple[tuple[str, str], ...]


@attrs.frozen
class UnclaimedResult:
    """A result that no caller has received.

    Args:
        custom_id: of its line.
        key: the content key of its line.
        group: the path and model of the batch.
    """

    custom_id: str
    key: str
    group: BatchGroup


@final
class JournalFile:
    """The journal's database. Every method blocks, and is one transaction.

    Args:
        path: the file; None for memory.
        account: the account whose batches are meant; the file may contain those of others.
        keep_s: seconds after which a result that no caller claims is deleted.
        wall_clock: Unix time in seconds.

    Attributes:
        opened: how often the journal was opened, including this time.

    Raises:
        StorageError: the file cannot be used; `FileInUse`, if another process has it open.
    """

    def __init__(
        self, path: Path | None, account: str, keep_s: float, wall_clock: Callable[[], float]
    ) -> None:
        self._account = account
        self._wall_clock = wall_clock
        self._db: Database = open_database(path, _JOURNAL, owner="one process")
        try:
            # The file has all but the last transaction, whatever becomes of its log. There are few
            # transactions, and what is lost is paid for again.
            self._db.execute("PRAGMA wal_autocheckpoint = 1")
            with self._db.transaction():
                self._db.execute(f"UPDATE serial SET opened = opened + 1 WHERE {_WHOLE_SERIAL}")  # noqa: S608  # constants
                self._db.execute(_SEAL_SERIAL)
                oldest = wall_clock() - keep_s
                self._db.execute("DELETE FROM lines WHERE stored_at < ?", (oldest,))
            self.opened = self._db.number("SELECT opened FROM serial")
        except BaseException:
            self._db.close()
            raise

    def __repr__(self) -> str:
        return f"<JournalFile opened {self.opened} times>"

    def load(self) -> tuple[tuple[KnownBatch, ...], tuple[UnclaimedResult, ...]]:
        """Return the batches that are not over, and the unclaimed results, oldest first.

        Raises:
            StorageError: the file cannot be read.
        """
        with self._db.decoding():
            return self._load()

    def _load(self) -> tuple[tuple[KnownBatch, ...], tuple[UnclaimedResult, ...]]:
        batches = list(
            self._db.rows(
                "SELECT id, path, model, tokens, size, mark, batch_id, is_certain,"  # noqa: S608  # constants
                f" {_WHOLE_BATCH} FROM batches WHERE account = ? AND is_over = 0 ORDER BY id",
                (self._account,),
            )
        )
        known = tuple(
            KnownBatch(
                id=batch,
                group=BatchGroup(path, model),
                tokens=tokens,
                size=size,
                mark=mark,
                batch_id=batch_id,
                is_certain=bool(is_certain),
                lines=self._open_lines(batch),
            )
            for batch, path, model, tokens, size, mark, batch_id, is_certain, _ in batches
        )
        unclaimed = self._db.rows(
            "SELECT lines.id, key, path, model FROM lines JOIN batches ON batches.id = batch"
            " WHERE account = ? AND result IS NOT NULL ORDER BY batch, position",
            (self._account,),
        )
        return known, tuple(
            UnclaimedResult(custom_id, key, BatchGroup(path, model))
            for custom_id, key, path, model in unclaimed
        )

    def intend(
        self, batch: str, group: BatchGroup, tokens: int, lines: Sequence[tuple[str, str]]
    ) -> None:
        """Write down a batch before anything of it is sent.

        Args:
            batch: Callsheet's id of the batch.
            group: the path and model of its lines.
            tokens: the estimated tokens of its prompts.
            lines: custom id and content key of each line.
        """
        with self._db.transaction():
            self._db.execute(
                "INSERT INTO batches (id, account, path, model, tokens, size)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (batch, self._account, group.path, group.model, tokens, len(lines)),
            )
            self._db.execute(_SEAL_BATCH, (batch,))
            self._db.executemany(
                "INSERT INTO lines (id, batch, position, key) VALUES (?, ?, ?, ?)",
                [(custom_id, batch, at, key) for at, (custom_id, key) in enumerate(lines)],
            )
            self._db.executemany(_SEAL_LINE, [(custom_id,) for custom_id, _ in lines])

    def mark(self, batch: str, mark: str) -> None:
        """Write down the mark of a batch, after the upload of its input."""
        self._change(batch, "mark = ?", mark)

    def created(self, batch: str, batch_id: str, *, is_certain: bool) -> None:
        """Write down the provider's id of a batch; "" if an id turned out to be wrong."""
        self._change(batch, "batch_id = ?, is_certain = ?", batch_id, int(is_certain))

    def store(self, results: Sequence[tuple[str, bytes]], failed: Iterable[str]) -> None:
        """Store the results of lines.

        Args:
            results: custom id and result of each line with a response.
            failed: custom ids of the lines that failed; they are deleted.
        """
        now = self._wall_clock()
        with self._db.transaction():
            self._db.executemany(
                f"UPDATE lines SET result = ?, stored_at = ? WHERE id = ? AND {_WHOLE_LINE}",  # noqa: S608  # constants
                [(raw, now, custom_id) for custom_id, raw in results],
            )
            self._db.executemany(_SEAL_LINE, [(custom_id,) for custom_id, _ in results])
            self._db.executemany("DELETE FROM lines WHERE id = ?", [(one,) for one in failed])

    def result(self, custom_id: str) -> bytes | None:
        """Return the stored result of a line; None if there is none."""
        row = self._db.row(
            f"SELECT result, {_WHOLE_LINE} FROM lines WHERE id = ?",  # noqa: S608  # constants
            (custom_id,),
        )
        return None if row is None else cast("bytes | None", row[0])

    def claim(self, custom_ids: Iterable[str]) -> None:
        """Delete results whose callers have received them."""
        with self._db.transaction():
            self._db.executemany("DELETE FROM lines WHERE id = ?", [(one,) for one in custom_ids])

    def finish(self, batch: str) -> None:
        """Mark a batch as over, and delete its lines without a result."""
        with self._db.transaction():
            self._db.execute("DELETE FROM lines WHERE batch = ? AND result IS NULL", (batch,))
            self._change(batch, "is_over = 1")
            self._db.execute(
                "DELETE FROM batches WHERE is_over = 1 AND NOT EXISTS"
                " (SELECT 1 FROM lines WHERE batch = batches.id)"
            )

    def do(self, jobs: "Sequence[JournalJob]") -> None:
        """Do several jobs in one transaction. A job that fails fails alone."""
        with self._db.transaction():
            for job in jobs:
                try:
                    with self._db.transaction():
                        job.result = job.function(self)
                except Exception as error:  # noqa: BLE001  # raised where the job comes from
                    job.error = error

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _change(self, batch: str, values: str, *parameters: object) -> None:
        """Change a row of `batches`, unless it is damaged."""
        with self._db.transaction():
            self._db.execute(
                f"UPDATE batches SET {values} WHERE id = ? AND {_WHOLE_BATCH}",  # noqa: S608  # constants
                (*parameters, batch),
            )
            self._db.execute(_SEAL_BATCH, (batch,))

    def _open_lines(self, batch: str) -> tuple[tuple[str, str], ...]:
        found = self._db.rows(
            f"SELECT id, key, {_WHOLE_LINE} FROM lines"  # noqa: S608  # constants
            " WHERE batch = ? AND result IS NULL ORDER BY position",
            (batch,),
        )
        return tuple((custom_id, key) for custom_id, key, _ in found)


_PAY_AGAIN = "allow that what is in batches is paid for again (--pay-again)"


@attrs.define(eq=False)
class JournalJob:
    """What a task wants to do with the file, and what came of it.

    Args:
        function: reads or writes.
        result: what it returned.
        error: what it raised.
    """

    function: Callable[[JournalFile], object]
    result: Any = None
    error: Exception | None = None


@attrs.frozen
class JournalOwner:
    """The run whose journal a file must be.

    Args:
        name: its name, which no other run has.
        is_new: whether it has begun just now, so that it takes over a journal without lines.
        has_lines: whether the journal may have lines, so that it must be there.
    """

    name: str
    is_new: bool = False
    has_lines: bool = False


def lines_in(path: Path, owner: JournalOwner | None = None) -> int:
    """Return how many lines a journal contains: in batches, or with an unclaimed result.

    Args:
        path: the journal; a missing file has none.
        owner: the run whose journal it must be; None for any.

    Raises:
        ForeignFile: it is the journal of another run.
        StorageError: the file cannot be used, or is missing and may have had lines; `FileInUse`,
            if another process has it open.
    """
    if not (path.exists() or log_of(path).exists()):
        _check_missing(path, owner)
        return 0
    with closing(
        open_database(path, _JOURNAL, owner="one process", wait_s=0.0, create=False)
    ) as database:
        lines = database.number(_LINES)
        if owner is not None:
            _check_owner(database, owner, lines)
        return lines


def remove_empty_journal(path: Path) -> None:
    """Remove a journal without lines, which a program has made and not used.

    Args:
        path: the journal; a missing file is no error.

    Raises:
        StorageError: the file is no journal, or cannot be used; `FileInUse`, if another process has
            it open.
    """
    if path.exists() and not lines_in(path):
        for one in beside(path):
            one.unlink(missing_ok=True)


def claim_journal(path: Path, owner: JournalOwner) -> int:
    """Make a journal that of a run, and return how many lines it contains.

    Args:
        path: the journal; it is created if it does not exist.
        owner: the run whose journal it becomes.

    Raises:
        ForeignFile: it is the journal of another run.
        StorageError: the file cannot be used, or is missing and may have had lines; `FileInUse`,
            if another process has it open.
    """
    if not path.exists():
        if not log_of(path).exists():
            _check_missing(path, owner)
        owner = attrs.evolve(owner, is_new=True)
    with closing(open_database(path, _JOURNAL, owner="one process", wait_s=0.0)) as database:
        with database.transaction():
            lines = database.number(_LINES)
            if not _check_owner(database, owner, lines):
                database.execute("UPDATE serial SET owner = ?", (owner.name,))
                database.execute(_SEAL_SERIAL)
        return lines


def _check_owner(database: Database, owner: JournalOwner, lines: int) -> bool:
    """Return whether a journal is that of a run already, rather than one that it may take over.

    Raises:
        ForeignFile: it is the journal of another run.
    """
    row = database.row(f"SELECT owner, {_WHOLE_SERIAL} FROM serial")  # noqa: S608  # constants
    if row is not None and row[0] == owner.name:
        return True
    if lines or not owner.is_new:
        raise ForeignFile(
            database.name,
            "it is the journal of another run",
            f"restore the journal of this run; or move the file away, and {_PAY_AGAIN}",
        )
    return False


def _check_missing(path: Path, owner: JournalOwner | None) -> None:
    """Refuse to go on without a journal that may have lines.

    Raises:
        StorageUnavailable: it may have some.
    """
    if owner is not None and owner.has_lines:
        raise StorageUnavailable(
            f"the {_JOURNAL.noun} {path}",
            "the file is missing, and rows of this run may be in batches at the provider",
            f"restore it, or {_PAY_AGAIN}",
        )
