"""The ledger file: reserved before it is spent, shared by processes, and recovered after a crash.

Each process that has the file open is a run. A run holds a lock for as long as its process lives.
The next process that opens the file ends the reservations of runs without a process, as possibly
billed.

All of it blocks: run it in a worker thread, one at a time.
"""

import contextlib
import os
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import final

from ..storage import (
    Database,
    FileInUse,
    FileTurn,
    ProcessLock,
    StorageError,
    check_writable,
    open_database,
)
from .entries import Account, Amount, CostDimension, LedgerEntry, Transaction
from .format import LEDGER_FORMAT
from .recovery import SEAL_RUN, change_run, end_dead_runs, lock_path, remove_lock
from .tables import (
    LedgerWriter,
    check_dimension,
    last_entry,
    line_debts,
    standing,
    sums,
    written_since,
)
from .unwritten import (
    SpaceBeside,
    UnwrittenCosts,
    UnwrittenRun,
    decode,
    encode,
    remove,
    reserved_beside,
)

_CHECKED_BYTES = 16 * 1024**2  # in some 20 ms: each command opens the ledger
_ALWAYS_CHECKED = ("labels", "reservations", "sums")  # small, and budgets depend on them
_WAIT_S = 10.0  # for another process that writes, which takes milliseconds


def open_ledger(path: Path, *, create: bool = False, read_only: bool = False) -> Database:
    """Open a ledger file that several processes may share.

    Args:
        path: the SQLite file of the ledger.
        create: whether to create a missing file.
        read_only: whether nothing will be written.

    Raises:
        StorageError: the file cannot be used.
    """
    database = open_database(
        path,
        LEDGER_FORMAT,
        owner="shared",
        wait_s=_WAIT_S,
        create=create,
        read_only=read_only,
        check_bytes=_CHECKED_BYTES,
    )
    try:
        database.verify(*_ALWAYS_CHECKED)
        if not read_only:  # a reader takes what is there, also in a file of an earlier version
            database.verify("runs")
    except StorageError:
        database.close()
        raise
    return database


@final
class LedgerFile:
    """One run's access to a ledger file. Several processes may have the file open.

    Args:
        path: the file; it is created if it does not exist.
        now: Unix time in seconds.
        after: the id of the last entry that the caller knows; 0 for none.

    Attributes:
        seen: the id of the last entry that the caller knows.
        run: the id of this run.

    Raises:
        StorageError: the file cannot be used.
    """

    def __init__(self, path: Path, now: float, *, after: int = 0) -> None:
        self.path = path
        self.seen = after
        self._lock: ProcessLock | None = None
        self._began_at = now
        self._space: SpaceBeside | None = None
        if not path.exists():
            remove(file for _, file in reserved_beside(path))  # of a ledger that was moved away
        self._database = open_ledger(path, create=True)
        self._writer = LedgerWriter(self._database)
        self._turn = FileTurn(path, _WAIT_S)  # the troupes of a gateway write one ledger
        try:
            with self._database.decoding(), self._database.transaction():
                taken = end_dead_runs(self._database, path, now)
                cursor = self._database.execute(
                    "INSERT INTO runs (pid, began_at, has_all, crc) VALUES (?, ?, 0, 0)",
                    (os.getpid(), now),
                )
                self.run: int = cursor.lastrowid or 0
                self._database.execute(SEAL_RUN, (self.run,))
                # Locked before the commit, when other processes see the run.
                self._lock = ProcessLock(lock_path(path, self.run))
        except BaseException:
            self._release()
            raise
        remove(taken)
        self._space = SpaceBeside(path, self.run, now)
        try:
            self._space.reserve()
        except StorageError:
            self.close(now)
            raise

    def begin(self, *, by_post: bool = False) -> list[LedgerEntry]:
        """Begin a transaction, and return what other runs have written since the last one.

        The first time, if the caller knows no entry, that is the sum of everything.

        Args:
            by_post: whether the first time each post has entries of its own.

        Raises:
            StorageError: the file cannot be written.
        """
        database = self._database
        self._turn.take()
        try:
            database.begin()
            with database.decoding():
                last = last_entry(database)
                if not self.seen:
                    found = list(standing(database, by_post=by_post))
                elif last > self.seen:
                    found = list(written_since(database, self.seen, self.run))
                else:
                    found = []
            self.seen = last
        except StorageError:
            self.roll_back()
            raise
        return found

    def by_post(self) -> list[LedgerEntry]:
        """Return the sum of everything, with entries for each post; after `begin`.

        Raises:
            StorageError: the file cannot be read.
        """
        try:
            with self._database.decoding():
                return list(standing(self._database, by_post=True))
        except StorageError:
            self.roll_back()
            raise

    def line_debts(self) -> dict[str, list[LedgerEntry]]:
        """Return what other runs have left for lines of batches, by the name of the reservation.

        Raises:
            StorageError: the file cannot be read.
        """
        try:
            with self._database.decoding():
                return line_debts(self._database, self.run)
        except StorageError:
            self.roll_back()
            raise

    def commit(self, transactions: Iterable[Transaction]) -> None:
        """Write transactions, and end the transaction of the file; they are on disk then.

        Raises:
            StorageError: nothing was written.
        """
        try:
            last = self._writer.write(self.run, transactions)
            self._database.commit()
        except Exception:  # whatever it is, the next group must find no transaction begun
            self.roll_back()
            raise
        self._turn.end()
        self.seen = last
        if self._space is not None:
            self._space.mark(last)

    def roll_back(self) -> None:
        """Undo what was written since `begin`."""
        self._writer.forget()
        self._database.roll_back()
        self._turn.end()

    def identity(self) -> str:
        """Return what identifies the file in a store that processes share; made when first needed.

        It is the number of a run 0, which no process has been.

        Raises:
            StorageError: the file cannot be written.
        """
        with self._database.decoding(), self._database.transaction():
            row = self._database.row("SELECT pid FROM runs WHERE id = 0")
            if row is None:
                self._database.execute(
                    "INSERT INTO runs (id, pid, began_at, ended_at, has_all, crc) "
                    "VALUES (0, ?, 0, 0, 1, 0)",
                    (secrets.randbits(62),),
                )
                self._database.execute(SEAL_RUN, (0,))
                row = self._database.row("SELECT pid FROM runs WHERE id = 0")
        return "" if row is None else f"{row[0]:x}"

    def stamp(self, entry: int) -> float:
        """Return when an entry was written, in Unix seconds; 0 if there is none with this id.

        Raises:
            StorageError: the file cannot be read.
        """
        row = self._database.row(
            "SELECT at FROM entries JOIN transactions ON transactions.id = entry_of "
            "WHERE entries.id = ?",
            (entry,),
        )
        return 0.0 if row is None else float(row[0])

    def keep(self, transactions: Sequence[Transaction], reason: str) -> UnwrittenCosts:
        """Keep transactions that cannot be written, in the space beside the file.

        Args:
            transactions: all that are not written yet; they replace those that were kept before.
            reason: why they cannot be written.
        """
        content = encode(UnwrittenRun(self.run, self._began_at, tuple(transactions)))
        kept_in = None if self._space is None else self._space.keep(content)
        return UnwrittenCosts(self.path, len(transactions), reason, content, kept_in)

    def give_back(self) -> None:
        """Drop what `keep` has kept: it is written now."""
        if self._space is not None:
            self._space.give_back()

    def close(self, now: float) -> None:
        """Mark the run as ended, and close the file. Nothing must be reserved any more."""
        # If it fails, the next process finds no open reservation.
        with contextlib.suppress(StorageError), self._database.transaction():
            change_run(self._database, self.run, "ended_at = ?", now)
        self._release()
        self.give_back()
        remove_lock(self.path, self.run)

    def abandon(self) -> None:
        """Close the file as the end of the process does: the next process ends the run."""
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()
        self._database.close()


