"""The ledger on disk: what is reserved is there before it is spent, and survives who spends it."""

import contextlib
import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import final

from .entries import Entry, Transaction
from .schema import connect, insert, read_entries, unusable

__all__ = ["Store", "recover"]

_ENDS = "('settle', 'maybe', 'refund')"


@final
class Store:
    """One process's hold of a ledger's file, which several may have at a time.

    Opening it books as perhaps billed what a process that is gone has left reserved. A process is
    known to be there by a lock that the system lets go of when it ends, however it ends: an
    exclusive transaction on a file beside the ledger, which SQLite can hold on every system.

    All of it blocks; call it from a thread, one at a time.

    Args:
        path: of the file; made if it is not there.
        now: in seconds of Unix time.
        after: the last transaction that whoever opens it knows.

    Raises:
        LedgerUnusable: it cannot be read or written.
    """

    def __init__(self, path: Path, now: float, *, after: int = 0) -> None:
        self.path = path
        self.seen = after
        self._lock: sqlite3.Connection | None = None
        self._connection = connect(path, create=True)
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            _book_the_dead(self._connection, path, now)
            cursor = self._connection.execute(
                "INSERT INTO runs (pid, began_at) VALUES (?, ?)", (os.getpid(), now)
            )
            self.run: int = cursor.lastrowid or 0
            self._lock = _hold(path, self.run)  # before anybody can see the run
            self._connection.execute("COMMIT")
        except BaseException as error:
            self._let_go()
            if isinstance(error, sqlite3.Error):
                raise unusable(path, error) from None
            raise

    def begin(self) -> list[Entry]:
        """Keep others from writing, and say what they have written since the last time.

        Raises:
            LedgerUnusable: it cannot be written.
        """
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            others = "transactions.id > ? AND run <> ?"
            found = list(read_entries(self._connection, others, (self.seen, self.run)))
            self.seen = self._last()
        except sqlite3.Error as error:
            self.roll_back()
            raise unusable(self.path, error) from None
        return found

    def commit(self, transactions: Iterable[Transaction]) -> None:
        """Write these, and let others write again; they are on disk when it returns.

        Raises:
            LedgerUnusable: they are not written.
        """
        connection = self._connection
        try:
            insert(connection, self.run, transactions)
            last = self._last()
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            self.roll_back()
            raise unusable(self.path, error) from None
        self.seen = last

    def roll_back(self) -> None:
        """Leave it as it was."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.execute("ROLLBACK")

    def close(self, now: float) -> None:
        """Nothing is reserved any more: let go of the file."""
        with contextlib.suppress(sqlite3.Error):  # the next one to open it finds nothing open
            self._connection.execute("UPDATE runs SET ended_at = ? WHERE id = ?", (now, self.run))
        self._let_go()
        with contextlib.suppress(OSError):
            _lock_path(self.path, self.run).unlink(missing_ok=True)

    def _last(self) -> int:
        (last,) = self._connection.execute("SELECT max(id) FROM transactions").fetchone()
        return last or 0

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


def _lock_path(path: Path, run: int) -> Path:
    return path.with_name(f"{path.name}.run-{run}")


def _hold(path: Path, run: int) -> sqlite3.Connection:
    """Take a run's lock.

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


def _book_the_dead(connection: sqlite3.Connection, path: Path, now: float) -> None:
    """End what is left of runs whose process is gone; within a transaction."""
    runs = connection.execute("SELECT id FROM runs WHERE ended_at IS NULL").fetchall()
    for (run,) in runs:
        try:
            _hold(path, run).close()
        except sqlite3.OperationalError:
            continue  # it lives
        _book_left_open(connection, run, now)
        connection.execute("UPDATE runs SET ended_at = ? WHERE id = ?", (now, run))
        with contextlib.suppress(OSError):
            _lock_path(path, run).unlink(missing_ok=True)


def _book_left_open(connection: sqlite3.Connection, run: int, now: float) -> None:
    left = connection.execute(
        "SELECT reservation FROM transactions WHERE run = ? GROUP BY reservation "  # noqa: S608  # constant
        f"HAVING sum(kind IN {_ENDS}) = 0",
        (run,),
    ).fetchall()
    for (reservation,) in left:
        where = "run = ? AND reservation = ? AND account = 'reserved'"
        entries: list[Entry] = []
        for entry in read_entries(connection, where, (run, reservation), with_calls=True):
            entries.append(Entry("reserved", entry.heading, entry.amount.times(-1)))
            entries.append(Entry("maybe_billed", entry.heading, entry.amount))
        insert(connection, run, [Transaction("maybe", reservation, now, tuple(entries))])
