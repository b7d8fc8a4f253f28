"""The ledger on disk: what is reserved is there before it is spent, and survives who spends it."""

import contextlib
import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import final

from .entries import Entry, Transaction
from .locks import forget, hold, is_held
from .reading import left_open, standing, written_since
from .schema import connect, unusable
from .writing import Writer, last_entry

__all__ = ["Store", "recover"]


@final
class Store:
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
        self._writer = Writer(self._connection)
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

    def begin(self, *, by_post: bool = False) -> list[Entry]:
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

    def by_post(self) -> list[Entry]:
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
        Writer(connection).write(run, left_open(connection, run, now))
        connection.execute("UPDATE runs SET ended_at = ? WHERE id = ?", (now, run))
        forget(path, run)
