"""Answers in an SQLite file. Synchronous: `SqliteStore` runs it in threads.

The file behind a cache, in worker threads: the event loop never waits for a disk.
"""

import sqlite3
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from math import inf
from pathlib import Path
from typing import TypeVar, TypeVarTuple, cast

import trio

from .policy import CachePolicy
from .store import CacheEntry, Holding, StoreUnavailable

__all__ = [
    "ForeignFile",
    "SqliteFile",
    "SqliteStore",
]


_APPLICATION = 0x43534854  # "CSHT": a file with another number is somebody else's
_VERSION = 1
_BUSY_S = 2.0  # for another program's transaction; ours take milliseconds
_LARGEST = 100_000_000  # bytes; SQLite takes no value above a billion

_SCHEMA = (
    # The value comes last, so that its pages are not read for what stands before it.
    """CREATE TABLE answers (
        key TEXT PRIMARY KEY, written_at REAL NOT NULL, used_at REAL NOT NULL, value BLOB NOT NULL
    )""",
    "CREATE INDEX by_use ON answers (used_at)",
    "CREATE INDEX by_age ON answers (written_at)",
    f"PRAGMA application_id = {_APPLICATION}",
    f"PRAGMA user_version = {_VERSION}",
)
_GET = "SELECT written_at, value FROM answers WHERE key = ? AND written_at > ?"
_PUT = """INSERT INTO answers (key, written_at, used_at, value) VALUES (?, ?, ?, ?)
    ON CONFLICT (key) DO UPDATE SET
    written_at = excluded.written_at, used_at = excluded.used_at, value = excluded.value"""
_USE = "UPDATE answers SET used_at = ? WHERE key = ?"
_EXPIRE = "DELETE FROM answers WHERE written_at <= ?"
_LONGEST_UNUSED = "SELECT key, length(value) FROM answers ORDER BY used_at"
_DROP = "DELETE FROM answers WHERE key = ?"


class ForeignFile(sqlite3.Error):
    """The file is a database, but not one of this version's answers."""


