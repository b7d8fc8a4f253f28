"""The budgets of all processes: what each ledger has used, and whether a call has room. Pure (R14).

The state is what each contributor has used of each cell, and the totals of the cells. A report sets
the number of a contributor if it is not of an earlier version of the ledger. A call is granted if
each of its cells has room for it, beyond what everything else has used; then it counts at once. If
the store knows a later version of the ledger, by a report of another process with the same file,
the call is in its number already: it is granted if the total is within the budget.

A process that was not heard of for `LEASE_S` is dead, and what its ledger has reserved may be
billed ("maybe"): it goes on counting. If it was only stopped, its next report makes that right.

A state that begins, since there was none or it was lost, decides nothing for `REBUILD_S`: every
process that lives reports within that time. What ledgers had used whose processes have ended cannot
be reported again. It counts as what others had used, by the last answer of a process that lives,
less what the other processes report: at least what is missing, and at most what was in flight more.
"""

from typing import final

import attrs

from .exchange import GRANTED, CellNeed, CellTotal, CellUse, LedgerAnswer, LedgerAsk

LEASE_S = 10.0
"""Seconds after which a process that was not heard of is dead."""
REBUILD_S = 3.0
"""Seconds for which a new state decides nothing; a process reports more often."""
LOST = "lost"
"""The contributor of what was used by ledgers that a lost state had and no process reports."""


@attrs.define
class _CellState:
    version: int
    used: int
    reserved: int
    is_maybe: bool = False  # whether the total has `reserved` as possibly billed


@attrs.define
class _Cell:
    used: int = 0
    reserved: int = 0
    maybe: int = 0
    by: dict[str, _CellState] = attrs.field(factory=dict[str, _CellState])  # {contributor: its use}
    others: dict[str, int] = attrs.field(factory=dict[str, int])  # {contributor: what it knew}


@attrs.define
class _Contributor:
    version: int = 0
    stamp: float = 0.0
    is_ended: bool = False  # its uses are summed up: no further report counts
    open: set[str] = attrs.field(factory=set[str])  # the cells with something reserved


@attrs.define
class _Process:
    contributor: str
    number: int
    lease_end: float


