"""The books: what is reserved, spent and perhaps billed, by whom and on what. Pure (R14)."""

from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import final

import attrs

from .budgets import Budget, BudgetCounter, BudgetState
from .entries import (
    COST_DIMENSIONS,
    NOTHING,
    Account,
    Amount,
    CostDimension,
    CostLabel,
    LedgerEntry,
    Payer,
    Transaction,
    TransactionKind,
)

__all__ = ["Book", "CallOutcome", "CostStatistics", "CostTotals"]


@attrs.frozen
class CostTotals:
    """What something has come to.

    Args:
        spent: as the provider charged it.
        reserved: for calls under way, at most.
        maybe_billed: what may have been charged for nothing, at most.
    """

    spent: Amount = NOTHING
    reserved: Amount = NOTHING
    maybe_billed: Amount = NOTHING

    def __add__(self, other: "CostTotals") -> "CostTotals":
        return CostTotals(
            self.spent + other.spent,
            self.reserved + other.reserved,
            self.maybe_billed + other.maybe_billed,
        )

    def plus(self, account: Account, amount: Amount) -> "CostTotals":
        """The same after an entry."""
        if account == "available":
            return self
        spent, reserved, maybe = self.spent, self.reserved, self.maybe_billed
        if account == "spent":
            return CostTotals(spent + amount, reserved, maybe)
        if account == "reserved":
            return CostTotals(spent, reserved + amount, maybe)
        return CostTotals(spent, reserved, maybe + amount)


@attrs.frozen(kw_only=True)
class CostStatistics:
    """What the books say.

    Args:
        totals: of everything.
        by: the same by model, tenant, post, UTC day and route; each of them adds up to `totals`.
        budgets: how each budget stands that anything counts for.
        open_calls: reservations for calls under way.
        unwritten: transactions that could not be written to the file yet.
    """

    totals: CostTotals
    by: Mapping[CostDimension, Mapping[str, CostTotals]]
    budgets: tuple[BudgetState, ...]
    open_calls: int
    unwritten: int = 0


@attrs.frozen
class CallOutcome:
    """What became of a call.

    Args:
        spent: what its answer cost; None if it has none, or one that does not tell its tokens.
        maybe: attempts that may have been charged besides.
        model: that answered, if it is another one than was asked for.
        route: the way that the answer was had; None for the one that was reserved for.
    """

    spent: Amount | None
    maybe: int
    model: str | None = None
    route: str | None = None

    @property
    def kind(self) -> TransactionKind:
        """Of the transaction that it makes."""
        if self.spent is not None:
            return "settle"
        return "maybe" if self.maybe else "refund"


@attrs.define
class _Open:
    lines: Sequence[Payer]
    attempts: int  # that are reserved for


