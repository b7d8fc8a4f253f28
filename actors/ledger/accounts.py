"""The books of a process and the file behind them: who waits for the disk, waits together.

Why a call is held back, in words that one can act on.
"""

import time
from collections.abc import Callable, Sequence
from decimal import Decimal
from itertools import chain
from typing import Protocol, final

import attrs
import structlog
import trio

from ..errors import BudgetExceeded, CallFailed, LedgerUnavailable
from .book import Book, CallOutcome, CostStatistics
from .budgets import Excess, LedgerPolicy
from .entries import Payer, Transaction, dollars
from .file import LedgerFile, LedgerUnusable

__all__ = [
    "Accounts",
    "InThread",
    "exceeded",
    "unavailable",
]


def exceeded(excess: Excess) -> BudgetExceeded:
    """A budget has not so much left."""
    state, needs = excess.state, excess.needs
    whose = f" for {state.name}" if state.name and state.budget.per != "call" else ""
    budget = f"the budget of {state.budget.name}{whose}"
    if needs is None:
        text = (
            f"held back: no price is known for {excess.model}, and {budget} lets nothing pass that "
            "cannot be counted; add the price (PriceBook.load), or let the budget allow_unknown"
        )
    else:
        left = dollars(max(state.left, Decimal(0)))
        text = (
            f"held back: {budget} has {left} left, and the call might cost {dollars(needs)}; raise "
            "the budget, or lower max_tokens"
        )
    return BudgetExceeded(text, budget=budget, left_usd=state.left, needs_usd=needs)


def unavailable(trouble: LedgerUnusable) -> LedgerUnavailable:
    """There are budgets, and what is spent cannot be written down."""
    return LedgerUnavailable(f"held back, because there are budgets to keep: {trouble}")


_log = structlog.stdlib.get_logger("callsheet.actors")


class InThread(Protocol):
    """Runs what blocks, such as `trio.to_thread.run_sync`."""

    async def __call__(self, sync_fn: Callable[[], None], /) -> None:
        """Return when it has run."""
        ...


@attrs.define(eq=False)
class _Task:
    """Something to do with the books, and what came of it.

    Args:
        work: does it; what it makes is to be written.
        must_be_written: it is not to be done if it cannot be.
        needs_posts: it looks at what each post has come to.
        undo: takes it back, if it was done and could not be written.
    """

    work: Callable[[Book, float], Transaction | CostStatistics | None]
    must_be_written: bool = False
    needs_posts: bool = False
    undo: Callable[[Book, float], Transaction | None] | None = None
    error: CallFailed | None = None
    found: Transaction | CostStatistics | None = None


