"""The budgets of a process's accounts that other processes share, in US dollars.

It turns what the book has used into reports, and what the store decides into errors of calls.
"""

import secrets
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import TYPE_CHECKING, final

import attrs

from ..errors import CallFailed
from ..storage import StorageError
from .book import Book
from .budgets import Budget, BudgetNeed, BudgetState, BudgetUse
from .entries import CostLabel, add_usd, subtract_usd
from .link import LedgerLink
from .refusals import exceeded_by_all
from .shared import PICO, Attempt, CellNeed, CellUse, LedgerReport

if TYPE_CHECKING:
    from .file import LedgerFile
    from .shared import LedgerStore

_EXACT = Context(prec=1000)
_PLACES = 12  # of a picodollar


@final
class SharedLedger:
    """What one process's accounts share with those of others.

    `note` runs where commits run, which may be a thread; everything else in the event loop.

    Args:
        store: the store of the shared budgets.
        commit: runs a commit of the accounts, whose report has all cells if its argument is true.
        clock: Unix time in seconds.
        is_memory: whether the ledger is in memory, so that it ends with the process.
        waits: whether calls wait as long as the store is away; see `LedgerLink`.

    Attributes:
        link: the link to the store.
    """

    def __init__(
        self,
        store: "LedgerStore",
        commit: Callable[[bool], Awaitable[None]],
        clock: Callable[[], float],
        *,
        is_memory: bool,
        waits: bool = False,
    ) -> None:
        self.link = LedgerLink(store, commit, waits=waits)
        self._clock = clock
        self._needs: dict[Attempt, list[BudgetNeed]] = {}  # of attempts without a verdict
        self._version, self._stamp = 0, 0.0
        if is_memory:
            self.link.share.contributor = secrets.token_hex(12)

    def use(self, budgets: Iterable[Budget]) -> None:
        """Take note of the budgets that apply from now on."""
        self.link.is_needed = any(budget.can_be_shared for budget in budgets)

    # ---------------------------------------------------------------- where commits run

    @property
    def unverified(self) -> tuple[int, float] | None:
        """A version that the ledger must have, to be given to `note` after the next commit."""
        return self.link.share.unverified

    def note(
        self,
        book: Book,
        file: "LedgerFile | None",
        reserved: Sequence[Attempt],
        ended: Sequence[Attempt],
        *,
        is_written: bool,
        has_all: bool,
        unverified: tuple[int, float] | None,
    ) -> None:
        """Note what a commit has changed.

        Args:
            book: what was committed.
            file: the file of the ledger; None if it is in memory.
            reserved: the attempts that were reserved.
            ended: the attempts that ended.
            is_written: whether the book has nothing that is not in the file.
            has_all: whether to report all cells.
            unverified: what `unverified` was before the commit.
        """
        wants = [(attempt, self._wanted(book, attempt)) for attempt in reserved]
        for key, number in ended:
            self._needs.pop((key, number or 1), None)
        if is_written:
            try:
                report = self._report(book, file, has_all, unverified)
            except StorageError:  # the next commit reports it
                report = LedgerReport(None, 0.0)
        else:
            report = LedgerReport(None, 0.0)
        if report.version is not None or wants or ended:
            self.link.reports.append(attrs.evolve(report, wants=wants, ended=tuple(ended)))

    def _report(
        self,
        book: Book,
        file: "LedgerFile | None",
        has_all: bool,  # noqa: FBT001
        unverified: tuple[int, float] | None,
    ) -> LedgerReport:
        is_copy = False
        if file is None:
            self._version += 1
        else:
            if self.link.is_needed and not self.link.share.contributor:
                self.link.share.contributor = file.identity()
            if file.seen != self._version:
                self._stamp = file.stamp(file.seen)
                self._version = file.seen
            if unverified is not None:
                version, stamp = unverified
                is_copy = version > file.seen or file.stamp(version) != stamp
        uses = {use.budget.cell(use.name): use for use in book.uses(has_all=has_all)}
        return LedgerReport(
            self._version,
            self._stamp,
            [_cell_use(cell, use) for cell, use in uses.items()],
            has_all=has_all,
            verified=None if is_copy else unverified,
            is_copy=is_copy,
        )

    def _wanted(self, book: Book, attempt: Attempt) -> tuple[CellNeed, ...]:
        needs = book.needs(attempt[0])
        if needs:
            self._needs[attempt] = needs
        found: dict[str, CellNeed] = {}
        for need in needs:
            cell = need.budget.cell(need.name)
            amount, most = _pico(need.usd, ROUND_CEILING), _pico(need.budget.usd, ROUND_FLOOR)
            if cell in found:  # two budgets of the same calls: the smaller one decides
                most = min(most, found[cell].most)
            found[cell] = CellNeed(cell, amount, most, need.budget.keep_s)
        return tuple(found.values())

    # ---------------------------------------------------------------- in the event loop

    async def confirm(self, attempts: Sequence[Attempt]) -> list[CallFailed | None]:
        """Wait until the store has decided on attempts that are in the ledger.

        Args:
            attempts: what waits for a verdict.

        Returns:
            For each of them the reason why it may not be sent, or None.
        """
        try:
            found = await self.link.confirm(attempts)
            return [self._error(attempt, one) for attempt, one in zip(attempts, found, strict=True)]
        finally:
            for attempt in attempts:
                self._needs.pop(attempt, None)

    def _error(self, attempt: Attempt, found: CellNeed | CallFailed | None) -> CallFailed | None:
        if not isinstance(found, CellNeed):
            return found
        known = self._needs.get(attempt, ())
        needs = [one for one in known if one.budget.cell(one.name) == found.cell]
        if not needs:
            return None  # the call has ended
        need = min(needs, key=lambda one: one.budget.usd)
        total = self.link.share.totals.get(found.cell)
        used = need.budget.usd if total is None else _usd(total.used)
        return exceeded_by_all(need, used, self._clock())

    def used(self, state: BudgetState) -> Decimal | None:
        """Return what all processes have used, in USD, as last heard; None if it is not shared.

        Args:
            state: the state in this process, which is newer than what the store knows.
        """
        if not state.budget.can_be_shared:
            return None
        total = self.link.share.totals.get(state.budget.cell(state.name))
        others = Decimal(0) if total is None else _usd(total.used - total.own)
        return add_usd(others, state.used)

    async def states(
        self, states: Sequence[BudgetState], budgets: Iterable[Budget]
    ) -> tuple[BudgetState, ...]:
        """Return the states of budgets over all processes, as new as the store has them.

        Args:
            states: the states in this process.
            budgets: all budgets, of which those of all calls may be used by other processes alone.
        """
        if not self.link.is_needed:
            return tuple(states)
        known = {state.budget for state in states}
        of_others = [one for one in budgets if one.per in ("total", "day") and one not in known]
        today = datetime.fromtimestamp(self._clock(), UTC).date().isoformat()
        states = [*states, *(_unused(budget, today) for budget in of_others)]
        cells = [one.budget.cell(one.name) if one.budget.can_be_shared else "" for one in states]
        totals = await self.link.refresh([cell for cell in cells if cell])
        found: list[BudgetState] = []
        for state, cell in zip(states, cells, strict=True):
            total = totals.get(cell)
            if total is not None:
                used = _usd(total.used)
                left, maybe = subtract_usd(state.budget.usd, used), _usd(total.maybe)
                found.append(BudgetState(state.budget, state.name, used, left, True, maybe))  # noqa: FBT003
            else:
                found.append(attrs.evolve(state, is_shared=bool(cell)))
        return tuple(found)


def _unused(budget: Budget, day: str) -> BudgetState:
    name = budget.key(CostLabel("", day=day), "") or ""
    return BudgetState(budget, name, Decimal(0), budget.usd)


def _cell_use(cell: str, use: BudgetUse) -> CellUse:
    used, reserved = _pico(use.used, ROUND_CEILING), _pico(use.reserved, ROUND_CEILING)
    return CellUse(cell, used, reserved, use.budget.keep_s)


def _pico(usd: Decimal, rounding: str) -> int:
    """Return USD as picodollars; finer amounts are rounded, so that too much counts."""
    return int(usd.scaleb(_PLACES, _EXACT).to_integral_value(rounding, _EXACT))


def _usd(pico: int) -> Decimal:
    return _EXACT.divide(Decimal(pico), Decimal(PICO)).normalize(_EXACT)
