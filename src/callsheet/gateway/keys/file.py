"""The key store: an SQLite file that the command line writes and running gateways read.

The valid keys are in memory, so that finding one does not wait for the disk. A gateway polls the
file for changes, because SQLite does not report those of other processes.
"""

import contextlib
import json
import os
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from math import inf
from pathlib import Path
from typing import Any, Final, Self, final

import attrs
import platformdirs
import trio

from ...actors import (
    Database,
    DatabaseFormat,
    StorageError,
    StorageUnavailable,
    exists,
    open_database,
)
from .issuing import GRACE_S, IssuedKey, KeyWish, revoked
from .key import ApiKey, KeyTerms, hash_of, is_secret
from .known import KeyChanges, ValidKeys

_LOOK_S: Final = 1.0  # no file system reports the changes of other machines
_WAIT_S = 10.0  # for another process that writes, which takes milliseconds
_COLUMNS = (
    "id, name, hash, prefix, lane, weight, rpm, tpm, in_flight, models, budgets, allow, is_admin, "
    "created_at, expires_at, revoked_at, change"
)
_NAMES = _COLUMNS.split(", ")
_HASH, _CHANGE = _NAMES.index("hash"), _NAMES.index("change")
_LISTS = {"models", "budgets", "allow"}  # columns of JSON

_FORMAT = DatabaseFormat(
    noun="key store",
    application_id=0x63736B79,  # "csky"
    version=1,
    schema=(
        """CREATE TABLE keys (
            id TEXT PRIMARY KEY, name TEXT NOT NULL,
            hash BLOB NOT NULL UNIQUE, -- SHA-256 of the secret
            prefix TEXT NOT NULL, lane TEXT NOT NULL, weight REAL NOT NULL, rpm REAL, tpm REAL,
            in_flight INTEGER, models TEXT NOT NULL, budgets TEXT NOT NULL, allow TEXT,
            is_admin INTEGER NOT NULL, created_at REAL NOT NULL, expires_at REAL, revoked_at REAL,
            change INTEGER NOT NULL, -- the number of the latest change of the file to this row
            crc INTEGER NOT NULL
        )""",
        "CREATE INDEX by_change ON keys (change)",
        "CREATE INDEX by_name ON keys (name)",
    ),
    checked={"keys": _COLUMNS},
)
_SELECT = f"SELECT {_COLUMNS}, verified(crc, {_COLUMNS}) FROM keys"  # noqa: S608  # constants
_INSERT = (
    f"INSERT INTO keys ({_COLUMNS}, crc) "  # noqa: S608  # constants
    f"VALUES ({', '.join('?' * len(_NAMES))}, 0)"
)
_SEAL = f"UPDATE keys SET crc = checksum({_COLUMNS}) WHERE id = ?"  # noqa: S608  # constants

_Row = tuple[Any, ...]


def default_key_store() -> Path:
    """Return the key store in the user's data folder."""
    return platformdirs.user_data_path("callsheet") / "keys.sqlite3"


