"""The journal of a worker of a shared run: a file with the answers that are paid for.

An answer is in it before it is handed in (L7), and stays until the holder of the run has it on its
own disk. A worker of the same run on the same machine that starts later continues the journals of
those that have ended. A journal that no worker of its run has used for a month is removed by those
of other runs.
"""

import contextlib
import time
from collections.abc import Callable, Generator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import final

import platformdirs
import structlog

from ...actors import (
    Database,
    DatabaseFormat,
    FileInUse,
    ProcessLock,
    StorageError,
    StorageUnavailable,
    open_database,
    write_remedy,
)
from .hand import JournaledAnswer

_MOST_SLOTS = 1000  # workers of one run on one machine
_WAIT_S = 0.2
_TURN_S = 0.02
_TURNS = 1500  # 30 s; a worker needs milliseconds
_DAY_S = 86_400.0
_OLD_DAYS = 30  # after which the answers that a worker left are removed
_COLUMNS = "key, entry, is_response, body"

_FORMAT = DatabaseFormat(
    noun="journal of a shared run",
    application_id=0x43535752,  # "CSWR"
    version=1,
    schema=(
        """CREATE TABLE answers (
            key TEXT PRIMARY KEY, entry TEXT NOT NULL, is_response INTEGER NOT NULL,
            body BLOB NOT NULL, crc INTEGER NOT NULL
        ) WITHOUT ROWID""",
    ),
    checked={"answers": _COLUMNS},
)
_KEEP = "INSERT OR REPLACE INTO answers VALUES (?1, ?2, ?3, ?4, checksum(?1, ?2, ?3, ?4))"
_READ = f"SELECT {_COLUMNS}, verified(crc, {_COLUMNS}) FROM answers"  # noqa: S608  # constants

_log = structlog.stdlib.get_logger()


def default_journals() -> Path:
    """Return the folder of the journals, in the user's folder for state."""
    return platformdirs.user_state_path("callsheet") / "work"


@final
class WorkerJournal:
    """The journal of one worker. All of it blocks: run it in a worker thread, one at a time.

    It is the first file of the run that no other process has. Files that a worker left behind
    are taken into it, so that their answers are handed in, too.

    Args:
        folder: the folder of the journals of this machine; it is created if it does not exist.
        run: the name of the run.
        wall_clock: returns the Unix time in seconds, by which other journals are old.

    Attributes:
        answers: the answers that were left behind.

    Raises:
        StorageError: the file cannot be used; the message says why.
    """

    def __init__(
        self, folder: Path, run: str, *, wall_clock: Callable[[], float] = time.time
    ) -> None:
        digest = blake2b(run.encode(), digest_size=8).hexdigest()
        paths = [folder / f"{digest}-{slot}.sqlite3" for slot in range(_MOST_SLOTS)]
        with _only_one(folder):
            self.path, self._db = _first_free(paths)
            try:
                self.answers = _read(self._db)
                for path in paths[paths.index(self.path) + 1 :]:
                    if path.exists():
                        self._take_over(path)
                _remove_old(set(folder.glob("*-*.sqlite3")) - set(paths), wall_clock())
            except BaseException:
                self._db.close()
                raise

    def __repr__(self) -> str:
        return f"<WorkerJournal {self.path}>"

    def keep(self, answers: Sequence[JournaledAnswer], forgotten: Sequence[str]) -> None:
        """Write answers, and remove others: all of it, or nothing. It is on disk afterwards.

        Args:
            answers: the answers to write.
            forgotten: the keys of answers that need not be here.

        Raises:
            StorageError: nothing is written.
        """
        with self._db.transaction():
            self._db.executemany("DELETE FROM answers WHERE key = ?", ((key,) for key in forgotten))
            self._db.executemany(
                _KEEP, ((one.key, one.entry, one.is_response, one.body) for one in answers)
            )

    def close(self, *, remove: bool) -> None:
        """Close the file.

        Args:
            remove: whether to remove it, because it has nothing that is needed.
        """
        with _only_one(self.path.parent):
            self._db.close()
            if remove:  # no other worker has opened it meanwhile
                self.path.unlink(missing_ok=True)

    def _take_over(self, path: Path) -> None:
        """Take the answers of another file over, unless a process has it."""
        try:
            database = open_database(
                path, _FORMAT, owner="one process", wait_s=_WAIT_S, create=False
            )
        except FileInUse:
            return
        with contextlib.closing(database):
            left = _read(database)
            self.keep(left, ())
        self.answers += left
        path.unlink()


def _remove_old(paths: set[Path], now: float) -> None:
    """Remove the journals of other runs that no process has, and that are empty or a month old.

    Args:
        paths: the journals.
        now: the Unix time in seconds.
    """
    for path in paths:
        with contextlib.suppress(OSError, StorageError):  # another program may have changed it
            days = (now - path.stat().st_mtime) / _DAY_S
            if days < 1:
                continue
            database = open_database(
                path, _FORMAT, owner="one process", wait_s=_WAIT_S, create=False
            )
            with contextlib.closing(database):
                answers = len(_read(database))
            if not answers:
                path.unlink()
            elif days >= _OLD_DAYS:
                path.unlink()
                _log.warning(
                    "old_journal_removed", path=str(path), answers=answers, days=round(days)
                )


@contextlib.contextmanager
def _only_one(folder: Path) -> Generator[None]:
    """Keep other workers from opening and removing journals in a folder."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        name = f"the folder {folder} for journals"
        raise StorageUnavailable(name, error.strerror or "", write_remedy(error)) from None
    lock = _locked(folder / "lock")
    try:
        yield
    finally:
        lock.release()


def _locked(path: Path) -> ProcessLock:
    for _ in range(_TURNS):
        with contextlib.suppress(FileInUse):
            return ProcessLock(path)
        time.sleep(_TURN_S)
    return ProcessLock(path)


def _first_free(paths: Sequence[Path]) -> tuple[Path, Database]:
    """Open the first file that no other process has."""
    for path in paths[:-1]:
        with contextlib.suppress(FileInUse):
            return path, open_database(path, _FORMAT, owner="one process", wait_s=_WAIT_S)
    return paths[-1], open_database(paths[-1], _FORMAT, owner="one process", wait_s=_WAIT_S)


def _read(database: Database) -> list[JournaledAnswer]:
    return [
        JournaledAnswer(key, entry, body, bool(is_response))
        for key, entry, is_response, body, _ in database.rows(_READ)
    ]
