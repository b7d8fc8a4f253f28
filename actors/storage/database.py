"""An open database file: transactions, queries, checks of its contents, and its errors.

Everything here blocks. Run it in a worker thread, and let one thread at a time use a `Database`.
"""

import contextlib
from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, final

from .errors import (
    DamagedFile,
    DiskError,
    FileInUse,
    StorageError,
    StorageFull,
)
from .format import (
    SCHEMA,
    DatabaseFormat,
    FormatUpgrade,
    connect,
    error_name,
    schema_of,
    unavailable,
)
from .write_ahead_log import log_of

if TYPE_CHECKING:  # sqlite3 is imported when a file is opened: most programs open none
    import sqlite3


Owner = Literal["one process", "shared"]
Synchronous = Literal["full", "normal", "off"]

_NO_CHECKPOINT_ON_CLOSE = 1006  # SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE
_BAD_VALUE = "the file is damaged (a stored value is not valid)"
_BAD_VALUE_TEXTS = ("Could not decode", "user-defined")  # our SQL functions fail on nothing else
# A quota, or a bound on the size of files, ends in these, as an error of the disk does.
_CANNOT_GROW = ("SQLITE_IOERR_WRITE", "SQLITE_IOERR_SHMSIZE")
_ERRORS: dict[str, type[StorageError]] = {  # {SQLite's primary error name: class}
    "SQLITE_CORRUPT": DamagedFile,
    "SQLITE_NOTADB": DamagedFile,
    "SQLITE_BUSY": FileInUse,
    "SQLITE_LOCKED": FileInUse,
    "SQLITE_FULL": StorageFull,
    "SQLITE_IOERR": DiskError,
}

_REASONS = {  # {SQLite's primary error name: what it means}; others are in SQLite's words
    "SQLITE_BUSY": "another process has locked it",
    "SQLITE_LOCKED": "another process has locked it",
    "SQLITE_FULL": "the disk or a quota is full",
    "SQLITE_IOERR": "the disk failed, or the system refused to read or write it (disk I/O error)",
}


def _check_schema(database: "Database", form: DatabaseFormat, schema: tuple[str, ...]) -> None:
    """Check that a file has the tables of its version, which costs some 0.1 ms.

    Raises:
        DamagedFile: it has others.
    """
    tables: set[tuple[object, ...]] = set(database.rows(SCHEMA))
    if tables != schema_of(schema):
        reason = f"the file is damaged (its tables are not those of a {form.noun})"
        raise DamagedFile(database.name, reason)


