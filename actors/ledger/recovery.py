"""The recovery of a ledger: the runs whose process has died are ended, as possibly billed.

All of it is part of a transaction that the caller has begun.
"""

import contextlib
from collections.abc import Mapping
from pathlib import Path

from ..storage import DamagedFile, Database, ProcessLock, StorageUnavailable, read_remedy
from .format import CHECKED
from .tables import LedgerWriter, last_entry, open_reservations
from .unwritten import RunMark, UnwrittenRun, decode, kept_beside, reserved_beside

SEAL_RUN = f"UPDATE runs SET crc = checksum({CHECKED['runs']}) WHERE id = ?"  # noqa: S608
"""Writes the checksum of the row of a run, after a change."""


def end_dead_runs(
    database: Database, path: Path, now: float, more: Mapping[int, UnwrittenRun] | None = None
) -> list[Path]:
    """End what is open of runs whose process has ended; inside a transaction.

    What such a run could not write is written first: it tells how its calls have ended.

    Args:
        database: the ledger, in a transaction.
        path: the file of the ledger.
        now: Unix time in seconds.
        more: what runs could not write and have kept elsewhere, by their ids.

    Returns:
        The files that are to be removed once the transaction is committed.

    Raises:
        StorageError: the file cannot be used, or it is not the ledger of these runs.
    """
    kept, files = dict(more or {}), list[Path]()
    for run, file in reserved_beside(path):
        if not ProcessLock.is_held(lock_path(path, run)):
            _check_has_all(database, run, file)
            files.append(file)
    for run, file in kept_beside(path):
        if not ProcessLock.is_held(lock_path(path, run)):
            kept[run] = _read_unwritten(file)
            files.append(file)
    for run, found in kept.items():
        _add_unwritten(database, path, run, found)
    runs = list(database.rows("SELECT id FROM runs WHERE ended_at IS NULL"))
    for (run,) in runs:
        if ProcessLock.is_held(lock_path(path, run)):
            continue
        LedgerWriter(database).write(run, open_reservations(database, run, now))
        change_run(database, run, "ended_at = ?", now)
        remove_lock(path, run)
    return files


def change_run(database: Database, run: int, change: str, value: float) -> None:
    """Change the row of a run, unless it is damaged; inside a transaction.

    Args:
        database: the ledger, in a transaction.
        run: the id of the run.
        change: the column and its placeholder, such as "ended_at = ?".
        value: the new value.
    """
    whole = f"verified(crc, {CHECKED['runs']})"
    database.execute(f"UPDATE runs SET {change} WHERE id = ? AND {whole}", (value, run))  # noqa: S608  # constants
    database.execute(SEAL_RUN, (run,))


def _check_has_all(database: Database, run: int, space: Path) -> None:
    """Check that a ledger has what a run has written that did not end.

    Raises:
        DamagedFile: it has not.
    """
    mark = RunMark.read(space)
    if mark is None:
        return
    known = database.row("SELECT 1 FROM runs WHERE id = ? AND began_at = ?", (run, mark.began_at))
    if known is None or last_entry(database) < mark.last_entry:
        raise DamagedFile(
            database.name,
            f"it lacks what the run of {space.name} has written: its log is lost, or it is an "
            "earlier copy or another ledger",
            f"restore it, or move {space.name} away and do without these costs",
        )


def _add_unwritten(database: Database, path: Path, run: int, found: UnwrittenRun) -> None:
    """Write what a run could not write, unless an earlier process has.

    Raises:
        DamagedFile: this is the ledger of other runs, or an earlier copy.
    """
    known = (run, found.began_at)
    row = database.row("SELECT has_all FROM runs WHERE id = ? AND began_at = ?", known)
    if row is None:
        kept = f"{path.name}.unwritten-{run}"
        raise DamagedFile(
            database.name,
            f"it is not the ledger of the run whose costs wait in {kept}",
            f"restore the ledger, or move {kept} away",
        )
    if not row[0]:
        LedgerWriter(database).write(run, found.transactions)
        change_run(database, run, "has_all = ?", 1)


def _read_unwritten(file: Path) -> UnwrittenRun:
    """Read the transactions of a run that wait beside a ledger.

    Raises:
        StorageError: they cannot be read.
    """
    name = f"the file of unwritten costs {file}"
    try:
        return decode(file.read_bytes())
    except OSError as error:
        why = error.strerror or str(error)
        raise StorageUnavailable(name, why, read_remedy(error)) from None
    except ValueError as error:
        raise DamagedFile(
            name, f"the file is damaged ({error})", "move it away; its costs are lost then"
        ) from None


def lock_path(path: Path, run: int) -> Path:
    """Return the file that a run has locked as long as its process lives."""
    return path.with_name(f"{path.name}.run-{run}")


def remove_lock(path: Path, run: int) -> None:
    """Remove the lock file of a run that has ended, if that is possible."""
    with contextlib.suppress(OSError):
        lock_path(path, run).unlink(missing_ok=True)
