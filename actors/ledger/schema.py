"""A ledger's file, made and opened."""

import contextlib
import os
import sqlite3
from pathlib import Path

from .locks import is_held
from .migration import migrate
from .tables import TABLES, VERSION, add_functions

__all__ = ["LedgerUnusable", "connect", "unusable"]

_BUSY_S = 10.0  # to wait for another process that writes; it takes milliseconds
_APPLICATION = 0x63616C6C  # "call", so that no other SQLite file is taken for a ledger


class LedgerUnusable(Exception):
    """A ledger's file cannot be read or written; the text says why, and what to do."""


def connect(path: Path, *, create: bool) -> sqlite3.Connection:
    """Open the file, and make sure that it is a ledger, and of this version.

    Args:
        path: of it.
        create: make it if there is none.

    Raises:
        LedgerUnusable: it is no ledger, is of a later version, or cannot be written.
    """
    try:
        if create:
            path.parent.mkdir(parents=True, exist_ok=True)
        mode = "rwc" if create else "rw"
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=_BUSY_S,
            isolation_level=None,  # transactions begin and end where it is said
            check_same_thread=False,  # a thread at a time
        )
    except (OSError, sqlite3.Error) as error:
        raise unusable(path, error) from None
    try:
        add_functions(connection)
        _prepare(connection, path)
    except BaseException as error:
        connection.close()
        if isinstance(error, sqlite3.Error):
            raise unusable(path, error) from None
        raise
    return connection


def unusable(path: Path, error: Exception) -> LedgerUnusable:
    """What to raise for an error of the file."""
    if isinstance(error, OSError) and error.errno is not None:
        words = os.strerror(error.errno)
    else:
        words = str(error)
    if "not a database" in words or "malformed" in words:
        remedy = "it is damaged, or no ledger: move it away, or name another file"
    elif "locked" in words:
        remedy = "another program holds it; try again when that has ended"
    else:
        remedy = "make the file and its folder writable, or name another file"
    return LedgerUnusable(f"the ledger {path} cannot be used ({words}); {remedy}")


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")  # on disk, when a commit returns
    connection.execute("BEGIN IMMEDIATE")
    try:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        is_old = False
        if not tables and not application:
            for statement in TABLES:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {_APPLICATION}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
        else:
            is_old = _check(path, application, version)
            if is_old:
                _bring_up_to_date(connection, path)
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise
    if is_old:
        with contextlib.suppress(sqlite3.Error):  # it is as good if it stays as large
            connection.execute("VACUUM")


def _check(path: Path, application: int, version: int) -> bool:
    """Refuse a file of somebody else's, or of a later version's; whether it is an old one."""
    if application != _APPLICATION:
        raise LedgerUnusable(
            f"{path} is a database, but no ledger of Callsheet's; name another file"
        )
    if version not in (1, VERSION):
        raise LedgerUnusable(
            f"the ledger {path} was written by another version of Callsheet ({version}, not "
            f"{VERSION}); name another file"
        )
    return bool(version != VERSION)


def _bring_up_to_date(connection: sqlite3.Connection, path: Path) -> None:
    runs = connection.execute("SELECT id FROM runs WHERE ended_at IS NULL").fetchall()
    if any(is_held(path, run) for (run,) in runs):
        raise LedgerUnusable(
            f"the ledger {path} is in use by an earlier version of Callsheet; try again when that "
            "has ended"
        )
    migrate(connection)
    connection.execute(f"PRAGMA user_version = {VERSION}")