def recover(path: Path, now: float) -> None:
    """End the reservations of processes that have ended, as possibly billed.

    Args:
        path: the ledger file.
        now: Unix time in seconds.

    Raises:
        StorageError: the file cannot be used.
    """
    with contextlib.closing(open_ledger(path)) as database:
        _recover(database, path, now)


def read_sums(
    path: Path,
    by: CostDimension | str,
    *,
    since: str = "",
    until: str = "9999",
    simulated: bool | None = None,
    now: float,
) -> list[tuple[str, Account, Amount]]:
    """Return the sums of a ledger file, after the recovery of what ended processes left reserved.

    A file that is not writable, or whose folder is not, is read without the recovery.

    Args:
        path: the ledger file.
        by: what the sums are by: "model", "tenant", "post", "day", "route", "endpoint" or "call".
        since: the first day, such as "2026-11-26" (UTC); "" for the first day there is.
        until: the last day.
        simulated: whether to return what endpoints on this machine cost, or what the others cost;
            None for both.
        now: Unix time in seconds.

    Returns:
        Name, account and amount of each sum.

    Raises:
        StorageError: the file cannot be used.
        ValueError: `by` is none of these.
    """
    check_dimension(by)
    # A ledger that may not be written, such as a copy on a read-only disk, is read as it is.
    read_only = not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK))
    with contextlib.closing(open_ledger(path, read_only=read_only)) as database:
        if not read_only:
            _recover(database, path, now)
        with database.decoding():
            return list(sums(database, by, since, until, simulated=simulated))


def check_ledger(path: Path) -> None:
    """Check that a ledger can be used, or created, without changing anything.

    Args:
        path: the ledger file, which need not exist.

    Raises:
        StorageError: it cannot.
    """
    if path.exists():
        open_ledger(path, read_only=True).close()
    check_writable(path, LEDGER_FORMAT)


def take_unwritten(path: Path, content: bytes, now: float) -> None:
    """Write transactions into a ledger that an earlier run could not write; once at most.

    Args:
        path: the ledger file.
        content: the encoded transactions, `UnwrittenCosts.content`.
        now: Unix time in seconds.

    Raises:
        StorageError: the file cannot be used, or it is not the ledger of that run.
        ValueError: the content is damaged.
    """
    found = decode(content)
    if ProcessLock.is_held(lock_path(path, found.run)):
        raise FileInUse(f"the ledger {path}", f"run {found.run} has not ended")
    with contextlib.closing(open_ledger(path)) as database:
        with database.decoding(), database.transaction():
            taken = end_dead_runs(database, path, now, {found.run: found})
        remove(taken)


def _recover(database: Database, path: Path, now: float) -> None:
    with database.decoding(), database.transaction():
        taken = end_dead_runs(database, path, now)
    remove(taken)
