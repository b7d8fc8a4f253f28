"""The book of a process together with its file: operations change both, or neither."""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, final

import attrs

from ..errors import CallFailed
from ..storage import StorageError
from .book import Book, CostStatistics
from .budget_counters import Excess
from .budgets import LedgerPolicy
from .entries import Transaction
from .refusals import exceeded, unavailable
from .unwritten import UnwrittenCosts

if TYPE_CHECKING:
    from .file import LedgerFile
    from .shared import Attempt
    from .sharing import SharedLedger

_Done = Transaction | list[Transaction] | CostStatistics | None


@attrs.define(eq=False)
class LedgerJob:
    """One operation on the book, and its result.

    Args:
        work: does it; each `Transaction` that it returns is to be written.
        must_be_written: whether the operation fails if it cannot be written.
        needs_posts: whether it reads the sums of each post.
        needs_lines: whether it reads what earlier runs have left for lines of batches.
        undo: reverts it, if it was done and could not be written.
        reserves: the attempt that it reserves for.
        ends: the attempt that it ends; all of a key for the attempt 0.
        reports_all: whether the report of its commit has all cells of shared budgets.
        error: why it failed.
        result: what `work` returned.
    """

    work: Callable[[Book, float], _Done]
    must_be_written: bool = False
    needs_posts: bool = False
    needs_lines: bool = False
    undo: Callable[[Book, float], Transaction | None] | None = None
    reserves: "Attempt | None" = None
    ends: "Attempt | None" = None
    reports_all: bool = False
    error: CallFailed | None = None
    result: _Done = None


