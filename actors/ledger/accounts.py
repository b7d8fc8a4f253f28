"""The accounts of a process: the book in memory, and the file that a group commit writes."""

import time
from collections.abc import Callable, Collection, Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, final

import attrs

from callsheet.runtime import get_logger

from ..errors import CallFailed
from ..storage import GroupCommit, InThread, StorageError, in_worker_thread
from .book import Book, CallOutcome, CostStatistics
from .budget_counters import Excess
from .budgets import Budget, LedgerPolicy
from .entries import Payer, Transaction
from .refusals import exceeded, unavailable
from .unwritten import UnwrittenCosts

if TYPE_CHECKING:
    from .file import LedgerFile
    from .link import LedgerLink
    from .shared import Attempt, LedgerStore
    from .sharing import SharedLedger


_Done = Transaction | list[Transaction] | CostStatistics | None
_REFUND = CallOutcome(None, 0)
_ALL, _FIRST = 0, 1  # attempts of a call; see `Attempt`
_log = get_logger("callsheet.actors")


@attrs.define(eq=False)
class _LedgerJob:
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
class Accounts:
    """The accounts of one process. They belong to the ledger's place, not to an incarnation (R2).

    Operations are queued and done together: at once in memory; with a file in a worker thread, and
    in one transaction for all that wait (`GroupCommit`). Nothing else reads or writes the book.

    Args:
        policy: the budgets and the file.
        clock: Unix time in seconds.
        in_thread: runs what waits for the disk; `in_place` for virtual time.
        store: the store of the budgets if other processes share them.
        waits: whether calls wait as long as the store is away; see `LedgerLink`.
    """

    def __init__(
        self,
        policy: LedgerPolicy | None = None,
        *,
        clock: Callable[[], float] = time.time,
        in_thread: InThread = in_worker_thread,
        store: "LedgerStore | None" = None,
        waits: bool = False,
    ) -> None:
        self.policy = policy or LedgerPolicy()
        self.clock = clock
        self._shared: SharedLedger | None = None
        if store is not None:
            from . import sharing  # noqa: PLC0415  # most programs share nothing

            is_memory = self.policy.path is None
            self._shared = sharing.SharedLedger(
                store, self._report, clock, is_memory=is_memory, waits=waits
            )
            self._shared.use(self.policy.budgets)
        self._book = self._new_book()
        self._jobs: GroupCommit[_LedgerJob] = GroupCommit(self._commit, in_thread)
        self._file: LedgerFile | None = None
        self._seen = 0  # the id of the last entry of the file that the book contains
        # Posts of earlier runs are read only when they are needed: there may be many.
        self._has_posts = any(budget.per == "post" for budget in self.policy.budgets)
        self._has_lines = False  # whether the book has the lines of earlier runs
        self._needs_lines = False  # whether it cannot be written without them
        self._unwritten: list[Transaction] = []
        self._error: StorageError | None = None
        self._why = ""  # the latest reason why something is unwritten
        self._kept: UnwrittenCosts | None = None
        self._listener: Callable[[], None] | None = None
        self._keys = 0
        self._extensions = 0

    def _new_book(self) -> Book:
        return Book(self.policy.budgets, is_shared=self._shared is not None)

    def __repr__(self) -> str:
        return f"<Accounts {self._book!r} in {self.policy.path or 'memory'}>"

    @property
    def has_work(self) -> bool:
        """Whether operations are queued."""
        return bool(self._jobs)

    # ---------------------------------------------------------------- for the actor

    @property
    def link(self) -> "LedgerLink | None":
        """The link to the store of the budgets; None if no other process shares them."""
        return None if self._shared is None else self._shared.link

    async def open(self, listener: Callable[[], None]) -> None:
        """Open the file for an actor that calls `work` from now on.

        Args:
            listener: is called when there is something to write.

        Raises:
            StorageError: the file cannot be used.
        """
        if self.policy.path is not None:
            await self._jobs.alone(self._open_file)
        self._listener = listener

    async def leave(self, *, is_final: bool = False) -> None:
        """Write what is left. From now on `settle` writes what ends, since no actor does.

        Args:
            is_final: whether no other incarnation of the actor follows. Then what cannot be written
                is left to the next run, unless calls are still open.
        """
        link = self.link
        if link is not None and is_final:
            await self.work()
            await link.leave(is_last=self.policy.path is None and not self._book.open_calls)
        self._listener = None
        if self._unwritten:  # the disk may have room again
            self._jobs.add(_LedgerJob(_do_nothing))
        if self._jobs:
            await self.work()
        if self._unwritten and self._file is not None:
            await self._jobs.alone(partial(self._keep_unwritten, self._file))
            self._report_unwritten()
            if is_final and self._is_kept and not self._book.open_calls:
                await self._jobs.alone(partial(self._begin_anew, self._file))
        self._close_if_idle()

    async def work(self) -> None:
        """Do all that is queued, and write it."""
        await self._do(())

    # ---------------------------------------------------------------- the book

    def new_key(self) -> str:
        """Return the key of a new reservation of this process."""
        self._keys += 1
        return str(self._keys)

    async def reserve(
        self, wanted: Sequence[tuple[str, Sequence[Payer]]], held: Collection[str] = ()
    ) -> list[CallFailed | None]:
        """Reserve for several calls, in this order.

        Args:
            wanted: the key of each reservation, and who pays for the call.
            held: the keys of the calls that begin as after `hold`.

        Returns:
            For each call the reason why it may not be sent, or None.
        """
        jobs = [self._reservation(key, payers, is_held=key in held) for key, payers in wanted]
        try:
            await self._do(jobs)
        except BaseException:
            # Cancelled: the jobs are done all the same, and the calls are not sent.
            for key, _ in wanted:
                self.settle(key, _REFUND)
            raise
        return [job.error for job in jobs]

    async def confirm(self, keys: Sequence[str]) -> list[CallFailed | None]:
        """Wait until the reservations of calls hold for all processes that share the budgets.

        Args:
            keys: the keys of calls that are reserved for here, in this order.

        Returns:
            For each call the reason why it may not be sent, or None.
        """
        if self._shared is None:
            return [None] * len(keys)
        return await self._shared.confirm([(key, _FIRST) for key in keys])

    async def extend(self, key: str) -> None:
        """Reserve for one more attempt of a call.

        Raises:
            BudgetExceeded, LedgerUnavailable: the attempt may not be sent.
        """
        self._extensions += 1
        attempt = key, _FIRST + self._extensions
        job = _LedgerJob(
            lambda book, at: book.extend(key, at), must_be_written=True, reserves=attempt
        )
        await self._do([job])
        if job.error is not None:
            raise job.error
        if self._shared is None:
            return
        refusal: CallFailed | None = None
        is_decided = False
        try:
            (refusal,) = await self._shared.confirm([attempt])
            is_decided = True
        finally:
            if refusal is not None or not is_decided:  # the attempt is not sent
                self._add(_LedgerJob(lambda book, at: book.retract(key, at), ends=attempt))
        if refusal is not None:
            raise refusal

    def hold(self, key: str) -> None:
        """Note that nothing of a call was sent yet; see `LineNotes`."""
        self._add(_LedgerJob(lambda book, at: book.hold(key, at)))

    async def unhold(self, key: str) -> None:
        """Note, on disk, that an attempt of a call that was held is sent; see `LineNotes`."""
        job = _LedgerJob(lambda book, at: book.unhold(key, at), must_be_written=True)
        await self._do([job])
        if job.error is not None:
            raise job.error

    def note_line(self, key: str, line: str, *, is_resumed: bool, unrun: Sequence[str]) -> None:
        """Note that a reservation is for a line of a batch; see `LineNotes`."""

        def attach(book: Book, at: float) -> list[Transaction]:
            book.lines.forgive(unrun)
            return book.attach(key, line, at)

        self._add(_LedgerJob(attach, needs_lines=is_resumed or bool(unrun)))

    async def written(self) -> None:
        """Wait until everything that is queued is on disk."""
        await self._do([_LedgerJob(_do_nothing)])

    def settle(self, key: str, outcome: CallOutcome) -> None:
        """End a reservation. Every later operation takes it into account."""
        self._add(_LedgerJob(lambda book, at: book.settle(key, outcome, at), ends=(key, _ALL)))

    def _add(self, job: _LedgerJob) -> None:
        """Queue a job that nothing waits for."""
        self._jobs.add(job)
        if self.policy.path is None:
            self._jobs.do_now()
            self._notify()
        elif self._listener is not None:
            self._listener()
        elif self._jobs.do_now():
            self._log_error()
            self._close_if_idle()

    async def change_budgets(self, budgets: Sequence[Budget]) -> None:
        """Replace the budgets. What was spent so far counts against new ones, too.

        Args:
            budgets: the budgets from now on.
        """
        policy = attrs.evolve(self.policy, budgets=budgets)

        def change(book: Book, _: float) -> None:
            book.change_budgets(policy.budgets)
            self.policy = policy
            if self._shared is not None:
                self._shared.use(policy.budgets)

        of_posts = any(budget.per == "post" for budget in policy.budgets)
        await self._do([_LedgerJob(change, needs_posts=of_posts)])

    async def statistics(self) -> CostStatistics:
        """Return the sums, the state of the budgets, and what is not written yet."""
        job = _LedgerJob(lambda book, _: book.statistics(), needs_posts=True)
        await self._do([job])
        if not isinstance(job.result, CostStatistics):
            raise TypeError("the book returned no statistics")
        found = attrs.evolve(job.result, unwritten=len(self._unwritten))
        if self._shared is None:
            return found
        states = await self._shared.states(found.budgets, self.policy.budgets)
        return attrs.evolve(found, budgets=states)

    def _reservation(self, key: str, payers: Sequence[Payer], *, is_held: bool) -> _LedgerJob:
        return _LedgerJob(
            lambda book, at: book.reserve(key, payers, at, is_held=is_held),
            must_be_written=True,
            undo=lambda book, at: book.settle(key, _REFUND, at),
            reserves=(key, _FIRST),
        )

    async def _report(self, has_all: bool) -> None:  # noqa: FBT001  # a callback
        await self._do([_LedgerJob(_do_nothing, reports_all=has_all)])

    def _notify(self) -> None:
        """Have the link report what a commit has changed."""
        if self._shared is not None:
            self._shared.link.notify()

    async def _do(self, jobs: Sequence[_LedgerJob]) -> None:
        if self.policy.path is None:
            self._jobs.add(*jobs)
            self._jobs.do_now()
        else:
            await self._jobs.do(*jobs)
            self._log_error()
        self._notify()

    # ---------------------------------------------------------------- in a thread

    def _open_file(self) -> None:
        from .file import LedgerFile  # noqa: PLC0415  # loads SQLite, which memory does not need

        if self.policy.path is not None and self._file is None:
            self._file = LedgerFile(self.policy.path, self.clock(), after=self._seen)

    def _commit(self, jobs: list[_LedgerJob]) -> None:
        """Do queued operations: the only place where the book is read and written."""
        at, file = self.clock(), self._file
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
                file.commit(self._unwritten)
            except StorageError as failed:
                error = failed
                self._revert(jobs, at, failed)
            else:
                self._unwritten.clear()
                if self._kept is not None:
                    self._kept = None
                    file.give_back()
        if self.policy.path is None:
            self._unwritten.clear()
        self._error = error
        self._why = self._why if error is None else error.reason
        if self._shared is not None:
            is_open = file is not None or self.policy.path is None
            self._shared.note(
                self._book,
                file,
                [job.reserves for job in jobs if job.reserves and job.error is None],
                [job.ends for job in jobs if job.ends],
                is_written=error is None and is_open,
                has_all=any(job.reports_all for job in jobs),
                unverified=unverified,
            )

    def _keep_unwritten(self, file: "LedgerFile") -> None:
        self._kept = file.keep(self._unwritten, self._why)

    @property
    def _is_kept(self) -> bool:
        """Whether the next run gets what could not be written."""
        kept = self._kept
        has_keeper = self.policy.on_unwritten is not None
        return kept is not None and (kept.kept_in is not None or has_keeper)

    def _begin_anew(self, file: "LedgerFile") -> None:
        """Let the run end as when its process ends, and forget what the next run will write."""
        file.abandon()
        self._file, self._seen, self._kept = None, 0, None
        self._unwritten.clear()
        self._book = self._new_book()
        self._has_posts = any(budget.per == "post" for budget in self.policy.budgets)
        self._has_lines = self._needs_lines = False

    def _begin(self, file: "LedgerFile | None") -> StorageError | None:
        if file is None:
            return None
        try:
            for entry in file.begin(by_post=self._has_posts):
                self._book.post(entry)
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
        self._book.replace_sums(chain(known, *(done.entries for done in self._unwritten)))
        self._has_posts = True
        return None

    def _read_lines(self, file: "LedgerFile | None") -> StorageError | None:
        """Read what earlier runs have left for lines; without it, a line would count twice."""
        if file is None or self._has_lines:
            return None
        try:
            self._book.lines.add(file.line_debts())
        except StorageError as error:
            return error
        self._has_lines = True
        return None

    def _run(self, job: _LedgerJob, at: float, error: StorageError | None) -> None:
        if error is not None and job.must_be_written and self.policy.budgets:
            job.error = unavailable(error)
            return
        try:
            job.result = job.work(self._book, at)
        except Excess as excess:
            shared_used = None if self._shared is None else self._shared.used(excess.state)
            job.error = exceeded(excess, at, shared_used)
        else:
            if isinstance(job.result, Transaction):
                self._unwritten.append(job.result)
            elif isinstance(job.result, list):
                self._unwritten += job.result

    def _revert(self, jobs: Sequence[_LedgerJob], at: float, error: StorageError) -> None:
        """Revert what must be on disk before it is spent, and is not (L3)."""
        for job in jobs:
            if job.must_be_written and job.error is None and self.policy.budgets:
                job.error = unavailable(error)
                undone = None if job.undo is None else job.undo(self._book, at)
                if undone is not None:
                    self._unwritten.append(undone)

    # ---------------------------------------------------------------- in the event loop

    def _log_error(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            _log.warning("ledger_not_written", error=str(error), transactions=len(self._unwritten))

    def _report_unwritten(self) -> None:
        """Report what is missing in the file when the ledger is left."""
        kept = self._kept
        if kept is None:
            return
        _log.warning(
            "ledger_incomplete",
            path=str(kept.ledger),
            transactions=kept.transactions,
            reason=kept.reason,
            kept_in=None if kept.kept_in is None else str(kept.kept_in),
        )
        if self.policy.on_unwritten is not None:
            self.policy.on_unwritten(kept)

    def _close_if_idle(self) -> None:
        """Close the file, unless something is open: only an open run is recovered."""
        file, has_more = self._file, bool(self._jobs or self._unwritten)
        if file is not None and not self._book.open_calls and not has_more:
            self._file, self._seen = None, file.seen
            file.close(self.clock())


def _do_nothing(book: Book, at: float) -> None:
    """Do nothing: a job that only makes a transaction, in which unwritten ones are written."""