@final
class KeyFile:
    """The file of a key store. Everything blocks.

    Several processes may have the file open. One thread at a time may use the file.

    Args:
        path: the SQLite file.
        create: whether to create a missing file, and its folder.
        clock: Unix time in seconds.
        known: what was read of it before; None for nothing.

    Attributes:
        known: the valid keys as they were read last.

    Raises:
        StorageError: the file cannot be used.
    """

    def __init__(
        self,
        path: Path,
        *,
        create: bool = False,
        clock: Callable[[], float] = time.time,
        known: ValidKeys | None = None,
    ) -> None:
        self.known = ValidKeys(clock=clock) if known is None else known
        self.path = path
        self._clock = clock
        self._database = _open(path, create=create)
        self._file: tuple[int, int] | None = _identity(path)
        self._version = 0  # of the file, as SQLite counts the commits of other connections
        self._seen = 0  # the number of the latest change that was read
        try:
            self.known.apply(self.read_changes())
        except StorageError:
            self._database.close()
            raise

    def __repr__(self) -> str:
        return f"<KeyFile {self.path} {self.known!r}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. What was read stays known."""
        self._database.close()

    # ---------------------------------------------------------------- in the file

    def read_changes(self) -> KeyChanges:
        """Return what has changed since the last time, also by other processes, for `known`.

        Raises:
            StorageError: the file cannot be read.
        """
        file = _identity(self.path)
        if file is None or file != self._file:  # it is away, or another file has its name now
            self._database.close()  # first, so that it shares nothing with the new one
            self._file, self._version, self._seen = None, 0, 0
            self._database = _open(self.path)
            self._file = file
        version = self._database.number("PRAGMA data_version")
        if version == self._version:
            return KeyChanges()
        found = self._read(is_all=not self._version)
        self._version = version
        return found

    def all(self) -> tuple[ApiKey, ...]:
        """Return every key of the file, in the order of creation, also those that ended.

        Raises:
            StorageError: the file cannot be read.
        """
        return tuple(map(_key_of, self._rows("ORDER BY created_at, id")))

    def create(
        self,
        terms: KeyTerms,
        *,
        expires_at: float | None = None,
        replace: bool = False,
        grace_s: float = GRACE_S,
    ) -> IssuedKey:
        """Create a key; see `KeyWish`.

        Args:
            terms: what the key may use.
            expires_at: when it ends, in Unix seconds; None for never.
            replace: whether it takes the place of the valid keys of the same name.
            grace_s: seconds for which replaced keys stay valid.

        Raises:
            InvalidKey: the name is in use; or, with `replace`, is not.
            StorageError: the file cannot be written.
        """
        wish = KeyWish(terms=terms, expires_at=expires_at, replace=replace, grace_s=grace_s)
        now = self._clock()
        issued = wish.new_key(now)
        with self._database.transaction():
            ended = wish.replaced(self._named(terms.name), self._names(), now)
            self._write(ended)
            self._insert(issued.key, hash_of(issued.secret))
        self._after_writing()
        return attrs.evolve(issued, replaced=ended)

    def revoke(self, which: str) -> tuple[ApiKey, ...]:
        """Revoke keys; calls with them are refused from now on.

        Args:
            which: the name of keys, the id of one, or its secret.

        Returns:
            The keys that were revoked.

        Raises:
            InvalidKey: no valid key is meant.
            StorageError: the file cannot be written.
        """
        now = self._clock()
        with self._database.transaction():
            ended = revoked(which, list(self._meant(which)), self._names(), now)
            self._write(ended)
        self._after_writing()
        return ended

    # ----------------------------------------------------------------

    def _rows(self, condition: str, *values: object) -> Iterator[_Row]:
        with self._database.decoding():
            yield from self._database.rows(f"{_SELECT} {condition}", values)

    def _named(self, name: str) -> Iterator[ApiKey]:
        return map(_key_of, self._rows("WHERE name = ? ORDER BY created_at, id", name))

    def _meant(self, which: str) -> Iterator[ApiKey]:
        if is_secret(which):
            return map(_key_of, self._rows("WHERE hash = ?", hash_of(which)))
        return map(_key_of, self._rows("WHERE name = ?1 OR id = ?1 ORDER BY created_at", which))

    def _names(self) -> Iterator[str]:
        return (row[0] for row in self._database.rows("SELECT DISTINCT name FROM keys"))

    def _write(self, keys: Sequence[ApiKey]) -> None:
        """Replace the rows of keys; inside a transaction."""
        for key in keys:
            row = self._database.row("SELECT hash FROM keys WHERE id = ?", (key.id,))
            self._insert(key, row[0] if row is not None else b"")

    def _insert(self, key: ApiKey, digest: bytes) -> None:
        # Before the former row is deleted, so that no number is used twice.
        change = self._database.number("SELECT max(change) FROM keys") + 1
        self._database.execute("DELETE FROM keys WHERE id = ?", (key.id,))
        others: dict[str, object] = {"hash": digest, "change": change}
        values = [others[name] if name in others else getattr(key, name) for name in _NAMES]
        self._database.execute(_INSERT, list(map(_stored, _NAMES, values)))
        self._database.execute(_SEAL, (key.id,))

    def _after_writing(self) -> None:
        """Take in what this store has written, which does not change the version that it sees."""
        # A log without contents does no harm to a file that later takes the place of this one.
        with contextlib.suppress(StorageError):
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self.known.apply(self._read(is_all=False))

    def _read(self, *, is_all: bool) -> KeyChanges:
        rows = list(self._rows("WHERE change > ? ORDER BY change", self._seen))
        self._seen = max([self._seen, *(row[_CHANGE] for row in rows)])
        return KeyChanges(tuple((row[_HASH], _key_of(row)) for row in rows), is_all)


