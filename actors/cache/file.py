"""A response cache in an SQLite file that several processes may share."""

from collections.abc import Callable, Sequence
from math import inf
from pathlib import Path
from typing import TypeVar, final

import trio

from ..storage import (
    Database,
    DatabaseFormat,
    StorageError,
    StorageUnavailable,
    beside,
    in_worker_thread,
    open_database,
)
from .policy import CachePolicy
from .store import CacheEntry, CacheUsage

_WAIT_S = 2.0  # for another process that writes, which takes milliseconds
_CHECKED_BYTES = 16 * 1024**2  # in some 20 ms; damage costs only hits
_MAX_VALUE_BYTES = 100_000_000  # SQLite takes no value above a billion

_CACHE = DatabaseFormat(
    noun="response cache",
    application_id=0x43534854,  # "CSHT"
    version=3,
    schema=(
        # The value is the last column, so that its pages are not read for the others.
        """CREATE TABLE responses (
            key TEXT PRIMARY KEY, written_at REAL NOT NULL, used_at REAL NOT NULL,
            crc INTEGER NOT NULL, value BLOB NOT NULL
        )""",
        "CREATE INDEX by_use ON responses (used_at)",
        "CREATE INDEX by_age ON responses (written_at)",
    ),
    checked={"responses": "key, written_at, value"},
)
_GET = """SELECT written_at, value, verified(crc, key, written_at, value) FROM responses
    WHERE key = ? AND written_at > ?"""
_PUT = """INSERT INTO responses (key, written_at, used_at, value, crc)
    VALUES (?1, ?2, ?3, ?4, checksum(?1, ?2, ?4))
    ON CONFLICT (key) DO UPDATE SET written_at = excluded.written_at, used_at = excluded.used_at,
    value = excluded.value, crc = excluded.crc"""
_USE = "UPDATE responses SET used_at = ? WHERE key = ?"
_EXPIRE = "DELETE FROM responses WHERE written_at <= ?"
_LEAST_RECENTLY_USED = "SELECT key, length(value) FROM responses ORDER BY used_at"
_DROP = "DELETE FROM responses WHERE key = ?"


