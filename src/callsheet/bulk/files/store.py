"""The store of a bulk run, in SQLite: every response by its key, and what was sent and spent.

    responses  {key: line of the response}, of all runs
    spend      one row: the provider, and what was sent and spent
    unwritten  {ledger: costs that a run could not write to it}

A response is on disk when `keep` returns (L7), as far as `fsync` asks for it. The ids of this run's
rows are in a temporary table, so that an id that comes twice is found.
"""

import hashlib
from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol, final

from ...actors import (
    DamagedFile,
    Database,
    DatabaseFormat,
    FileInUse,
    ForeignFile,
    JournalOwner,
    OtherVersion,
    open_database,
)
from ..errors import ANOTHER_OUTPUT, BulkRefused, OutputInUse
from ..settings import Fsync
from ..spending import RunSpend
from ..unpriced import UnpricedTokens

_CACHE_KIB = 2 * 1024
_MAX_KEY_BYTES = 32
_MAX_ID_BYTES = 64  # of an id that is stored as it is
_WAIT_S = 0.5
STORE_REMEDY = f"move it and OUTPUT away, or {ANOTHER_OUTPUT}"

_USD = ("cost_usd", "unknown_usd", "maybe_usd", "each_usd")
_COUNTS = ("sent", "ended", "lost")
_TOKENS = ("unpriced", "each_unpriced")
_COLUMNS = (*_USD, *_COUNTS, *_TOKENS)
_SPENT = f"name, opened, provider, {', '.join(_COLUMNS)}, in_batches"
RUN_STORE = DatabaseFormat(
    noun="run store",
    application_id=0x43534255,  # "CSBU"
    version=6,  # the keys of 5 do not tell which part of a row has changed
    schema=(
        """CREATE TABLE responses (
            id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, line BLOB NOT NULL,
            crc INTEGER NOT NULL
        )""",
        """CREATE TABLE spend (
            name TEXT NOT NULL, opened INTEGER NOT NULL, provider TEXT NOT NULL,
            cost_usd TEXT NOT NULL, unknown_usd TEXT NOT NULL, maybe_usd TEXT NOT NULL,
            each_usd TEXT NOT NULL, sent INTEGER NOT NULL, ended INTEGER NOT NULL,
            lost INTEGER NOT NULL, unpriced TEXT NOT NULL, each_unpriced TEXT NOT NULL,
            in_batches INTEGER NOT NULL, crc INTEGER NOT NULL
        )""",
        """CREATE TABLE unwritten (
            ledger TEXT PRIMARY KEY, content BLOB NOT NULL, crc INTEGER NOT NULL
        ) WITHOUT ROWID""",
        """INSERT INTO spend
            VALUES (lower(hex(randomblob(4))), 0, '', '0', '0', '0', '0', 0, 0, 0, '', '', 0, 0)""",
        f"UPDATE spend SET crc = checksum({_SPENT})",  # noqa: S608  # constants, here and below
    ),
    checked={"responses": "key, line", "spend": _SPENT, "unwritten": "ledger, content"},
)
_SEEN = "CREATE TEMP TABLE seen (id BLOB PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID"
_STORE = """INSERT INTO responses (key, line, crc) VALUES (?1, ?2, checksum(?1, ?2))
    ON CONFLICT (key) DO UPDATE SET line = excluded.line, crc = excluded.crc"""
_FIND = "SELECT line, verified(crc, key, line) FROM responses WHERE key = ?"
_UNSPOILT = f"WHERE verified(crc, {_SPENT})"
_SEAL = f"UPDATE spend SET crc = checksum({_SPENT})"  # noqa: S608
_BEGIN = f"UPDATE spend SET opened = opened + 1 {_UNSPOILT}"  # noqa: S608
_READ = f"SELECT {', '.join(_COLUMNS)} FROM spend {_UNSPOILT}"  # noqa: S608
_SPEND = f"UPDATE spend SET {', '.join(f'{name} = ?' for name in _COLUMNS)} {_UNSPOILT}"  # noqa: S608


class StoredResponses(Protocol):
    """The responses in a store."""

    @property
    def progress(self) -> tuple[str, int]:
        """The name of the store, and a number that grows with each new response."""
        ...

    @property
    def responses(self) -> int:
        """The number of responses."""
        ...

    def count_missing(self, starts: Iterable[bytes]) -> int:
        """Count the keys that have no response."""
        ...