@final
class KeyFileStore:
    """A `KeyFile` whose work is done in threads; a `KeyStore`.

    Args:
        path: the SQLite file.
        create: whether to create a missing file, and its folder.
        clock: Unix time in seconds.
    """

    lasting_s = inf  # as long as the file is away, no one can revoke a key

    def __init__(
        self, path: Path, *, create: bool = False, clock: Callable[[], float] = time.time
    ) -> None:
        self.path = path
        self.known = ValidKeys(clock=clock)
        self._create = create
        self._clock = clock
        self._file: KeyFile | None = None

    def __repr__(self) -> str:
        return f"<KeyFileStore {self.path}>"

    @property
    def name(self) -> str:
        """See `KeyStore`."""
        return str(self.path)

    @property
    def setting(self) -> str:
        """See `KeyStore`."""
        return f"[keys] store = {json.dumps(str(self.path))}"

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """See `KeyStore`."""
        file = await trio.to_thread.run_sync(
            lambda: KeyFile(self.path, create=self._create, clock=self._clock, known=self.known)
        )
        with file:
            self._file = file
            yield

    async def refresh(self) -> None:
        """See `KeyStore`."""
        self.known.apply(await trio.to_thread.run_sync(self._opened.read_changes))

    async def wait_for_news(self) -> None:
        """See `KeyStore`."""
        await trio.sleep(_LOOK_S)

    async def all(self) -> tuple[ApiKey, ...]:
        """See `KeyStore`."""
        return await trio.to_thread.run_sync(self._opened.all)

    async def create(
        self,
        terms: KeyTerms,
        *,
        expires_at: float | None = None,
        replace: bool = False,
        grace_s: float = GRACE_S,
    ) -> IssuedKey:
        """See `KeyStore`."""
        return await trio.to_thread.run_sync(
            lambda: self._opened.create(
                terms, expires_at=expires_at, replace=replace, grace_s=grace_s
            )
        )

    async def revoke(self, which: str) -> tuple[ApiKey, ...]:
        """See `KeyStore`."""
        return await trio.to_thread.run_sync(self._opened.revoke, which)

    @property
    def _opened(self) -> KeyFile:
        if self._file is None:
            raise RuntimeError(f"{self!r} is not open; use it inside `async with store.open()`")
        return self._file


def _open(path: Path, *, create: bool = False) -> Database:
    try:
        is_there = exists(path)
    except OSError:
        is_there = True  # opening it says what is wrong
    if not create and not is_there:
        raise StorageUnavailable(
            _FORMAT.name(path),
            "the file does not exist",
            f"create a first key, which creates it: callsheet keys create NAME --store {path}",
        )
    return open_database(path, _FORMAT, owner="shared", wait_s=_WAIT_S, create=create)


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what tells one file from another that has its name later; None without a file."""
    try:
        status = os.stat(path)  # noqa: PTH116  # four times as fast as Path.stat
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _stored(name: str, value: object) -> object:
    if name in _LISTS and value is not None:
        return json.dumps(value)
    return int(value) if isinstance(value, bool) else value


def _key_of(row: _Row) -> ApiKey:
    values: dict[str, Any] = dict(zip(_NAMES, row, strict=False))
    for name in ("hash", "change"):
        del values[name]
    for name in _LISTS:
        if values[name] is not None:
            values[name] = tuple(json.loads(values[name]))
    values["is_admin"] = bool(values["is_admin"])
    return ApiKey(**values)
