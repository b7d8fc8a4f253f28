"""The store of a run, in SQLite: every response by its key, and the count of sent rows.

    answers    {key: the line of the response}, of all runs
    account    one row: the provider, and what was spent and sent

A response is on disk when `keep` returns (L7), as far as `fsync` provides. Of the rows of this run,
only the ids are stored, in a temporary table that finds duplicates.
"""

import contextlib
import hashlib
import sqlite3
from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import cast, final

import attrs

from ..errors import BulkRefused
from ..settings import Fsync

__all__ = [
    "RunSpend",
    "RunStore",
    "is_full",
]


_APPLICATION = 0x43534255  # "CSBU": a file with another number is not a store
_VERSION = 1
_CACHE_KIB = 2 * 1024
_LONGEST_ID = 64  # characters; longer ids are stored as a digest
_MOVE = "move it away, and whatever OUTPUT has, or give another OUTPUT"

_SCHEMA = (
    "CREATE TABLE answers (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, line BLOB NOT NULL)",
    """CREATE TABLE account (
        name TEXT NOT NULL, opened INTEGER NOT NULL, provider TEXT NOT NULL, cost_usd TEXT NOT NULL,
        sent INTEGER NOT NULL, ended INTEGER NOT NULL, lost INTEGER NOT NULL
    )""",
    "INSERT INTO account VALUES (lower(hex(randomblob(4))), 0, '', '0', 0, 0, 0)",
    f"PRAGMA application_id = {_APPLICATION}",
    f"PRAGMA user_version = {_VERSION}",
)
_SEEN = "CREATE TEMP TABLE seen (id BLOB PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID"
_KEEP = """INSERT INTO answers (key, line) VALUES (?, ?)
    ON CONFLICT (key) DO UPDATE SET line = excluded.line"""
_NOTE = "UPDATE account SET cost_usd = ?, sent = ?, ended = ?, lost = ?"


@attrs.frozen(kw_only=True)
class RunSpend:
    """What was sent and spent.

    Args:
        cost_usd: USD that all answers have cost, as far as it is known.
        sent: rows of this run that may have been sent.
        ended: of them, those that have ended, or were not sent after all.
        lost: HTTP requests of all runs that may have been charged for nothing.
    """

    cost_usd: Decimal = Decimal(0)
    sent: int = 0
    ended: int = 0
    lost: int = 0


