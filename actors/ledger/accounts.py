"""The accounts of a process: what may be asked of its book, in groups that are written together."""

import time
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING, final

import attrs

from callsheet.runtime import get_logger

from ..errors import CallFailed
from ..storage import GroupCommit, InThread, in_worker_thread
from .book import Book, CallOutcome, CostStatistics
from .budgets import Budget, LedgerPolicy
from .entries import Payer, Transaction
from .written_book import LedgerJob, WrittenBook

if TYPE_CHECKING:
    from .link import LedgerLink
    from .shared import LedgerStore
    from .sharing import SharedLedger


_REFUND = CallOutcome(None, 0)
_ALL, _FIRST = 0, 1  # attempts of a call; see `Attempt`
_log = get_logger("callsheet.actors")


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
        policy = policy or LedgerPolicy()
        self.clock = clock
        self._shared: SharedLedger | None = None
        if store is not None:
            from . import sharing  # noqa: PLC0415  # most programs share nothing

            is_memory = policy.path is None
            self._shared = sharing.SharedLedger(
                store, self._report, clock, is_memory=is_memory, waits=waits
            )
            self._shared.use(policy.budgets)
        self._written = WrittenBook(policy, clock, self._shared)
        self._jobs: GroupCommit[LedgerJob] = GroupCommit(self._written.commit, in_thread)
        self._listener: Callable[[], None] | None = None
        self._keys = 0
        self._extensions = 0

    def __repr__(self) -> str:
        return f"<Accounts {self._written.book!r} in {self.policy.path or 'memory'}>"

    @property
    def policy(self) -> LedgerPolicy:
        """The file, and the budgets as they are now."""
        return self._written.policy

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
            await self._jobs.alone(self._written.open)
        self._listener = listener

    async def leave(self, *, is_final: bool = False) -> None:
        """Write what is left. From now on `settle` writes what ends, since no actor does.

        Args:
            is_final: whether no other incarnation of the actor follows. Then what cannot be written
                is left to the next run, unless calls are still open.
        """
        link, written = self.link, self._written
        if link is not None and is_final:
            await self.work()
            await link.leave(is_last=self.policy.path is None and not written.book.open_calls)
        self._listener = None
        if written.unwritten:  # the disk may have room again
            self._jobs.add(LedgerJob(_do_nothing))
        if self._jobs:
            await self.work()
        if written.unwritten and written.file is not None:
            await self._jobs.alone(partial(written.keep_unwritten, written.file))
            self._report_unwritten()
            if is_final and written.is_kept and not written.book.open_calls:
                await self._jobs.alone(partial(written.begin_anew, written.file))
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
        job = LedgerJob(
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
                self._add(LedgerJob(lambda book, at: book.retract(key, at), ends=attempt))
        if refusal is not None:
            raise refusal

    def hold(self, key: str) -> None:
        """Note that nothing of a call was sent yet; see `LineNotes`."""
        self._add(LedgerJob(lambda book, at: book.hold(key, at)))

    async def unhold(self, key: str) -> None:
        """Note, on disk, that an attempt of a call that was held is sent; see `LineNotes`."""
        job = LedgerJob(lambda book, at: book.unhold(key, at), must_be_written=True)
        await self._do([job])
        if job.error is not None:
            raise job.error

    def note_line(self, key: str, line: str, *, is_resumed: bool, unrun: Sequence[str]) -> None:
        """Note that a reservation is for a line of a batch; see `LineNotes`."""

        def attach(book: Book, at: float) -> list[Transaction]:
            book.lines.forgive(unrun)
            return book.attach(key, line, at)

        self._add(LedgerJob(attach, needs_lines=is_resumed or bool(unrun)))

    async def written(self) -> None:
        """Wait until everything that is queued is on disk."""
        await self._do([LedgerJob(_do_nothing)])

    def settle(self, key: str, outcome: CallOutcome) -> None:
        """End a reservation. Every later operation takes it into account."""
        self._add(LedgerJob(lambda book, at: book.settle(key, outcome, at), ends=(key, _ALL)))

    def _add(self, job: LedgerJob) -> None:
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
            self._written.policy = policy
            if self._shared is not None:
                self._shared.use(policy.budgets)

        of_posts = any(budget.per == "post" for budget in policy.budgets)
        await self._do([LedgerJob(change, needs_posts=of_posts)])

    async def statistics(self) -> CostStatistics:
        """Return the sums, the state of the budgets, and what is not written yet."""
        job = LedgerJob(lambda book, _: book.statistics(), needs_posts=True)
        await self._do([job])
        if not isinstance(job.result, CostStatistics):
            raise TypeError("the book returned no statistics")
        found = attrs.evolve(job.result, unwritten=len(self._written.unwritten))
        if self._shared is None:
            return found
        states = await self._shared.states(found.budgets, self.policy.budgets)
        return attrs.evolve(found, budgets=states)

    def _reservation(self, key: str, payers: Sequence[Payer], *, is_held: bool) -> LedgerJob:
        return LedgerJob(
            lambda book, at: book.reserve(key, payers, at, is_held=is_held),
            must_be_written=True,
            undo=lambda book, at: book.settle(key, _REFUND, at),
            reserves=(key, _FIRST),
        )

    async def _report(self, has_all: bool) -> None:  # noqa: FBT001  # a callback
        await self._do([LedgerJob(_do_nothing, reports_all=has_all)])

    def _notify(self) -> None:
        """Have the link report what a commit has changed."""
        if self._shared is not None:
            self._shared.link.notify()

    async def _do(self, jobs: Sequence[LedgerJob]) -> None:
        if self.policy.path is None:
            self._jobs.add(*jobs)
            self._jobs.do_now()
        else:
            await self._jobs.do(*jobs)
            self._log_error()
        self._notify()

    # ---------------------------------------------------------------- in the event loop

    def _log_error(self) -> None:
        error = self._written.take_error()
        if error is not None:
            transactions = len(self._written.unwritten)
            _log.warning("ledger_not_written", error=str(error), transactions=transactions)

    def _report_unwritten(self) -> None:
        """Report what is missing in the file when the ledger is left."""
        kept = self._written.kept
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
        if not (self._jobs or self._written.unwritten or self._written.book.open_calls):
            self._written.close()


def _do_nothing(book: Book, at: float) -> None:
    """Do nothing: a job that only makes a transaction, in which unwritten ones are written."""