@final
class Accounts:
    """One process's books; they belong to the place of the ledger, not to one incarnation (R2).

    What is to be done with them is queued, and done in one stretch: in memory at once; with a file
    in a thread, in one transaction for all that waits (group commit). Nothing else touches the
    books, so that they need no lock.

    Args:
        policy: how money is kept.
        clock: Unix time in seconds.
        in_thread: runs what waits for the disk; in virtual time, which does not wait for threads,
            something that runs it on the spot.
    """

    def __init__(
        self,
        policy: LedgerPolicy | None = None,
        *,
        clock: Callable[[], float] = time.time,
        in_thread: InThread | None = None,
    ) -> None:
        self.policy = policy or LedgerPolicy()
        self.clock = clock
        self._book = Book(self.policy.budgets)
        self._in_thread: InThread = in_thread or trio.to_thread.run_sync
        self._store: LedgerFile | None = None
        self._seen = 0  # the last entry of the file that the books know
        # Of earlier runs, posts are told apart only if somebody looks at them: there may be many.
        self._has_posts = any(budget.per == "post" for budget in self.policy.budgets)
        self._queue: list[_Task] = []
        self._unwritten: list[Transaction] = []
        self._trouble: LedgerUnusable | None = None
        self._turn = trio.Lock()
        self._listener: Callable[[], None] | None = None
        self._keys = 0

    def __repr__(self) -> str:
        return f"<Accounts {self._book!r} in {self.policy.path or 'memory'}>"

    @property
    def has_work(self) -> bool:
        """Whether something is queued."""
        return bool(self._queue)

    # ---------------------------------------------------------------- the actor's

    async def open(self, listener: Callable[[], None]) -> None:
        """An actor takes care of them from now on.

        Args:
            listener: is called when there is something to write.

        Raises:
            LedgerUnusable: the file cannot be read or written.
        """
        async with self._turn:
            if self.policy.path is not None and self._store is None:
                await self._in_thread(self._open_store)
        self._listener = listener

    async def leave(self) -> None:
        """No actor takes care of them; what ends from now on is written where it ends."""
        self._listener = None
        if self._unwritten:  # the disk may have come back
            self._queue.append(_Task(_nothing))
        if self._queue:
            await self.work()
        self._close_if_idle()

    async def work(self) -> None:
        """Do all that is queued, and write it."""
        if self.policy.path is None:
            self._run_queue()
            return
        async with self._turn:
            with trio.CancelScope(shield=True):  # it is done for others, too
                while self._queue:
                    await self._in_thread(self._run_queue)
                    self._tell_trouble()

    # ---------------------------------------------------------------- the books

    def new_key(self) -> str:
        """A reservation's, of this process."""
        self._keys += 1
        return str(self._keys)

    async def reserve(
        self, wanted: Sequence[tuple[str, Sequence[Payer]]]
    ) -> list[CallFailed | None]:
        """Reserve for several calls, in this order; for each, why it may not be made."""
        tasks = [self._reservation(key, lines) for key, lines in wanted]
        await self._do(tasks)
        return [task.error for task in tasks]

    async def extend(self, key: str) -> None:
        """Reserve for one attempt more of a call.

        Raises:
            BudgetExceeded, LedgerUnavailable: it may not be made.
        """
        task = _Task(lambda book, at: book.extend(key, at), must_be_written=True)
        await self._do([task])
        if task.error is not None:
            raise task.error

    def settle(self, key: str, outcome: CallOutcome) -> None:
        """End a reservation; from anywhere, and at once for all who ask later."""
        self._queue.append(_Task(lambda book, at: book.settle(key, outcome, at)))
        if self.policy.path is None:
            self._run_queue()
        elif self._listener is not None:
            self._listener()
        elif not self._turn.locked():  # else it is done by who has the turn
            self._run_queue()
            self._close_if_idle()

    async def statistics(self) -> CostStatistics:
        """What the books say."""
        task = _Task(lambda book, _: book.statistics(), needs_posts=True)
        await self._do([task])
        if not isinstance(task.found, CostStatistics):
            raise TypeError("the books say nothing")
        return attrs.evolve(task.found, unwritten=len(self._unwritten))

    def _reservation(self, key: str, lines: Sequence[Payer]) -> _Task:
        refund = CallOutcome(None, 0)
        return _Task(
            lambda book, at: book.reserve(key, lines, at),
            must_be_written=True,
            undo=lambda book, at: book.settle(key, refund, at),
        )

    async def _do(self, tasks: Sequence[_Task]) -> None:
        self._queue.extend(tasks)
        await self.work()

    # ---------------------------------------------------------------- in a thread

    def _open_store(self) -> None:
        path = self.policy.path
        if path is not None:
            self._store = LedgerFile(path, self.clock(), after=self._seen)

    def _run_queue(self) -> None:
        """Do all that is queued: the only place where the books are touched."""
        tasks, self._queue = self._queue, []
        at, store = self.clock(), self._store
        trouble = self._begin(store)
        if trouble is None and any(task.needs_posts for task in tasks):
            trouble = self._tell_posts_apart(store)
        try:
            for task in tasks:
                self._run(task, at, trouble)
        except BaseException:
            if store is not None:
                store.roll_back()
            raise
        if trouble is None and store is not None:
            try:
                store.commit(self._unwritten)
            except LedgerUnusable as error:
                trouble = error
                self._take_back(tasks, at, error)
            else:
                self._unwritten.clear()
        if self.policy.path is None:
            self._unwritten.clear()
        self._trouble = trouble

    def _begin(self, store: LedgerFile | None) -> LedgerUnusable | None:
        if store is None:
            return None
        try:
            for entry in store.begin(by_post=self._has_posts):
                self._book.post(entry)
        except LedgerUnusable as error:
            return error
        return None

    def _tell_posts_apart(self, store: LedgerFile | None) -> LedgerUnusable | None:
        if store is None or self._has_posts:
            return None
        try:
            known = store.by_post()
        except LedgerUnusable as error:
            return error
        # The books are the file, and what is not in it yet.
        self._book.tell_apart(chain(known, *(done.entries for done in self._unwritten)))
        self._has_posts = True
        return None

    def _run(self, task: _Task, at: float, trouble: LedgerUnusable | None) -> None:
        if trouble is not None and task.must_be_written and self.policy.budgets:
            task.error = unavailable(trouble)
            return
        try:
            task.found = task.work(self._book, at)
        except Excess as excess:
            task.error = exceeded(excess)
        else:
            if isinstance(task.found, Transaction):
                self._unwritten.append(task.found)

    def _take_back(self, tasks: Sequence[_Task], at: float, trouble: LedgerUnusable) -> None:
        """With budgets, nothing is spent that is not on disk (L3)."""
        for task in tasks:
            if task.must_be_written and task.error is None and self.policy.budgets:
                task.error = unavailable(trouble)
                undone = None if task.undo is None else task.undo(self._book, at)
                if undone is not None:
                    self._unwritten.append(undone)

    # ---------------------------------------------------------------- back again

    def _tell_trouble(self) -> None:
        if self._trouble is not None:
            _log.warning(
                "ledger_not_written", error=str(self._trouble), transactions=len(self._unwritten)
            )

    def _close_if_idle(self) -> None:
        """Let go of the file, unless it would say that all has ended well, and it has not."""
        store, has_more = self._store, bool(self._queue or self._unwritten)
        if store is not None and not self._book.open_calls and not has_more:
            self._store, self._seen = None, store.seen
            store.close(self.clock())


def _nothing(book: Book, at: float) -> None:  # as all that is done with them
    """What is unwritten is written all the same."""