class SqliteFile:
    """One connection to read and one to write, so that no reader waits for a writer.

    The file is in WAL mode: other programs may read and write it at the same time. A commit does
    not wait for the disk (``synchronous=NORMAL``): a power cut may lose the last answers, but
    harms none.

    Args:
        path: of the file.
        ttl_s: for how many seconds an answer holds; None for ever.
        max_bytes: how large the file may grow.
    """

    def __init__(self, path: Path, ttl_s: float | None, max_bytes: int) -> None:
        self.path = path.absolute()  # ":memory:" is a name like any other
        self.evicted = 0
        self._ttl_s = inf if ttl_s is None else ttl_s
        self._max_bytes = max_bytes
        self._largest = min(max_bytes // 4, _LARGEST)
        self._reader: sqlite3.Connection | None = None
        self._writer: sqlite3.Connection | None = None

    def open(self) -> None:
        """Connect, and make the file if there is none, for its owner's eyes only.

        Raises:
            sqlite3.Error, OSError: it cannot be used.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if not self.path.exists():
            self.path.touch(mode=0o600)
        self._writer = self._connect()
        with self._transaction() as writer:
            if _number(writer, "SELECT count(*) FROM sqlite_master") == 0:
                for statement in _SCHEMA:
                    writer.execute(statement)
            elif _number(writer, "PRAGMA application_id") != _APPLICATION:
                raise ForeignFile("the file is a database of something else")
            elif (version := _number(writer, "PRAGMA user_version")) != _VERSION:
                raise ForeignFile(f"the file is of version {version}, not {_VERSION}")
        _use_wal(writer)
        writer.execute("PRAGMA synchronous = NORMAL")
        self._reader = self._connect()
        self._reader.execute("PRAGMA query_only = ON")

    def get_many(self, keys: Sequence[str], now: float) -> list[CacheEntry]:
        """See `CacheStore`."""
        if self._reader is None:
            return []
        rows = (
            (key, self._reader.execute(_GET, (key, now - self._ttl_s)).fetchone()) for key in keys
        )
        return [CacheEntry(key, row[1], row[0]) for key, row in rows if row is not None]

    def put_many(self, entries: Sequence[CacheEntry], used: Sequence[str], now: float) -> None:
        """See `CacheStore`."""
        fitting = [entry for entry in entries if len(entry.value) <= self._largest]
        with self._transaction() as writer:
            writer.executemany(_USE, [(now, key) for key in used])
            writer.executemany(
                _PUT, [(entry.key, entry.written_at, now, entry.value) for entry in fitting]
            )
            writer.execute(_EXPIRE, (now - self._ttl_s,))
            self._make_room(writer)

    def count(self) -> Holding:
        """See `CacheStore`."""
        if self._reader is None:
            return Holding(0, 0, self.evicted)
        entries = _number(self._reader, "SELECT count(*) FROM answers")
        return Holding(entries, _bytes_used(self._reader), self.evicted)

    def clear(self) -> None:
        """Drop everything, so that nothing of it is left in the file."""
        with self._transaction() as writer:
            writer.execute("DELETE FROM answers")
        writer.execute("VACUUM")
        writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close_reader(self) -> None:
        """Let go of the one connection."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    def close_writer(self) -> None:
        """Let go of the other one."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    # ----------------------------------------------------------------

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(
            self.path,
            timeout=_BUSY_S,
            isolation_level=None,  # transactions are begun and ended here
            check_same_thread=False,  # one thread at a time, but not always the same
        )

    @contextmanager
    def _transaction(self) -> Generator[sqlite3.Connection]:
        writer = self._writer
        if writer is None:
            raise sqlite3.ProgrammingError("the file is not open")
        # Locked from its beginning: one that reads first and then wants to write may not wait.
        writer.execute("BEGIN IMMEDIATE")
        try:
            yield writer
        except BaseException:
            if writer.in_transaction:  # some errors end it, such as a full disk
                writer.execute("ROLLBACK")
            raise
        writer.execute("COMMIT")

    def _make_room(self, writer: sqlite3.Connection) -> None:
        """Drop the longest unused answers until the file has no more pages in use than it may."""
        while (excess := _bytes_used(writer) - self._max_bytes) > 0:
            keys: list[tuple[str]] = []
            rows = writer.execute(_LONGEST_UNUSED)
            while excess > 0 and (row := rows.fetchone()) is not None:
                keys.append((row[0],))
                excess -= row[1]
            rows.close()
            if not keys:
                return
            writer.executemany(_DROP, keys)
            self.evicted += len(keys)


def _use_wal(connection: sqlite3.Connection) -> None:
    """Have the file in WAL mode; it keeps it.

    SQLite refuses at once, without the usual wait, if another program is just about to do the
    same. That it has not been done by this one is no harm.
    """
    try:
        connection.execute("PRAGMA journal_mode = WAL")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorname != "SQLITE_BUSY":
            raise


def _number(connection: sqlite3.Connection, question: str) -> int:
    return cast("int", connection.execute(question).fetchone()[0])


def _bytes_used(connection: sqlite3.Connection) -> int:
    """The pages in use; pages that are free are taken before the file grows."""
    pages = _number(connection, "PRAGMA page_count") - _number(connection, "PRAGMA freelist_count")
    return pages * _number(connection, "PRAGMA page_size")


T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_MOVE = "move the file away, or give another path, and a new one is made"
_REMEDIES = {  # {SQLite's name of an error, without what follows a second underscore: what to do}
    "SQLITE_CORRUPT": _MOVE,
    "SQLITE_NOTADB": _MOVE,
    "SQLITE_BUSY": "end the program that keeps it locked, or give another path",
    "SQLITE_FULL": "make room on the disk",
}
_OTHERWISE = "give a path to a file that may be read and written, in a directory that is the same"


class SqliteStore:
    """A `CacheStore` in one file, which several programs may share.

    A file that cannot be used is left as it is: nothing here deletes it, or makes it anew.

    Args:
        policy: has the path, and the bounds.

    Raises:
        ValueError: the policy has no path.
    """

    def __init__(self, policy: CachePolicy) -> None:
        if policy.path is None:
            raise ValueError("path must be given for a cache on disk")
        self._file = SqliteFile(policy.path, policy.ttl_s, policy.max_bytes)
        # A connection is for one thread at a time; these let in one, and the next after it.
        self._reading = trio.CapacityLimiter(1)
        self._writing = trio.CapacityLimiter(1)

    def __repr__(self) -> str:
        return f"<SqliteStore {self.name}>"

    @property
    def name(self) -> str:
        """The path."""
        return str(self._file.path)

    async def open(self) -> None:
        """Open the file, and make it if there is none.

        Raises:
            StoreUnavailable: it cannot be used; says why, and the remedy.
        """
        try:
            await _run(self._writing, self._file.open)
        except StoreUnavailable:
            await self.close()
            raise

    async def get_many(self, keys: Sequence[str], now: float) -> Sequence[CacheEntry]:
        """See `CacheStore`."""
        return await _run(self._reading, self._file.get_many, keys, now)

    async def put_many(
        self, entries: Sequence[CacheEntry], used: Sequence[str], now: float
    ) -> None:
        """See `CacheStore`; one transaction."""
        await _run(self._writing, self._file.put_many, entries, used, now)

    async def count(self) -> Holding:
        """See `CacheStore`."""
        return await _run(self._reading, self._file.count)

    async def clear(self) -> None:
        """See `CacheStore`."""
        await _run(self._writing, self._file.clear)

    async def close(self) -> None:
        """Let go of the file when what is under way has ended, even if cancelled meanwhile."""
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self._file.close_reader, limiter=self._reading)
            await trio.to_thread.run_sync(self._file.close_writer, limiter=self._writing)


async def _run(limiter: trio.CapacityLimiter, function: Callable[[*Ts], T], *args: *Ts) -> T:
    """Run it in a thread; it is never left there half done."""
    try:
        return await trio.to_thread.run_sync(function, *args, limiter=limiter)
    except (sqlite3.Error, OSError) as error:
        raise StoreUnavailable(str(error), _remedy(error)) from error


def _remedy(error: sqlite3.Error | OSError) -> str:
    if isinstance(error, ForeignFile):
        return _MOVE
    if isinstance(error, OSError):
        return _OTHERWISE
    name = getattr(error, "sqlite_errorname", "")  # not of errors that Python itself finds
    return _REMEDIES.get("_".join(name.split("_")[:2]), _OTHERWISE)