@final
class SharedBudgets:
    """The state of shared budgets."""

    def __init__(self) -> None:
        self.epoch = ""
        self._opens_at = 0.0
        self._processes: dict[str, _Process] = {}
        self._contributors: dict[str, _Contributor] = {}
        self._cells: dict[str, _Cell] = {}

    def __repr__(self) -> str:
        return f"<SharedBudgets {len(self._cells)} cells, {len(self._processes)} processes>"

    def ask(self, ask: LedgerAsk, now: float, epoch: str) -> LedgerAnswer:
        """Answer a question.

        Args:
            ask: what the process asks.
            now: the time in seconds; it may jump.
            epoch: the name of the state if it begins with this question.
        """
        if not self.epoch:
            self.epoch, self._opens_at = epoch, now + REBUILD_S
        self._opens_at = min(self._opens_at, now + REBUILD_S)  # the clock may have gone back
        self._end_leases(now)
        process = self._processes.get(ask.process)
        opens_in_s = max(0.0, self._opens_at - now)
        owner = self._contributors.setdefault(ask.contributor, _Contributor())
        former = owner.version, owner.stamp
        verdicts: tuple[int, ...] = ()
        if process is None or ask.number > process.number:
            self._processes[ask.process] = _Process(ask.contributor, ask.number, now + LEASE_S)
            if process is None:
                self._revive(ask.contributor, owner)
            if not owner.is_ended:
                self._report(ask, owner)
                if ask.version >= owner.version:
                    owner.version, owner.stamp = ask.version, ask.stamp
            if not opens_in_s and ask.epoch in {"", self.epoch}:
                for need in (need for want in ask.wants for need in want):
                    self._cells.setdefault(need.cell, _Cell())
                for name in _cells_of(ask):
                    self._find_lost(self._cells.get(name))
                verdicts = tuple(self._decide(want, ask, owner) for want in ask.wants)
            if ask.leaves:
                self._leave(ask, owner)
        else:
            opens_in_s = opens_in_s or REBUILD_S  # a late question: no call waits for it
        return LedgerAnswer(
            epoch=self.epoch,
            opens_in_s=opens_in_s,
            verdicts=verdicts,
            totals={cell: self._total(cell, ask.contributor) for cell in _cells_of(ask)},
            version=former[0],
            stamp=former[1],
            processes=len(self._processes),
        )

    def _report(self, ask: LedgerAsk, owner: _Contributor) -> None:
        for use in ask.uses:
            cell = self._cells.setdefault(use.cell, _Cell())
            if use.others:
                cell.others[ask.contributor] = use.others
            own = cell.by.get(ask.contributor)
            if own is None or ask.version >= own.version:
                self._set(use, cell, ask, owner)

    def _set(self, use: CellUse, cell: _Cell, ask: LedgerAsk, owner: _Contributor) -> None:
        own = cell.by.get(ask.contributor)
        if own is None:
            own = cell.by[ask.contributor] = _CellState(0, 0, 0)
        cell.used += use.used - own.used
        cell.reserved += use.reserved
        if own.is_maybe:
            cell.maybe -= own.reserved
        else:
            cell.reserved -= own.reserved
        own.version, own.used, own.reserved = ask.version, use.used, use.reserved
        own.is_maybe = False
        if use.reserved:
            owner.open.add(use.cell)
        else:
            owner.open.discard(use.cell)

    def _decide(self, want: tuple[CellNeed, ...], ask: LedgerAsk, owner: _Contributor) -> int:
        adds: list[tuple[CellNeed, int]] = []
        for position, need in enumerate(want):
            cell = self._cells[need.cell]
            own = cell.by.get(ask.contributor)
            # A report of a later version, of another process with the same file, has the call.
            is_in = owner.is_ended or (own is not None and own.version > ask.version)
            amount = 0 if is_in else need.amount
            if cell.used + amount > need.most:
                return position
            adds.append((need, amount))
        for need, amount in adds:
            if amount:
                cell = self._cells[need.cell]
                own = cell.by.get(ask.contributor)
                if own is None:
                    own = cell.by[ask.contributor] = _CellState(ask.version, 0, 0)
                own.used += amount
                own.reserved += amount
                cell.used += amount
                cell.reserved += amount
                owner.open.add(need.cell)
        return GRANTED

    def _find_lost(self, cell: _Cell | None) -> None:
        """Count what the ledgers had used that no process reports any more."""
        if cell is None or not cell.others:
            return
        reported = sum(own.used for name, own in cell.by.items() if name != LOST)
        missing = 0
        for contributor, others in cell.others.items():
            own = cell.by.get(contributor)
            missing = max(missing, others - reported + (0 if own is None else own.used))
        cell.others.clear()
        lost = cell.by.setdefault(LOST, _CellState(0, 0, 0))
        if missing > lost.used:
            cell.used += missing - lost.used
            lost.used = missing

    def _end_leases(self, now: float) -> None:
        for name, process in list(self._processes.items()):
            process.lease_end = min(process.lease_end, now + LEASE_S)  # as above
            if process.lease_end <= now:
                self._end(name)

    def _end(self, name: str) -> None:
        """End a process. What its ledger has reserved may be billed, if no other process has it."""
        contributor = self._processes.pop(name).contributor
        if any(one.contributor == contributor for one in self._processes.values()):
            return
        for cell in map(self._cells.__getitem__, self._contributors[contributor].open):
            own = cell.by[contributor]
            if not own.is_maybe:
                own.is_maybe = True
                cell.reserved -= own.reserved
                cell.maybe += own.reserved

    def _revive(self, contributor: str, owner: _Contributor) -> None:
        """Count what a ledger has reserved as reserved: a process has it again."""
        for cell in map(self._cells.__getitem__, owner.open):
            own = cell.by[contributor]
            if own.is_maybe:
                own.is_maybe = False
                cell.maybe -= own.reserved
                cell.reserved += own.reserved

    def _leave(self, ask: LedgerAsk, owner: _Contributor) -> None:
        self._end(ask.process)
        if ask.is_last and not owner.open and not owner.is_ended:
            owner.is_ended = True
            for use in ask.uses:
                self._cells[use.cell].by.pop(ask.contributor, None)  # the totals keep it

    def _total(self, name: str, contributor: str) -> CellTotal:
        cell = self._cells.get(name)
        if cell is None:
            return CellTotal(0, 0, 0, 0)
        own = cell.by.get(contributor)
        return CellTotal(cell.used, cell.reserved, cell.maybe, 0 if own is None else own.used)


def _cells_of(ask: LedgerAsk) -> dict[str, None]:
    """Return the cells of a question, each once."""
    return dict.fromkeys(
        [
            *(use.cell for use in ask.uses),
            *(need.cell for want in ask.wants for need in want),
            *ask.watched,
        ]
    )