@final
class WrittenBook:
    """The book, its file, and what could not be written yet.

    `commit` is the only place where the book is changed. It blocks where there is a file.

    Args:
        policy: the budgets and the file.
        clock: Unix time in seconds.
        shared: what other processes share of the budgets; None if they share nothing.

    Attributes:
        policy: the file, and the budgets as they are now.
        book: the accounts in memory.
        file: the file; None while it is not open, and for accounts in memory.
        unwritten: what the book has and the file has not.
        kept: what the next run gets, of what could not be written; None if that is nothing.
    """

    def __init__(
        self, policy: LedgerPolicy, clock: Callable[[], float], shared: "SharedLedger | None"
    ) -> None:
        self.policy = policy
        self._clock = clock
        self._shared = shared
        self.book = self._new_book()
        self.file: LedgerFile | None = None
        self.unwritten: list[Transaction] = []
        self.kept: UnwrittenCosts | None = None
        self._seen = 0  # the id of the last entry of the file that the book contains
        # Posts of earlier runs are read only when they are needed: there may be many.
        self._has_posts = any(budget.per == "post" for budget in policy.budgets)
        self._has_lines = False  # whether the book has the lines of earlier runs
        self._needs_lines = False  # whether it cannot be written without them
        self._error: StorageError | None = None
        self._why = ""  # the latest reason why something is unwritten

    def _new_book(self) -> Book:
        return Book(self.policy.budgets, is_shared=self._shared is not None)

    def __repr__(self) -> str:
        return f"<WrittenBook {self.book!r}, {len(self.unwritten)} unwritten>"

    def take_error(self) -> StorageError | None:
        """Return why the latest commit failed, once; None if it did not fail."""
        error, self._error = self._error, None
        return error

    def close(self) -> None:
        """Close the file, if it is open: only an open run is recovered."""
        if (file := self.file) is not None:
            self.file, self._seen = None, file.seen
            file.close(self._clock())

    def open(self) -> None:
        """Open the file, unless it is open.

        Raises:
            StorageError: the file cannot be used.
        """
        from .file import LedgerFile  # noqa: PLC0415  # loads SQLite, which memory does not need

        if self.policy.path is not None and self.file is None:
            self.file = LedgerFile(self.policy.path, self._clock(), after=self._seen)

    def commit(self, jobs: list[LedgerJob]) -> None:
        """Do queued operations, and write what they have changed in one transaction."""
        at, file = self._clock(), self.file
        unverified = None if self._shared is None else self._shared.unverified
        error = self._begin(file)
        if error is None and any(job.needs_posts for job in jobs):
            error = self._read_posts(file)
        self._needs_lines = self._needs_lines or any(job.needs_lines for job in jobs)
        if error is None and self._needs_lines:
            error = self._read_lines(file)
        try:
            for job in jobs:
                self._run(job, at, error)
        except BaseException:
            if file is not None:
                file.roll_back()
            raise
        if error is None and file is not None:
            try:
                file.commit(self.unwritten)
            except StorageError as failed:
                error = failed
                self._revert(jobs, at, failed)
            else:
                self.unwritten.clear()
                if self.kept is not None:
                    self.kept = None
                    file.give_back()
        if self.policy.path is None:
            self.unwritten.clear()
        self._error = error
        self._why = self._why if error is None else error.reason
        if self._shared is not None:
            is_open = file is not None or self.policy.path is None
            self._shared.note(
                self.book,
                file,
                [job.reserves for job in jobs if job.reserves and job.error is None],
                [job.ends for job in jobs if job.ends],
                is_written=error is None and is_open,
                has_all=any(job.reports_all for job in jobs),
                unverified=unverified,
            )

    def keep_unwritten(self, file: "LedgerFile") -> None:
        """Keep what cannot be written in the space beside the file, for the next run."""
        self.kept = file.keep(self.unwritten, self._why)

    @property
    def is_kept(self) -> bool:
        """Whether the next run gets what could not be written."""
        kept = self.kept
        has_keeper = self.policy.on_unwritten is not None
        return kept is not None and (kept.kept_in is not None or has_keeper)

    def begin_anew(self, file: "LedgerFile") -> None:
        """Let the run end as when its process ends, and forget what the next run will write."""
        file.abandon()
        self.file, self._seen, self.kept = None, 0, None
        self.unwritten.clear()
        self.book = self._new_book()
        self._has_posts = any(budget.per == "post" for budget in self.policy.budgets)
        self._has_lines = self._needs_lines = False

    def _begin(self, file: "LedgerFile | None") -> StorageError | None:
        if file is None:
            return None
        try:
            for entry in file.begin(by_post=self._has_posts):
                self.book.post(entry)
        except StorageError as error:
            return error
        return None

    def _read_posts(self, file: "LedgerFile | None") -> StorageError | None:
        if file is None or self._has_posts:
            return None
        try:
            known = file.by_post()
        except StorageError as error:
            return error
        # The book contains the file, and what is not written to it yet.
        self.book.replace_sums(chain(known, *(done.entries for done in self.unwritten)))
        self._has_posts = True
        return None

    def _read_lines(self, file: "LedgerFile | None") -> StorageError | None:
        """Read what earlier runs have left for lines; without it, a line would count twice."""
        if file is None or self._has_lines:
            return None
        try:
            self.book.lines.add(file.line_debts())
        except StorageError as error:
            return error
        self._has_lines = True
        return None

    def _run(self, job: LedgerJob, at: float, error: StorageError | None) -> None:
        if error is not None and job.must_be_written and self.policy.budgets:
            job.error = unavailable(error)
            return
        try:
            job.result = job.work(self.book, at)
        except Excess as excess:
            shared_used = None if self._shared is None else self._shared.used(excess.state)
            job.error = exceeded(excess, at, shared_used)
        else:
            if isinstance(job.result, Transaction):
                self.unwritten.append(job.result)
            elif isinstance(job.result, list):
                self.unwritten += job.result

    def _revert(self, jobs: Sequence[LedgerJob], at: float, error: StorageError) -> None:
        """Revert what must be on disk before it is spent, and is not (L3)."""
        for job in jobs:
            if job.must_be_written and job.error is None and self.policy.budgets:
                job.error = unavailable(error)
                undone = None if job.undo is None else job.undo(self.book, at)
                if undone is not None:
                    self.unwritten.append(undone)
