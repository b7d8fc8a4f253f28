"""The books: what is reserved, spent and perhaps billed, by whom and on what. Pure (R14)."""

from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import final

import attrs

from .budgets import Budget, BudgetState, Counter
from .entries import (
    DIMENSIONS,
    NOTHING,
    Account,
    Amount,
    Dimension,
    Entry,
    Heading,
    Kind,
    Line,
    Transaction,
)

__all__ = ["Book", "LedgerStatistics", "Outcome", "Totals"]


@attrs.frozen
class Totals:
    """What something has come to.

    Args:
        spent: as the provider charged it.
        reserved: for calls under way, at most.
        maybe_billed: what may have been charged for nothing, at most.
    """

    spent: Amount = NOTHING
    reserved: Amount = NOTHING
    maybe_billed: Amount = NOTHING

    def __add__(self, other: "Totals") -> "Totals":
        return Totals(
            self.spent + other.spent,
            self.reserved + other.reserved,
            self.maybe_billed + other.maybe_billed,
        )

    def plus(self, account: Account, amount: Amount) -> "Totals":
        """The same after an entry."""
        if account == "available":
            return self
        spent, reserved, maybe = self.spent, self.reserved, self.maybe_billed
        if account == "spent":
            return Totals(spent + amount, reserved, maybe)
        if account == "reserved":
            return Totals(spent, reserved + amount, maybe)
        return Totals(spent, reserved, maybe + amount)


@attrs.frozen(kw_only=True)
class LedgerStatistics:
    """What the books say.

    Args:
        totals: of everything.
        by: the same by model, tenant, post, UTC day and route; each of them adds up to `totals`.
        budgets: how each budget stands that anything counts for.
        open_calls: reservations for calls under way.
        unwritten: transactions that could not be written to the file yet.
    """

    totals: Totals
    by: Mapping[Dimension, Mapping[str, Totals]]
    budgets: tuple[BudgetState, ...]
    open_calls: int
    unwritten: int = 0


@attrs.frozen
class Outcome:
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
    def kind(self) -> Kind:
        """Of the transaction that it makes."""
        if self.spent is not None:
            return "settle"
        return "maybe" if self.maybe else "refund"


@attrs.define
class _Open:
    lines: Sequence[Line]
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
        self._sums: dict[tuple[str, ...], Totals] = {}  # {names, in the order of DIMENSIONS: sum}
        self._counters = [Counter(budget) for budget in budgets]

    def __repr__(self) -> str:
        return f"<Book {len(self._open)} open>"

    @property
    def open_calls(self) -> int:
        """Reservations that have not ended."""
        return len(self._open)

    def reserve(self, key: str, lines: Sequence[Line], at: float) -> Transaction:
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

    def settle(self, key: str, outcome: Outcome, at: float) -> Transaction | None:
        """End a reservation; None if it has ended before."""
        reservation = self._open.pop(key, None)
        if reservation is None:
            return None
        lines = reservation.lines
        spent = (None,) * len(lines) if outcome.spent is None else outcome.spent.split(len(lines))
        entries: list[Entry] = []
        for line, share in zip(lines, spent, strict=True):
            entries += _endings(line, reservation.attempts, share, outcome)
        transaction = self._post(Transaction(outcome.kind, key, at, tuple(entries)))
        for counter in self._counters:
            counter.close(key)
        return transaction

    def post(self, entry: Entry, reservation: str = "") -> None:
        """Take in what others have written, or earlier runs."""
        if entry.account == "available":
            return
        self._add(entry)
        for counter in self._counters:
            counter.post(entry, reservation)

    def tell_apart(self, entries: Iterable[Entry]) -> None:
        """Take in all that is known once more, of each post for itself.

        Args:
            entries: what all that was posted comes to.
        """
        self._sums.clear()
        for entry in entries:
            if entry.account != "available":
                self._add(entry)

    def statistics(self) -> LedgerStatistics:
        """What they say now."""
        whole = Totals()
        by: dict[Dimension, dict[str, Totals]] = {dimension: {} for dimension in DIMENSIONS}
        for names, totals in self._sums.items():
            whole += totals
            for dimension, name in zip(DIMENSIONS, names, strict=True):
                by[dimension][name] = by[dimension].get(name, _NONE) + totals
        return LedgerStatistics(
            totals=whole,
            by=by,
            budgets=tuple(state for counter in self._counters for state in counter.states()),
            open_calls=len(self._open),
        )

    def _set_aside(
        self, kind: Kind, key: str, lines: Sequence[Line], at: float, *, calls: int
    ) -> Transaction:
        for counter in self._counters:
            counter.check(lines, key)
        entries: list[Entry] = []
        for line in lines:
            bound = line.bound.of_calls(calls)
            entries.append(Entry("available", line.heading, bound.times(-1)))
            entries.append(Entry("reserved", line.heading, bound))
        return self._post(Transaction(kind, key, at, tuple(entries)))

    def _add(self, entry: Entry) -> None:
        names = _names(entry.heading)
        self._sums[names] = self._sums.get(names, _NONE).plus(entry.account, entry.amount)

    def _post(self, transaction: Transaction) -> Transaction:
        for entry in transaction.entries:
            self.post(entry, transaction.reservation)
        return transaction


_NONE = Totals()
_names = attrgetter(*DIMENSIONS)


def _endings(line: Line, attempts: int, share: Amount | None, outcome: Outcome) -> list[Entry]:
    """Where one payer's reservation goes."""
    heading: Heading = line.heading
    reserved = line.bound.of_calls(0).times(attempts) + _calls_of(line.bound)
    entries = [Entry("reserved", heading, reserved.times(-1))]
    rest = reserved
    if share is not None:
        paid = attrs.evolve(
            heading, model=outcome.model or heading.model, route=outcome.route or heading.route
        )
        entries.append(Entry("spent", paid, share))
        rest -= share
    if outcome.maybe:
        maybe = line.bound.of_calls(0).times(outcome.maybe)
        if share is None:
            maybe += _calls_of(line.bound)
        entries.append(Entry("maybe_billed", heading, maybe))
        rest -= maybe
    if rest != NOTHING:
        entries.append(Entry("available", heading, rest))
    return entries


def _calls_of(bound: Amount) -> Amount:
    return Amount(calls=1, unpriced_calls=1 if bound.unpriced_calls else 0)