@final
class CacheFile:
    """The file of a cache. One connection reads and one writes, so that reads do not wait.

    All of it blocks. A commit does not wait for the disk (``synchronous=NORMAL``): a power cut may
    lose the last responses, but does not damage the file.

    Args:
        path: the SQLite file, which is created if it does not exist.
        ttl_s: seconds for which a response is valid; None for ever.
        max_bytes: the size up to which the file may grow.

    Attributes:
        evicted: the number of responses that were dropped to make room.
    """

    def __init__(self, path: Path, ttl_s: float | None, max_bytes: int) -> None:
        self.path = path.absolute()  # ":memory:" is a file name here, too
        self.evicted = 0
        self._ttl_s = inf if ttl_s is None else ttl_s
        self._max_bytes = max_bytes
        self._max_value = min(max_bytes // 4, _MAX_VALUE_BYTES)
        self._reader: Database | None = None
        self._writer: Database | None = None

    def open(self) -> None:
        """Open the file; create it if it does not exist.

        Raises:
            StorageError: the file cannot be used.
        """
        self._writer = self._open(check_bytes=_CHECKED_BYTES)
        self._reader = self._open(check_bytes=0)
        self._reader.execute("PRAGMA query_only = ON")

    def get_many(self, keys: Sequence[str], now: float) -> list[CacheEntry]:
        """See `CacheStore`."""
        if self._reader is None:
            return []
        rows = ((key, self._reader.row(_GET, (key, now - self._ttl_s))) for key in keys)
        return [CacheEntry(key, row[1], row[0]) for key, row in rows if row is not None]

    def put_many(self, entries: Sequence[CacheEntry], used: Sequence[str], now: float) -> None:
        """See `CacheStore`."""
        writer = self._open_writer
        fitting = [entry for entry in entries if len(entry.value) <= self._max_value]
        with writer.transaction():
            writer.executemany(_USE, [(now, key) for key in used])
            writer.executemany(
                _PUT, [(entry.key, entry.written_at, now, entry.value) for entry in fitting]
            )
            writer.execute(_EXPIRE, (now - self._ttl_s,))
            self._make_room(writer)

    def usage(self) -> CacheUsage:
        """See `CacheStore`."""
        if self._reader is None:
            return CacheUsage(0, 0, self.evicted)
        entries = self._reader.number("SELECT count(*) FROM responses")
        return CacheUsage(entries, self._reader.bytes_used, self.evicted)

    def clear(self) -> None:
        """Delete all responses, so that nothing of them remains in the file."""
        writer = self._open_writer
        with writer.transaction():
            writer.execute("DELETE FROM responses")
        writer.execute("VACUUM")
        writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def set_aside(self) -> Path | None:
        """Give a damaged file another name, so that the next program begins a new one.

        Returns:
            The new path; None if the file is not a cache of ours, or cannot be renamed.
        """
        if not _CACHE.is_in_header(self.path):
            return None
        number = 1
        while (aside := self.path.with_name(f"{self.path.name}.damaged-{number}")).exists():
            number += 1
        try:
            for file, new in zip(reversed(beside(self.path)), reversed(beside(aside)), strict=True):
                if file.exists():
                    file.rename(new)
        except OSError:
            return None
        return aside

    def close_reader(self) -> None:
        """Close the connection that reads."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    def close_writer(self) -> None:
        """Close the connection that writes."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    @property
    def _open_writer(self) -> Database:
        if self._writer is None:
            raise StorageUnavailable(_CACHE.name(self.path), "the file is not open")
        return self._writer

    def _open(self, *, check_bytes: int) -> Database:
        return open_database(
            self.path,
            _CACHE,
            owner="shared",
            synchronous="normal",
            wait_s=_WAIT_S,
            check_bytes=check_bytes,
        )

    def _make_room(self, writer: Database) -> None:
        """Drop the least recently used responses until the file is within its bound."""
        while (excess := writer.bytes_used - self._max_bytes) > 0:
            keys: list[tuple[str]] = []
            for key, size in writer.rows(_LEAST_RECENTLY_USED):
                keys.append((key,))
                excess -= size
                if excess <= 0:
                    break
            if not keys:
                return
            writer.executemany(_DROP, keys)
            self.evicted += len(keys)


T = TypeVar("T")


@final
class SqliteStore:
    """A `CacheStore` in a file. A file that cannot be used is not changed, but may be renamed.

    Args:
        policy: the path, and the bounds.

    Raises:
        ValueError: the policy has no path.
    """

    def __init__(self, policy: CachePolicy) -> None:
        if policy.path is None:
            raise ValueError("path must be given for a cache on disk")
        self._file = CacheFile(policy.path, policy.ttl_s, policy.max_bytes)
        # Each connection is used by one thread at a time.
        self._reading = trio.CapacityLimiter(1)
        self._writing = trio.CapacityLimiter(1)

    def __repr__(self) -> str:
        return f"<SqliteStore {self.name}>"

    @property
    def name(self) -> str:
        """The path of the file."""
        return str(self._file.path)

    async def open(self) -> None:
        """Open the file; create it if it does not exist.

        Raises:
            StorageError: the file cannot be used.
        """
        try:
            await self._write(self._file.open)
        except StorageError:
            await self.close()
            raise

    async def get_many(self, keys: Sequence[str], now: float) -> Sequence[CacheEntry]:
        """See `CacheStore`."""
        return await self._read(lambda: self._file.get_many(keys, now))

    async def put_many(
        self, entries: Sequence[CacheEntry], used: Sequence[str], now: float
    ) -> None:
        """See `CacheStore`; in one transaction."""
        await self._write(lambda: self._file.put_many(entries, used, now))

    async def usage(self) -> CacheUsage:
        """See `CacheStore`."""
        return await self._read(self._file.usage)

    async def clear(self) -> None:
        """See `CacheStore`."""
        await self._write(self._file.clear)

    async def set_aside(self) -> str | None:
        """See `CacheStore`."""
        aside = await self._write(self._file.set_aside)
        return None if aside is None else str(aside)

    async def close(self) -> None:
        """Close the file when running reads and writes have ended, even if cancelled."""
        with trio.CancelScope(shield=True):
            await self._read(self._file.close_reader)
            await self._write(self._file.close_writer)

    async def _read(self, function: Callable[[], T]) -> T:
        return await in_worker_thread(function, limiter=self._reading)

    async def _write(self, function: Callable[[], T]) -> T:
        return await in_worker_thread(function, limiter=self._writing)