@final
class Database:
    """An open database. Its methods raise `StorageError`, and no error of sqlite3.

    Args:
        path: the file, which exists; None for a database in memory.
        form: the format that the file must have.
        owner: "one process" keeps every other process out until the database is closed; "shared"
            lets several processes read and write.
        synchronous: "full": a commit is on disk when it returns; "normal": a power cut may lose the
            last commits; "off": it may also damage the file.
        wait_s: seconds to wait for another process that holds a lock on the file.
        read_only: whether nothing will be written.
        check_bytes: the size in bytes up to which the whole file is checked for damage.
        name: what messages call the file; None for what the format calls it.
        is_new: whether the file is empty, and gets its tables from `create_tables`.

    Attributes:
        name: what messages call the file.
    """

    def __init__(
        self,
        path: Path | None,
        form: DatabaseFormat,
        *,
        owner: Owner,
        synchronous: Synchronous = "full",
        wait_s: float = 1.0,
        read_only: bool = False,
        check_bytes: int = 0,
        name: str | None = None,
        is_new: bool = False,
    ) -> None:
        import sqlite3  # noqa: PLC0415  # see above

        self.name = name or form.name(path)
        self._form = form
        # The second: SQLite's error text of a damaged file need not be UTF-8.
        self._errors = (sqlite3.Error, UnicodeDecodeError)
        self._read_only = read_only
        self._depth = 0
        try:
            self._connection = connect(path, _options(path, read_only=read_only), wait_s)
        except sqlite3.Error as error:
            raise self._translated(error) from error
        try:
            self._prepare(owner, synchronous)
            if path is None:
                self.create_tables()
            elif not is_new:
                upgrade = form.earlier.get(self.number("PRAGMA user_version"))
                _check_schema(self, form, form.schema if upgrade is None else upgrade.schema)
                if self.bytes_used <= check_bytes:
                    self._look_for_damage()
                if upgrade is not None and not read_only:
                    self._upgrade(upgrade)
        except BaseException:
            self._close_unchanged()
            raise

    def __repr__(self) -> str:
        return f"<Database {self.name}>"

    def execute(self, sql: str, parameters: Sequence[object] = ()) -> "sqlite3.Cursor":
        """Execute one statement.

        Args:
            sql: the statement, with `?` for each parameter.
            parameters: the values of the `?`, in their order.
        """
        try:
            return self._connection.execute(sql, parameters)
        except self._errors as error:
            raise self._translated(error) from error

    def executemany(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        """Execute one statement for each row of parameters.

        Args:
            sql: the statement, with `?` for each parameter.
            rows: the values of each execution.
        """
        try:
            self._connection.executemany(sql, rows)
        except self._errors as error:
            raise self._translated(error) from error

    def row(self, sql: str, parameters: Sequence[object] = ()) -> tuple[Any, ...] | None:
        """Return the first row of a query, or None; arguments as for `execute`."""
        try:
            row: tuple[Any, ...] | None = self._connection.execute(sql, parameters).fetchone()
        except self._errors as error:
            raise self._translated(error) from error
        return row

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a query, which are read one by one; arguments as for `execute`."""
        try:
            yield from self._connection.execute(sql, parameters)
        except self._errors as error:
            raise self._translated(error) from error

    def number(self, sql: str, parameters: Sequence[object] = ()) -> int:
        """Return the whole number in the first row of a query; 0 for NULL and for no row."""
        row = self.row(sql, parameters)
        return 0 if row is None else int(row[0] or 0)

    def verify(self, *tables: str) -> None:
        """Compare all rows of checked tables with their checksums.

        Args:
            tables: names of tables in `DatabaseFormat.checked`.

        Raises:
            DamagedFile: a row has another checksum.
        """
        for table in tables:
            columns = self._form.checked[table]
            self.row(f"SELECT 1 FROM {table} WHERE NOT verified(crc, {columns})")  # noqa: S608  # constants

    @contextlib.contextmanager
    def decoding(self) -> Generator[None]:
        """Raise `DamagedFile` if the block cannot decode a value that it has read."""
        try:
            yield
        except (ValueError, TypeError, LookupError, ArithmeticError) as error:
            raise DamagedFile(self.name, _BAD_VALUE) from error

    @property
    def bytes_used(self) -> int:
        """Bytes in use in the file, without free pages, which are used before the file grows."""
        pages = self.number("PRAGMA page_count") - self.number("PRAGMA freelist_count")
        return pages * self.number("PRAGMA page_size")

    @contextlib.contextmanager
    def transaction(self) -> Generator[None]:
        """Commit what the block writes, or nothing of it if the block raises.

        A transaction inside a transaction is a savepoint: it fails alone, and is on disk when the
        outer one is.
        """
        if self._depth:
            begin, commit, roll_back = "SAVEPOINT inner", "RELEASE inner", "ROLLBACK TO inner"
        else:
            # Locked from the beginning: SQLite does not wait for a lock in the middle.
            begin, commit, roll_back = "BEGIN IMMEDIATE", "COMMIT", "ROLLBACK"
        self.execute(begin)
        self._depth += 1
        try:
            yield
            self.execute(commit)
        except BaseException:
            with contextlib.suppress(StorageError):  # some errors end it, such as a full disk
                self.execute(roll_back)
                if self._depth > 1:
                    self.execute(commit)
            raise
        finally:
            self._depth -= 1

    def begin(self) -> None:
        """Begin a transaction that `commit` or `roll_back` ends later."""
        self.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Commit what was written since `begin`."""
        self.execute("COMMIT")

    def roll_back(self) -> None:
        """Undo what was written since `begin`; harmless if there is nothing to undo."""
        with contextlib.suppress(StorageError):
            self.execute("ROLLBACK")

    def create_tables(self) -> None:
        """Create the tables of the format in a new database."""
        with self.transaction():
            for statement in self._form.schema:
                self.execute(statement)
            self.execute(f"PRAGMA application_id = {self._form.application_id}")
            self.execute(f"PRAGMA user_version = {self._form.version}")
        self.execute("PRAGMA journal_mode = WAL")

    def close(self) -> None:
        """Close the database and release the file. Closing twice is harmless."""
        with contextlib.suppress(*self._errors):
            self._connection.close()

    # ----------------------------------------------------------------

    def _prepare(self, owner: Owner, synchronous: Synchronous) -> None:
        if owner == "one process":
            # The lock lasts until the database is closed, and the log needs no index file.
            self.execute("PRAGMA locking_mode = EXCLUSIVE")
            self.execute("BEGIN EXCLUSIVE")
            self.execute("COMMIT")
        self.execute(f"PRAGMA synchronous = {synchronous}")
        for name, (arguments, function) in self._form.functions.items():
            self._connection.create_function(name, arguments, function, deterministic=True)
        for name, (arguments, aggregate) in self._form.aggregates.items():
            self._connection.create_aggregate(name, arguments, aggregate)

    def _look_for_damage(self) -> None:
        found = self.row("PRAGMA integrity_check(1)")
        if found != ("ok",):
            text = " ".join(str(found[0] if found else "").split())
            raise DamagedFile(self.name, f"the file is damaged ({text})")
        form = self._form
        self.verify(*(table for table in form.checked if table not in form.checked_when_read))

    def _upgrade(self, upgrade: FormatUpgrade) -> None:
        """Turn a file of an earlier version into one of this version; another process may have."""
        with self.transaction():
            if self.number("PRAGMA user_version") != self._form.version:
                for statement in upgrade.statements:
                    self.execute(statement)
                self.execute(f"PRAGMA user_version = {self._form.version}")

    def _close_unchanged(self) -> None:
        """Close without copying the log into a file that was refused."""
        configure = getattr(self._connection, "setconfig", None)  # Python 3.12 and later
        if configure is not None:
            configure(_NO_CHECKPOINT_ON_CLOSE, True)  # noqa: FBT003  # positional only
        self.close()

    def _translated(self, error: "sqlite3.Error | UnicodeDecodeError") -> StorageError:
        if isinstance(error, UnicodeDecodeError) or str(error).startswith(_BAD_VALUE_TEXTS):
            return DamagedFile(self.name, _BAD_VALUE)
        if getattr(error, "sqlite_errorname", "") in _CANNOT_GROW:
            reason = "the system refuses to write it; the disk or a quota may be full"
            return StorageFull(self.name, reason, "make room on the disk, or check the disk")
        code = error_name(error)
        if code == "SQLITE_READONLY" and not self._read_only:
            # The file was writable when it was opened. SQLite does not write to a file whose header
            # has a format that SQLite does not know.
            reason = "the file is damaged (its header has an unknown format), or is now read-only"
            return DamagedFile(self.name, reason)
        kind = _ERRORS.get(code)
        if kind is None:
            return unavailable(self.name, error)
        reason = _REASONS.get(code, str(error))
        if kind is DamagedFile:
            is_schema = reason.startswith("malformed database schema")  # it quotes what is there
            reason = "its tables cannot be read" if is_schema else reason
            reason = f"the file is damaged ({reason})"
        return kind(self.name, " ".join(reason.split()))


def _options(path: Path | None, *, read_only: bool) -> str:
    if not read_only:
        return "mode=rw"
    # Without a log no process writes the file. SQLite then needs no index file of the log, which it
    # could not create in a folder that is not writable.
    is_still = path is not None and not log_of(path).exists()
    return "mode=ro&immutable=1" if is_still else "mode=ro"
