"""The store of keys: an SQLite file that the command line writes and running gateways read.

The valid keys are in memory, so that finding one does not wait for the disk. A gateway polls the
file for changes, because SQLite does not report those of other processes.
"""

import contextlib
import hmac
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Self, final

import attrs
import platformdirs

from ...actors import Database, DatabaseFormat, StorageError, StorageUnavailable, open_database
from .key import (
    SECRET_START,
    ApiKey,
    InvalidKey,
    KeyTerms,
    hash_of,
    is_secret,
    new_id,
    new_secret,
    shown_part,
)

GRACE_S = 86_400.0
"""Seconds for which a key that is replaced stays valid, so that its users can take the new one."""

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


@attrs.frozen
class IssuedKey:
    """A new key with its secret, which is not stored and cannot be read again.

    Args:
        key: the key without its secret.
        secret: what its owner sends with each call; see L8.
        replaced: the earlier keys of the same name, which end soon.
    """

    key: ApiKey
    secret: str = attrs.field(repr=False)
    replaced: tuple[ApiKey, ...] = ()


@attrs.frozen
class KeyChanges:
    """What was read from the file.

    Args:
        keys: the hash of each key that has changed, and the key.
        is_all: whether these are all keys there are.
    """

    keys: tuple[tuple[bytes, ApiKey], ...] = ()
    is_all: bool = False

    def __bool__(self) -> bool:
        return self.is_all or bool(self.keys)


@final
class KeyStore:
    """The keys of a gateway. What reads and writes the file blocks; `find` and `valid` do not.

    Several processes may have the file open. One thread at a time may use the file.

    Args:
        path: the SQLite file.
        create: whether to create a missing file, and its folder.
        clock: Unix time in seconds.

    Raises:
        StorageError: the file cannot be used.
    """

    def __init__(
        self, path: Path, *, create: bool = False, clock: Callable[[], float] = time.time
    ) -> None:
        self.path = path
        self._clock = clock
        self._by_hash: dict[bytes, ApiKey] = {}
        self._database = _open(path, create=create)
        self._file: tuple[int, int] | None = _identity(path)
        self._version = 0  # of the file, as SQLite counts the commits of other connections
        self._seen = 0  # the number of the latest change that was read
        try:
            self.apply(self.read_changes())
        except StorageError:
            self._database.close()
            raise

    def __repr__(self) -> str:
        return f"<KeyStore {len(self._by_hash)} keys in {self.path}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. `find` goes on with what was read."""
        self._database.close()

    # ---------------------------------------------------------------- in memory

    def find(self, secret: str) -> ApiKey | None:
        """Return the valid key that has a secret; None if there is none.

        The time that it takes does not depend on how much of a secret is right: what is looked up
        is the hash, and two hashes are compared as a whole.

        Args:
            secret: what a client has sent.
        """
        wanted = hash_of(secret)
        key = self._by_hash.get(wanted)
        found = hash_of("") if key is None else wanted
        if not hmac.compare_digest(wanted, found) or key is None:
            return None
        return key if key.is_valid(self._clock()) else None

    def find_admin(self, secret: str) -> Callable[[], bool] | None:
        """Return what tells whether a key is still one of an admin; None if it is none now.

        Args:
            secret: what a client has sent.
        """
        key = self.find(secret)
        if key is None or not key.is_admin:
            return None
        digest = hash_of(secret)

        def is_valid() -> bool:
            known = self._by_hash.get(digest)
            return known is not None and known.is_admin and known.is_valid(self._clock())

        return is_valid

    def valid(self) -> tuple[ApiKey, ...]:
        """Return the keys that are valid now, the oldest first."""
        now = self._clock()
        return tuple(key for key in self._by_hash.values() if key.is_valid(now))

    def apply(self, changes: KeyChanges) -> None:
        """Take in what was read from the file.

        Args:
            changes: what `read_changes` has returned.
        """
        now = self._clock()
        known = {} if changes.is_all else self._by_hash
        for digest, key in changes.keys:
            if key.is_valid(now):
                known[digest] = key
            else:
                known.pop(digest, None)
        self._by_hash = known

    # ---------------------------------------------------------------- in the file

    def read_changes(self) -> KeyChanges:
        """Return what has changed since the last time, also by other processes.

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
        """Create a key.

        Args:
            terms: what the key may use.
            expires_at: when it ends, in Unix seconds; None for never.
            replace: whether it takes the place of the valid keys of the same name. They get its
                terms, as they are the same tenant, and end after `grace_s`.
            grace_s: seconds for which replaced keys stay valid.

        Raises:
            InvalidKey: the name is in use; or, with `replace`, is not.
            StorageError: the file cannot be written.
        """
        now = self._clock()
        if expires_at is not None and expires_at <= now:
            raise InvalidKey("the key would have expired before its first call; give a later time")
        secret = new_secret()
        new = ApiKey(
            **terms.values(),
            id=new_id(),
            prefix=shown_part(secret),
            created_at=now,
            expires_at=expires_at,
        )
        with self._database.transaction():
            former = [key for key in self._named(terms.name) if key.is_valid(now)]
            if former and not replace:
                raise InvalidKey(
                    f"there is a key {terms.name} already ({former[-1].id}); give another name, "
                    "or --replace to issue a new secret, or revoke it first"
                )
            if replace and not former:
                raise InvalidKey(
                    f"there is no valid key {terms.name} to replace{self._near(terms.name)}"
                )
            ended = tuple(self._ending(key, terms, now + grace_s) for key in former)
            self._write(ended)
            self._insert(new, hash_of(secret))
        self._after_writing()
        return IssuedKey(new, secret, ended)

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
            meant = list(self._meant(which))
            revoked = tuple(attrs.evolve(key, revoked_at=now) for key in meant if key.is_valid(now))
            if not revoked:
                is_hidden = which.startswith(SECRET_START)  # a part of a secret, too
                shown = "with that secret" if is_hidden else f"{which!r:.80}"
                if meant:
                    raise InvalidKey(f"the key {shown} has ended already; nothing is to be revoked")
                near = "" if is_hidden else self._near(which)
                raise InvalidKey(f"there is no key {shown}{near}; give a name or an id")
            self._write(revoked)
        self._after_writing()
        return revoked

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

    def _near(self, name: str) -> str:
        known = [row[0] for row in self._database.rows("SELECT DISTINCT name FROM keys")]
        near = get_close_matches(name, known, 1)
        return f'; did you mean "{near[0]}"?' if near else ""

    def _ending(self, key: ApiKey, terms: KeyTerms, at: float) -> ApiKey:
        ends = at if key.expires_at is None else min(at, key.expires_at)
        return attrs.evolve(key, **terms.values(), expires_at=ends)

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
        self.apply(self._read(is_all=False))

    def _read(self, *, is_all: bool) -> KeyChanges:
        rows = list(self._rows("WHERE change > ? ORDER BY change", self._seen))
        self._seen = max([self._seen, *(row[_CHANGE] for row in rows)])
        return KeyChanges(tuple((row[_HASH], _key_of(row)) for row in rows), is_all)


def _open(path: Path, *, create: bool = False) -> Database:
    if not create and not path.exists():
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