@final
class RunStore:
    """The file beside OUTPUT. It belongs to one process at a time.

    All of it blocks: run it in a worker thread, one at a time.

    Args:
        path: the file; it is created if it does not exist.
        fsync: what a commit waits for, as `BulkSettings.fsync` describes.
        is_reopened: True if the process of this run has opened the file before, so that what has
            not ended is not lost.

    Raises:
        OutputInUse: another run uses the file.
        BulkRefused: it is damaged, foreign or of another version.
        StorageError: the file cannot be read or written.
    """

    def __init__(self, path: Path, fsync: Fsync = "full", *, is_reopened: bool = False) -> None:
        self._db = open_store(path, fsync)
        try:
            self._begin_run(is_reopened=is_reopened)
        except BaseException:
            self._db.close()
            raise

    def _begin_run(self, *, is_reopened: bool) -> None:
        db = self._db
        if not is_reopened:
            with db.transaction():
                db.execute(_BEGIN)
                db.execute(_SEAL)
                self._write(self.spend.after_death())
        db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        db.execute("PRAGMA temp_store = FILE")
        db.execute("PRAGMA temp.journal_mode = OFF")
        db.execute("PRAGMA temp.synchronous = OFF")
        db.execute(_SEEN)

    # ----------------------------------------------------------------

    @property
    def opened(self) -> int:
        """How often the store was opened, including this time."""
        return self._db.number("SELECT opened FROM spend")

    @property
    def database(self) -> Database:
        """The database, for `KnownKeys`."""
        return self._db

    @property
    def name(self) -> str:
        """A name that is unique to this opening of this store, for a ledger that runs share."""
        return f"{self._text('name')}-{self.opened}"

    @property
    def owner(self) -> JournalOwner:
        """The run as its journal of batches knows it, whichever process continues it."""
        has_lines = self._text("in_batches") == "1"
        return JournalOwner(self._text("name"), is_new=self.opened == 1, has_lines=has_lines)

    def note_batches(self, *, in_batches: bool) -> None:
        """Note whether rows may be in batches, which the journal has.

        Args:
            in_batches: whether rows may be.

        Raises:
            StorageError: nothing is stored.
        """
        with self._db.transaction():
            self._db.execute(f"UPDATE spend SET in_batches = ? {_UNSPOILT}", (int(in_batches),))  # noqa: S608
            self._db.execute(_SEAL)

    @property
    def progress(self) -> tuple[str, int]:
        """The name of the store, and a number that grows with each new response."""
        return read_progress(self._db)

    @property
    def responses(self) -> int:
        """The number of responses."""
        return self._db.number("SELECT count(*) FROM responses")

    @property
    def provider(self) -> str:
        """The provider of the responses; "" if there is none yet."""
        return self._text("provider")

    @provider.setter
    def provider(self, name: str) -> None:
        with self._db.transaction():
            self._db.execute(f"UPDATE spend SET provider = ? {_UNSPOILT}", (name,))  # noqa: S608
            self._db.execute(_SEAL)

    @property
    def spend(self) -> RunSpend:
        """What was sent and spent."""
        return read_spend(self._db)

    def meet(self, ids: Sequence[tuple[str, int]]) -> list[int | None]:
        """Note the ids of rows, and find those that an earlier row of this run has.

        Args:
            ids: custom id and number of each row.

        Returns:
            For each row the number of the row that had the id first, or None.
        """
        db, found = self._db, list[int | None]()
        with db.transaction():
            for custom_id, number in ids:
                name = _short(custom_id)
                cursor = db.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (name, number))
                if cursor.rowcount:
                    found.append(None)
                else:
                    found.append(db.number("SELECT number FROM seen WHERE id = ?", (name,)))
        return found

    def find(self, keys: Iterable[bytes]) -> list[bytes | None]:
        """Return for each key the line of its response, or None.

        Args:
            keys: the keys of rows.

        Raises:
            StorageError: the file cannot be read.
        """
        rows = [self._db.row(_FIND, (key,)) for key in keys]
        return [None if row is None else row[0] for row in rows]

    def count_missing(self, starts: Iterable[bytes]) -> int:
        """Count the keys that have no response.

        Args:
            starts: the first bytes of keys.

        Raises:
            StorageError: the file cannot be read.
        """
        return count_missing(self._db, starts)

    def keep(self, responses: Iterable[tuple[bytes, bytes]], spend: RunSpend) -> None:
        """Store responses, and what was sent and spent: all of it, or nothing.

        Args:
            responses: key and line of each.
            spend: what was sent and spent.

        Raises:
            StorageError: nothing is stored.
        """
        with self._db.transaction():
            self._db.executemany(_STORE, responses)
            self._write(spend)

    @property
    def unwritten(self) -> list[tuple[Path, bytes]]:
        """Costs that an earlier run could not write to its ledger, with the ledger's path."""
        found = self._db.rows(
            "SELECT ledger, content, verified(crc, ledger, content) FROM unwritten"
        )
        return [(Path(ledger), content) for ledger, content, _ in found]

    def keep_unwritten(self, ledger: Path, content: bytes) -> None:
        """Store costs that could not be written to a ledger.

        Args:
            ledger: the path of the ledger.
            content: the costs; none, once they are in the ledger.

        Raises:
            StorageError: nothing is stored.
        """
        with self._db.transaction():
            self._db.execute("DELETE FROM unwritten WHERE ledger = ?", (str(ledger),))
            if content:
                insert = "INSERT INTO unwritten VALUES (?1, ?2, checksum(?1, ?2))"
                self._db.execute(insert, (str(ledger), content))

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    # ----------------------------------------------------------------

    def _write(self, spend: RunSpend) -> None:
        values: list[object] = [str(getattr(spend, name)) for name in _USD]
        values += (getattr(spend, name) for name in _COUNTS)
        values += (spend.unpriced.encode(), spend.each_unpriced.encode())
        self._db.execute(_SPEND, values)
        self._db.execute(_SEAL)

    def _text(self, column: str) -> str:
        row = self._db.row(f"SELECT {column} FROM spend")  # noqa: S608  # a constant
        return "" if row is None else str(row[0])