@final
class Book:
    """Double entry: every transaction only moves amounts from one account to another.

    A reservation is made once, may be extended by one attempt at a time, and ends once: as
    settled, as perhaps billed, or as refunded. What comes for one that has ended is a no-op.

    Args:
        budgets: what may be spent.
    """

    def __init__(self, budgets: Sequence[Budget] = ()) -> None:
        self._open: dict[str, _Open] = {}  # {key of the reservation: what is reserved}
        # One sum for each combination of what sums are told by: most entries need no other.
        self._sums: dict[
            tuple[str, ...], CostTotals
        ] = {}  # {names, in the order of DIMENSIONS: sum}
        self._counters = [BudgetCounter(budget) for budget in budgets]

    def __repr__(self) -> str:
        return f"<Book {len(self._open)} open>"

    @property
    def open_calls(self) -> int:
        """Reservations that have not ended."""
        return len(self._open)

    def reserve(self, key: str, lines: Sequence[Payer], at: float) -> Transaction:
        """Put aside what one attempt of a call may cost.

        Raises:
            Excess: a budget has not so much left; nothing has changed.
            ValueError: there is such a reservation.
        """
        if key in self._open:
            raise ValueError(f"there is a reservation {key} already")
        transaction = self._set_aside("reserve", key, lines, at, calls=1)
        self._open[key] = _Open(lines, 1)
        return transaction

    def extend(self, key: str, at: float) -> Transaction | None:
        """Put aside what one attempt more may cost; None if the reservation has ended.

        Raises:
            Excess: a budget has not so much left; nothing has changed.
        """
        reservation = self._open.get(key)
        if reservation is None:
            return None
        transaction = self._set_aside("extend", key, reservation.lines, at, calls=0)
        reservation.attempts += 1
        return transaction

    def settle(self, key: str, outcome: CallOutcome, at: float) -> Transaction | None:
        """End a reservation; None if it has ended before."""
        reservation = self._open.pop(key, None)
        if reservation is None:
            return None
        lines = reservation.lines
        spent = (None,) * len(lines) if outcome.spent is None else outcome.spent.split(len(lines))
        entries: list[LedgerEntry] = []
        for line, share in zip(lines, spent, strict=True):
            entries += _endings(line, reservation.attempts, share, outcome)
        transaction = self._post(Transaction(outcome.kind, key, at, tuple(entries)))
        for counter in self._counters:
            counter.close(key)
        return transaction

    def post(self, entry: LedgerEntry, reservation: str = "") -> None:
        """Take in what others have written, or earlier runs."""
        if entry.account == "available":
            return
        self._add(entry)
        for counter in self._counters:
            counter.post(entry, reservation)

    def tell_apart(self, entries: Iterable[LedgerEntry]) -> None:
        """Take in all that is known once more, of each post for itself.

        Args:
            entries: what all that was posted comes to.
        """
        self._sums.clear()
        for entry in entries:
            if entry.account != "available":
                self._add(entry)

    def statistics(self) -> CostStatistics:
        """What they say now."""
        whole = CostTotals()
        by: dict[CostDimension, dict[str, CostTotals]] = {
            dimension: {} for dimension in COST_DIMENSIONS
        }
        for names, totals in self._sums.items():
            whole += totals
            for dimension, name in zip(COST_DIMENSIONS, names, strict=True):
                by[dimension][name] = by[dimension].get(name, _NONE) + totals
        return CostStatistics(
            totals=whole,
            by=by,
            budgets=tuple(state for counter in self._counters for state in counter.states()),
            open_calls=len(self._open),
        )

    def _set_aside(
        self, kind: TransactionKind, key: str, lines: Sequence[Payer], at: float, *, calls: int
    ) -> Transaction:
        for counter in self._counters:
            counter.check(lines, key)
        entries: list[LedgerEntry] = []
        for line in lines:
            bound = line.bound.of_calls(calls)
            entries.append(LedgerEntry("available", line.heading, bound.times(-1)))
            entries.append(LedgerEntry("reserved", line.heading, bound))
        return self._post(Transaction(kind, key, at, tuple(entries)))

    def _add(self, entry: LedgerEntry) -> None:
        names = _names(entry.heading)
        self._sums[names] = self._sums.get(names, _NONE).plus(entry.account, entry.amount)

    def _post(self, transaction: Transaction) -> Transaction:
        for entry in transaction.entries:
            self.post(entry, transaction.reservation)
        return transaction


_NONE = CostTotals()
_names = attrgetter(*COST_DIMENSIONS)


def _endings(
    line: Payer, attempts: int, share: Amount | None, outcome: CallOutcome
) -> list[LedgerEntry]:
    """Where one payer's reservation goes."""
    heading: CostLabel = line.heading
    reserved = line.bound.of_calls(0).times(attempts) + _calls_of(line.bound)
    entries = [LedgerEntry("reserved", heading, reserved.times(-1))]
    rest = reserved
    if share is not None:
        paid = attrs.evolve(
            heading, model=outcome.model or heading.model, route=outcome.route or heading.route
        )
        entries.append(LedgerEntry("spent", paid, share))
        rest -= share
    if outcome.maybe:
        maybe = line.bound.of_calls(0).times(outcome.maybe)
        if share is None:
            maybe += _calls_of(line.bound)
        entries.append(LedgerEntry("maybe_billed", heading, maybe))
        rest -= maybe
    if rest != NOTHING:
        entries.append(LedgerEntry("available", heading, rest))
    return entries


def _calls_of(bound: Amount) -> Amount:
    return Amount(calls=1, unpriced_calls=1 if bound.unpriced_calls else 0)
