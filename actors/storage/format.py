"""The formats of database files: how a file is recognized, and how it is opened for that."""

import contextlib
import os
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING

import attrs

from .checksums import add_checksums
from .errors import DamagedFile, ForeignFile, OtherVersion, StorageUnavailable
from .remedies import open_files_error, write_remedy
from .write_ahead_log import log_of

if TYPE_CHECKING:  # sqlite3 is imported when a file is opened: most programs open none
    import sqlite3

_HEADER_BYTES = 100  # SQLite takes a shorter file for an empty database
_MAX_VERSION = 9999  # of a format; a larger one, or one below 1, is damage
NO_DATABASE = "the file is not a database: it is damaged, or another program wrote it"
_REASONS = {  # {SQLite's primary error name: what it means}
    "SQLITE_CANTOPEN": "the system does not let it be opened",
    "SQLITE_READONLY": "it is read-only",
    "SQLITE_PERM": "the system does not permit to read or write it",
    "SQLITE_AUTH": "the system does not permit to read or write it",
}
DAMAGE = ("SQLITE_CORRUPT", "SQLITE_NOTADB")
SCHEMA = "SELECT type, name, tbl_name, sql FROM sqlite_schema"


def connect(path: Path | None, options: str, wait_s: float = 0.0) -> "sqlite3.Connection":
    """Connect to a file, or to a new database in memory.

    Args:
        path: the file; None for memory.
        options: what SQLite takes in the URI of a file, such as "mode=ro".
        wait_s: seconds to wait for a lock.
    """
    import sqlite3  # noqa: PLC0415  # see above

    connection = sqlite3.connect(
        ":memory:" if path is None else f"{path.absolute().as_uri()}?{options}",
        uri=path is not None,
        timeout=wait_s,
        isolation_level=None,  # transactions begin and end in `transaction`
        check_same_thread=False,  # one thread at a time, but not always the same one
    )
    add_checksums(connection)
    return connection


def error_name(error: "sqlite3.Error | UnicodeDecodeError") -> str:
    """Return SQLite's primary error name, such as "SQLITE_BUSY"."""
    # Errors that Python itself finds have no name, such as the use of a closed database.
    return "_".join(getattr(error, "sqlite_errorname", "").split("_")[:2])


def unavailable(name: str, error: "sqlite3.Error") -> StorageUnavailable:
    """Return the error of a file that SQLite cannot open, or use.

    Args:
        name: what the store is and where it is.
        error: what SQLite reports.
    """
    code = error_name(error)
    system = open_files_error() if code == "SQLITE_CANTOPEN" else None
    if system is None:
        return StorageUnavailable(name, _REASONS.get(code, " ".join(str(error).split())))
    return StorageUnavailable(name, os.strerror(system.errno or 0), write_remedy(system))


@attrs.frozen
class FormatUpgrade:
    """How a file of an earlier version becomes one of the present version.

    Args:
        schema: the SQL statements that create the tables of the earlier version.
        statements: the SQL statements that change its tables.
    """

    schema: tuple[str, ...]
    statements: tuple[str, ...]