@final
class RunStore:
    """The store file beside OUTPUT; one process at a time can open it.

    All methods block; call them from a thread, one at a time.

    Args:
        path: the path of the file; it is created if it does not exist.
        fsync: see `BulkSettings`.

    Raises:
        BulkRefused: another run has the file open, or it is not a store.
        sqlite3.Error, OSError: the file cannot be read or written.
    """

    def __init__(self, path: Path, fsync: Fsync = "full") -> None:
        self._path = path
        if not path.exists():
            path.touch(mode=0o600)
        self._db = sqlite3.connect(
            path, timeout=0.5, isolation_level=None, check_same_thread=False, cached_statements=16
        )
        try:
            self._open(fsync)
        except BaseException as error:
            self._db.close()
            if isinstance(error, sqlite3.OperationalError) and _name(error) == "SQLITE_BUSY":
                raise BulkRefused(
                    f"another run is writing {path.name.removesuffix('.callsheet')}",
                    "wait until it has ended, or give another OUTPUT",
                ) from None
            if isinstance(error, sqlite3.DatabaseError) and _name(error) in _BROKEN:
                raise BulkRefused(f"{path} cannot be read: {error}", _MOVE) from None
            raise

    def _open(self, fsync: Fsync) -> None:
        db = self._db
        # EXCLUSIVE keeps the lock until the file is closed, and the WAL needs no shared-memory
        # file.
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("BEGIN EXCLUSIVE")
        if self._number("SELECT count(*) FROM sqlite_master") == 0:
            for statement in _SCHEMA:
                db.execute(statement)
        elif self._number("PRAGMA application_id") != _APPLICATION:
            raise BulkRefused(f"{self._path} is a database of something else", _MOVE)
        elif (version := self._number("PRAGMA user_version")) != _VERSION:
            raise BulkRefused(f"{self._path} is of version {version}, not {_VERSION}", _MOVE)
        # Calls that a dead process had sent, and that have not ended, may have been billed.
        db.execute(
            "UPDATE account SET lost = lost + sent - ended, sent = 0, ended = 0, "
            "opened = opened + 1"
        )
        db.execute("COMMIT")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA synchronous = {fsync.upper()}")
        db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        db.execute("PRAGMA temp_store = FILE")
        db.execute("PRAGMA temp.journal_mode = OFF")
        db.execute("PRAGMA temp.synchronous = OFF")
        db.execute(_SEEN)

    # ----------------------------------------------------------------

    @property
    def opened(self) -> int:
        """The number of times the store was opened."""
        return self._number("SELECT opened FROM account")

    @property
    def name(self) -> str:
        """A name that is unique to this opening of this store, for a ledger shared by many runs."""
        (name,) = self._db.execute("SELECT name FROM account").fetchone()
        return f"{name}-{self.opened}"

    @property
    def answers(self) -> int:
        """The number of responses."""
        return self._number("SELECT count(*) FROM answers")

    @property
    def provider(self) -> str:
        """The provider of the responses; "" if there are none."""
        return cast("str", self._db.execute("SELECT provider FROM account").fetchone()[0])

    @provider.setter
    def provider(self, name: str) -> None:
        self._db.execute("UPDATE account SET provider = ?", (name,))

    @property
    def account(self) -> RunSpend:
        """What was sent and spent."""
        row = self._db.execute("SELECT cost_usd, sent, ended, lost FROM account").fetchone()
        return RunSpend(cost_usd=Decimal(row[0]), sent=row[1], ended=row[2], lost=row[3])

    def meet(self, ids: Sequence[tuple[str, int]]) -> list[int | None]:
        """Record custom ids; return for each the row that had the id before, or None."""
        db, found = self._db, list[int | None]()
        db.execute("BEGIN")
        try:
            for custom_id, number in ids:
                name = _short(custom_id)
                cursor = db.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (name, number))
                if cursor.rowcount:
                    found.append(None)
                else:
                    row = db.execute("SELECT number FROM seen WHERE id = ?", (name,)).fetchone()
                    found.append(row[0])
            db.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise
        return found

    def find(self, keys: Iterable[bytes]) -> list[bytes | None]:
        """Return the line of each response, or None."""
        select = "SELECT line FROM answers WHERE key = ?"
        rows = [self._db.execute(select, (key,)).fetchone() for key in keys]
        return [None if row is None else row[0] for row in rows]

    def keep(self, answers: Iterable[tuple[bytes, bytes]], account: RunSpend) -> None:
        """Store keys and lines, and what was sent and spent, in one transaction.

        Raises:
            sqlite3.Error: nothing was stored.
        """
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            db.executemany(_KEEP, answers)
            cost = str(account.cost_usd)
            db.execute(_NOTE, (cost, account.sent, account.ended, account.lost))
            db.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    # ----------------------------------------------------------------

    def _roll_back(self) -> None:
        if self._db.in_transaction:  # some errors, such as a full disk, end the transaction
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")

    def _number(self, question: str) -> int:
        return cast("int", self._db.execute(question).fetchone()[0])


_BROKEN = ("SQLITE_CORRUPT", "SQLITE_NOTADB")
_FULL = ("SQLITE_FULL", "SQLITE_IOERR")  # SQLITE_IOERR for quotas and file size limits


def _name(error: sqlite3.Error) -> str:
    """Return SQLite's name of an error, without its extension after a second underscore."""
    name = getattr(error, "sqlite_errorname", "")  # errors raised by Python itself have none
    return "_".join(name.split("_")[:2])


def is_full(error: sqlite3.Error) -> bool:
    """Return whether the error means that the disk is full."""
    return _name(error) in _FULL


def _short(custom_id: str) -> bytes:
    name = custom_id.encode("utf-8", "surrogatepass")
    if len(name) <= _LONGEST_ID:
        return name
    return b"\0" + hashlib.blake2b(name, digest_size=20).digest()
