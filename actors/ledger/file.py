"""The ledger on disk: what is reserved is there before it is spent, and survives who spends it.

How a process that has a ledger open is known to be there.

How a ledger's file of an earlier version becomes one of this.

A ledger's file, made and opened.
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import final

from .entries import Account, LedgerEntry, Transaction, TransactionKind
from .tables import (
    ACCOUNT_CODES,
    AMOUNT,
    KIND_CODES,
    NAMES,
    SUMMED,
    TABLES,
    VERSION,
    LedgerWriter,
    add_functions,
    last_entry,
    left_open,
    standing,
    written_since,
)

__all__ = [
    "LedgerFile",
    "LedgerUnusable",
    "connect",
    "forget",
    "hold",
    "is_held",
    "migrate",
    "recover",
    "unusable",
]


def hold(path: Path, run: int) -> sqlite3.Connection:
    """Take a run's lock: an exclusive transaction on a file beside the ledger.

    The system lets go of it when the process ends, however it ends, and SQLite can hold it on
    every system.

    Raises:
        sqlite3.OperationalError: somebody has it.
    """
    lock = sqlite3.connect(
        _lock_path(path, run), timeout=0, isolation_level=None, check_same_thread=False
    )
    try:
        lock.execute("BEGIN EXCLUSIVE")
    except BaseException:
        lock.close()
        raise
    return lock


def is_held(path: Path, run: int) -> bool:
    """Whether the run's process is there."""
    try:
        hold(path, run).close()
    except sqlite3.OperationalError:
        return True
    return False


def forget(path: Path, run: int) -> None:
    """The run has ended: its lock is needed no more."""
    with contextlib.suppress(OSError):
        _lock_path(path, run).unlink(missing_ok=True)


def _lock_path(path: Path, run: int) -> Path:
    return path.with_name(f"{path.name}.run-{run}")


_NAMES = ", ".join(NAMES)


def _cases(column: str, codes: Mapping[TransactionKind, int] | Mapping[Account, int]) -> str:
    cases = " ".join(f"WHEN '{name}' THEN {code}" for name, code in codes.items())
    return f"CASE {column} {cases} END"


_KIND = _cases("kind", KIND_CODES)
_ACCOUNT = _cases("account", ACCOUNT_CODES)
_NUMBERED = (
    f"old_entries JOIN headings USING ({_NAMES}) JOIN posts ON posts.name = old_entries.post"
)
# Version 1 had entries alone, each with all its names: what was under way, and what all came to,
# was found out from every one of them.
_STEPS = (
    "ALTER TABLE transactions RENAME TO old_transactions",
    "ALTER TABLE entries RENAME TO old_entries",
    *TABLES[1:],  # the runs stay as they are
    f"""
    INSERT INTO headings ({_NAMES})
    SELECT {_NAMES} FROM old_entries GROUP BY {_NAMES} ORDER BY min(id)
    """,  # noqa: S608  # no names of users, here and below
    "INSERT INTO posts (name) SELECT post FROM old_entries GROUP BY post ORDER BY min(id)",
    f"""
    INSERT INTO transactions
    SELECT id, run, reservation, {_KIND}, at FROM old_transactions ORDER BY id
    """,  # noqa: S608
    f"""
    INSERT INTO entries
    SELECT old_entries.id, entry_of, {_ACCOUNT}, headings.id, posts.id,
        CASE account WHEN 'reserved' THEN '' ELSE call END, {AMOUNT}
    FROM {_NUMBERED} WHERE account <> 'available' ORDER BY old_entries.id
    """,  # noqa: S608
    f"""
    INSERT INTO reservations
    SELECT run, reservation, min(old_entries.id), headings.id, posts.id, call, {SUMMED}
    FROM {_NUMBERED} JOIN old_transactions ON old_transactions.id = entry_of
    WHERE account = 'reserved' AND (run, reservation) IN (
        SELECT run, reservation FROM old_transactions GROUP BY run, reservation
        HAVING sum(kind IN ('settle', 'maybe', 'refund')) = 0
    )
    GROUP BY run, reservation, call, headings.id, posts.id
    """,  # noqa: S608
    # Whoever opens it next books these as perhaps billed, even if their run has ended well.
    "UPDATE runs SET ended_at = NULL WHERE id IN (SELECT run FROM reservations)",
    f"""
    INSERT INTO post_sums
    SELECT post, heading, account, {SUMMED} FROM entries WHERE account <> 1
    GROUP BY post, heading, account
    """,  # noqa: S608
    f"""
    INSERT INTO sums
    SELECT heading, account, {SUMMED} FROM post_sums GROUP BY heading, account
    """,  # noqa: S608
    "DROP TABLE old_entries",
    "DROP TABLE old_transactions",
)