@attrs.frozen(kw_only=True)
class DatabaseFormat:
    """A kind of database file: what it is called, how it is recognized, which tables it has.

    Args:
        noun: what messages call the file, such as "ledger".
        application_id: a 32-bit number, different for each kind of file (SQLite's application_id).
        version: of the tables, from 1 to 9999 (SQLite's user_version); a file with another one is
            refused.
        earlier: what turns a file of an earlier version into one of this version, when it is opened
            for writing.
        schema: the SQL statements that create the tables; a file with other tables is refused.
        checked: the columns of each table whose rows have a checksum, which is in the column `crc`.
        checked_when_read: those of them that are so large that they are checked when they are read,
            and not when the file is opened.
        functions: SQL functions by name: the number of arguments and the function.
        aggregates: SQL aggregates by name: the number of arguments and the class.
    """

    noun: str
    application_id: int
    version: int
    schema: tuple[str, ...]
    earlier: Mapping[int, FormatUpgrade] = attrs.field(factory=dict[int, FormatUpgrade])
    checked: Mapping[str, str] = attrs.field(factory=dict[str, str])
    checked_when_read: frozenset[str] = frozenset()
    functions: Mapping[str, tuple[int, Callable[..., str | int]]] = attrs.field(
        factory=dict[str, tuple[int, Callable[..., str | int]]]
    )
    aggregates: Mapping[str, tuple[int, type]] = attrs.field(factory=dict[str, tuple[int, type]])

    def name(self, path: Path | None) -> str:
        """What messages call a file of this format, such as "the ledger /var/ledger.sqlite3".

        Args:
            path: the file; None for a database in memory.
        """
        return f"the {self.noun} {'in memory' if path is None else path}"

    def is_in_header(self, path: Path) -> bool:
        """Return whether the header of a file says that it has this format, whatever follows.

        Args:
            path: the file, which may be damaged, or not exist.
        """
        import sqlite3  # noqa: PLC0415  # see above

        try:
            with contextlib.closing(connect(path, "mode=ro&immutable=1")) as header:
                header.execute("PRAGMA writable_schema = ON")  # see `check_header`
                (application_id,) = header.execute("PRAGMA application_id").fetchone()
        except sqlite3.Error:
            return False
        return bool(application_id == self.application_id)

    def check_header(self, path: Path) -> None:
        """Check the header and the size of an existing file, without locks, its log, or any change.

        SQLite reads the header, and no `open` of Python's: closing a file of Python's would release
        all locks that this process holds on the file (https://www.sqlite.org/howtocorrupt.html).

        Args:
            path: the file to check, which exists.

        Raises:
            DamagedFile, ForeignFile, OtherVersion: the file is not of this format.
            OSError: the file does not exist.
            StorageUnavailable: the file cannot be read, or it is a folder or another special file.
        """
        import sqlite3  # noqa: PLC0415  # see above

        name = self.name(path)
        status = path.stat()
        if path.is_dir():
            remedy = "move the folder away, or give another path"
            raise StorageUnavailable(name, "it is a folder", remedy)
        if not S_ISREG(status.st_mode):
            raise StorageUnavailable(name, "it is not a regular file", "give the path of a file")
        if not (size := status.st_size):
            raise DamagedFile(name, "the file is empty")
        if size < _HEADER_BYTES:
            raise DamagedFile(name, NO_DATABASE)
        has_log = log_of(path).exists()
        try:
            with contextlib.closing(connect(path, "mode=ro&immutable=1")) as header:
                # The header may count pages that were cut off, or that a process, before it died,
                # had not copied from the log yet. With this setting SQLite reads such a file.
                header.execute("PRAGMA writable_schema = ON")
                (application_id,) = header.execute("PRAGMA application_id").fetchone()
                (version,) = header.execute("PRAGMA user_version").fetchone()
                is_ours = application_id == self.application_id
                counted = _bytes_counted(header, name) if is_ours else size
        except sqlite3.Error as error:
            if error_name(error) not in DAMAGE:
                raise unavailable(name, error) from error
            raise DamagedFile(name, NO_DATABASE) from error
        if not is_ours:
            raise ForeignFile(name, f"the file is a database, but not a {self.noun} of Callsheet")
        if not 1 <= version <= _MAX_VERSION:
            raise DamagedFile(name, f"the file is damaged (its header has the version {version})")
        if version != self.version and version not in self.earlier:
            raise OtherVersion(
                name, f"the file has format version {version}, and this release reads version "
                f"{self.version}"
            )  # fmt: skip
        # While a process uses the file, its log exists, and the header may be older than the log.
        is_in_use = has_log or log_of(path).exists() or path.stat().st_size != size
        if counted != size and not is_in_use:
            raise DamagedFile(
                name,
                f"the file is damaged (it has {size:,} bytes, and its header counts {counted:,})",
            )


def _bytes_counted(header: "sqlite3.Connection", name: str) -> int:
    """Return the size of a file in bytes, as its header counts it."""
    import sqlite3  # noqa: PLC0415  # see above

    try:
        (pages,) = header.execute("PRAGMA page_count").fetchone()  # it reads the tables, too
        (page_bytes,) = header.execute("PRAGMA page_size").fetchone()
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # the text need not be UTF-8
        if isinstance(error, sqlite3.Error) and error_name(error) not in DAMAGE:
            raise
        raise DamagedFile(name, "the file is damaged (its tables cannot be read)") from error
    return int(pages * page_bytes)


@lru_cache(maxsize=16)  # more than there are formats
def schema_of(statements: tuple[str, ...]) -> set[tuple[object, ...]]:
    """Return what SQLite stores about the tables that statements create."""
    with contextlib.closing(connect(None, "")) as memory:
        for statement in statements:
            memory.execute(statement)
        return set(memory.execute(SCHEMA))