def read_progress(database: Database) -> tuple[str, int]:
    """Return the name of a store, and the number of its last response.

    Args:
        database: the open store.
    """
    row = database.row("SELECT name FROM spend")
    name = "" if row is None else str(row[0])
    return name, database.number("SELECT max(id) FROM responses")


def count_missing(database: Database, starts: Iterable[bytes]) -> int:
    """Count the keys that have no response in a store.

    Args:
        database: the open store.
        starts: the first bytes of keys.

    Raises:
        StorageError: the file cannot be read.
    """
    has = "SELECT 1 FROM responses WHERE key BETWEEN ? AND ?"
    ends = ((start, start + b"\xff" * _MAX_KEY_BYTES) for start in starts)
    return sum(database.row(has, both) is None for both in ends)


def read_spend(database: Database) -> RunSpend:
    """Read what was sent and spent from a store.

    Args:
        database: the open store.

    Raises:
        StorageError: the file cannot be read.
    """
    row = database.row(_READ)
    if row is None:
        return RunSpend()
    with database.decoding():
        found: dict[str, Any] = dict(zip(_COLUMNS, row, strict=True))
        found |= {name: Decimal(found[name]) for name in _USD}
        found |= {name: int(found[name]) for name in _COUNTS}
        found |= {name: UnpricedTokens.decode(found[name]) for name in _TOKENS}
        return RunSpend(**found)


def open_store(path: Path, fsync: Fsync = "full", *, create: bool = True) -> Database:
    """Open the database of a store, which no other process may use meanwhile.

    Args:
        path: the file of the store, beside OUTPUT.
        fsync: what a commit waits for, as `BulkSettings.fsync` describes.
        create: whether to create a missing file.

    Raises:
        BulkRefused: another run uses the file, or it is damaged, foreign or of another version.
        StorageError: the file cannot be read or written.
    """
    try:
        return open_database(
            path, RUN_STORE, owner="one process", synchronous=fsync, wait_s=_WAIT_S, create=create
        )
    except FileInUse:
        raise OutputInUse(
            f"another run is writing {path.name.removesuffix('.callsheet')}",
            "wait until it has ended, or give another OUTPUT",
        ) from None
    except (DamagedFile, ForeignFile, OtherVersion) as error:
        remedy = STORE_REMEDY
        if isinstance(error, OtherVersion):
            remedy = f"use the release of Callsheet that wrote it, {remedy}"
        raise BulkRefused(f"{error.name} cannot be used: {error.reason}", remedy) from None


def _short(custom_id: str) -> bytes:
    name = custom_id.encode("utf-8", "surrogatepass")
    if len(name) <= _MAX_ID_BYTES:
        return name
    return b"\0" + hashlib.blake2b(name, digest_size=20).digest()