def migrate(connection: sqlite3.Connection) -> None:
    """Make version 2 of version 1, within a transaction."""
    for step in _STEPS:
        connection.execute(step)


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


@final
class LedgerFile:
    """One process's hold of a ledger's file, which several may have at a time.

    Opening it books as perhaps billed what a process that is gone has left reserved. A process is
    known to be there by a lock that the system lets go of when it ends.

    All of it blocks; call it from a thread, one at a time.

    Args:
        path: of the file; made if it is not there.
        now: in seconds of Unix time.
        after: the last entry that whoever opens it knows.

    Raises:
        LedgerUnusable: it cannot be read or written.
    """

    def __init__(self, path: Path, now: float, *, after: int = 0) -> None:
        self.path = path
        self.seen = after
        self._lock: sqlite3.Connection | None = None
        self._connection = connect(path, create=True)
        self._writer = LedgerWriter(self._connection)
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            _book_the_dead(self._connection, path, now)
            cursor = self._connection.execute(
                "INSERT INTO runs (pid, began_at) VALUES (?, ?)", (os.getpid(), now)
            )
            self.run: int = cursor.lastrowid or 0
            self._lock = hold(path, self.run)  # before anybody can see the run
            self._connection.execute("COMMIT")
        except BaseException as error:
            self._let_go()
            if isinstance(error, sqlite3.Error):
                raise unusable(path, error) from None
            raise

    def begin(self, *, by_post: bool = False) -> list[LedgerEntry]:
        """Keep others from writing, and say what they have written since the last time.

        The first time, if nothing is known yet, that is what all has come to, in few entries.

        Args:
            by_post: tell the first time of each post for itself, however many there are.

        Raises:
            LedgerUnusable: it cannot be written.
        """
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            last = last_entry(connection)
            if not self.seen:
                found = list(standing(connection, by_post=by_post))
            elif last > self.seen:
                found = list(written_since(connection, self.seen, self.run))
            else:
                found = []
            self.seen = last
        except sqlite3.Error as error:
            self.roll_back()
            raise unusable(self.path, error) from None
        return found

    def by_post(self) -> list[LedgerEntry]:
        """What all has come to, of each post for itself; after `begin`.

        Raises:
            LedgerUnusable: it cannot be read.
        """
        try:
            return list(standing(self._connection, by_post=True))
        except sqlite3.Error as error:
            self.roll_back()
            raise unusable(self.path, error) from None

    def commit(self, transactions: Iterable[Transaction]) -> None:
        """Write these, and let others write again; they are on disk when it returns.

        Raises:
            LedgerUnusable: they are not written.
        """
        try:
            last = self._writer.write(self.run, transactions)
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            self.roll_back()
            raise unusable(self.path, error) from None
        self.seen = last

    def roll_back(self) -> None:
        """Leave it as it was."""
        self._writer.forget()
        with contextlib.suppress(sqlite3.Error):
            self._connection.execute("ROLLBACK")

    def close(self, now: float) -> None:
        """Nothing is reserved any more: let go of the file."""
        with contextlib.suppress(sqlite3.Error):  # the next one to open it finds nothing open
            self._connection.execute("UPDATE runs SET ended_at = ? WHERE id = ?", (now, self.run))
        self._let_go()
        forget(self.path, self.run)

    def _let_go(self) -> None:
        if self._lock is not None:
            self._lock.close()
        self._connection.close()


def recover(path: Path, now: float) -> None:
    """Book what processes that are gone have left reserved; all that is to be done before reading.

    Raises:
        LedgerUnusable: the file cannot be read or written.
    """
    connection = connect(path, create=False)
    try:
        connection.execute("BEGIN IMMEDIATE")
        _book_the_dead(connection, path, now)
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        raise unusable(path, error) from None
    finally:
        connection.close()


def _book_the_dead(connection: sqlite3.Connection, path: Path, now: float) -> None:
    """End what is left of runs whose process is gone; within a transaction."""
    runs = connection.execute("SELECT id FROM runs WHERE ended_at IS NULL").fetchall()
    for (run,) in runs:
        if is_held(path, run):
            continue  # it lives
        LedgerWriter(connection).write(run, left_open(connection, run, now))
        connection.execute("UPDATE runs SET ended_at = ? WHERE id = ?", (now, run))
        forget(path, run)
