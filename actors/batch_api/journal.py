"""The journal of batches for tasks, which write to its file together."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast, final

from ..storage import GroupCommit, InThread, in_place, in_worker_thread
from .journal_file import JournalFile, JournalJob

T = TypeVar("T")


@final
class Journal:
    """A `JournalFile` for tasks: the writes of tasks that wait at the same time are one commit.

    Args:
        opener: opens the file; it blocks.
        in_thread: runs what waits for the disk.
        is_durable: whether the journal outlives the process.
    """

    def __init__(
        self,
        opener: Callable[[], JournalFile],
        in_thread: InThread = in_worker_thread,
        *,
        is_durable: bool = True,
    ) -> None:
        self.is_durable = is_durable
        self._opener = opener
        self._in_thread = in_thread
        self._file: JournalFile | None = None
        self._jobs: GroupCommit[JournalJob] = GroupCommit(self._commit, in_thread)

    async def open(self) -> JournalFile:
        """Open the file.

        Raises:
            StorageError: see `JournalFile`.
        """
        self._file = await self._in_thread(self._opener)
        return self._file

    async def do(self, function: Callable[[JournalFile], T]) -> T:
        """Read or write. What was written is on disk when this returns.

        A caller that is cancelled while it waits takes nothing back: the function may still run.

        Raises:
            StorageError: the file cannot be used, and nothing was written.
        """
        if self._file is None:
            raise RuntimeError("the journal is not open")
        job = JournalJob(function)
        await self._jobs.do(job)
        if job.error is not None:
            raise job.error
        return cast("T", job.result)

    async def close(self) -> None:
        """Write what is left, and close the file; harmless if it is not open."""
        file = self._file
        if file is None:
            return
        await self._jobs.do()
        if self._file is file:  # no other task has closed it meanwhile
            self._file = None
            await self._jobs.alone(file.close)

    def _commit(self, jobs: list[JournalJob]) -> None:
        if self._file is not None:
            self._file.do(jobs)


OpenJournal = Callable[[Path | None, str, float], Journal]
"""Makes a journal from its file, the account, and the seconds for which it keeps results."""


def open_journal(path: Path | None, account: str, keep_s: float) -> Journal:
    """Return the journal of a file, not opened yet; or one in memory.

    Args:
        path: the file; None for memory.
        account: the account whose batches are meant.
        keep_s: seconds after which a result that no caller claims is deleted.
    """
    return Journal(
        lambda: JournalFile(path, account, keep_s, time.time),
        in_place if path is None else in_worker_thread,
        is_durable=path is not None,
    )
