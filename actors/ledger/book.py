"""The book: what is reserved, spent and possibly billed, by payer and model. Pure (R14)."""

from collections.abc import Iterable, Mapping, Sequence
from typing import final

import attrs

from .budget_counters import BudgetCounters
from .budgets import Budget, BudgetNeed, BudgetState, BudgetUse
from .cost_sums import CostSums, CostTotals
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
from .lines import HELD, LINE, LineDebts


@attrs.frozen(kw_only=True)
class CostStatistics:
    """The sums and budgets of a ledger at one moment.

    Args:
        totals: the sums of everything.
        by: the sums by model, tenant, post, UTC day, route and endpoint; each dimension adds up to
            `totals`.
        budgets: the state of each budget that anything counts against, in its latest day or month.
        open_calls: the number of reservations for calls in flight.
        unwritten: the number of transactions that are not in the file yet, because it could not be
            written.
    """

    totals: CostTotals
    by: Mapping[CostDimension, Mapping[str, CostTotals]]
    budgets: tuple[BudgetState, ...]
    open_calls: int
    unwritten: int = 0


@attrs.frozen
class CallOutcome:
    """How a call ended, for the ledger.

    Args:
        spent: what its response cost; None without a response, or if it does not report its tokens.
        maybe: the number of other attempts that may have been charged.
        model: the model that responded, if it is not the one that was requested.
        route: the route that the response took; None for the one that was reserved for.
        endpoint: the endpoint that responded, or where the last attempt was sent; None for the one
            that was reserved for.
        is_unknown: whether its response does not tell what it cost: then it costs `spent` at most,
            or what was reserved for one attempt.
    """

    spent: Amount | None
    maybe: int
    model: str | None = None
    route: str | None = None
    endpoint: str | None = None
    is_unknown: bool = False

    @property
    def kind(self) -> TransactionKind:
        """The kind of transaction that it results in."""
        if self.spent is not None or self.is_unknown:
            return "settle"
        return "maybe" if self.maybe else "refund"


@attrs.define
class _Open:
    payers: Sequence[Payer]
    attempts: int  # the number that is reserved for
    name: str  # the key, or the name of a line of a batch


@final
class Book:
    """Double entry: every transaction moves amounts from one account to another.

    A reservation is made once, may be extended by one attempt at a time, and ends once: as
    settled, as possibly billed, or as refunded. An operation on an ended reservation is a no-op.

    Args:
        budgets: the budgets that reservations are checked against.
        is_shared: whether other processes share the budgets.
    """

    def __init__(self, budgets: Sequence[Budget] = (), *, is_shared: bool = False) -> None:
        self._open: dict[str, _Open] = {}  # {key of the reservation: it}
        self._sums = CostSums()
        self._counters = BudgetCounters(budgets, is_shared=is_shared)
        self.lines = LineDebts()

    def __repr__(self) -> str:
        return f"<Book {len(self._open)} open>"

    @property
    def open_calls(self) -> int:
        """The number of reservations that have not ended."""
        return len(self._open)

    def reserve(
        self, key: str, payers: Sequence[Payer], at: float, *, is_held: bool = False
    ) -> Transaction:
        """Reserve what one attempt of a call may cost.

        Args:
            key: identifies the reservation.
            payers: who pays for the call, and at most how much each of them.
            at: Unix time in seconds.
            is_held: whether it begins as after `hold`.

        Raises:
            Excess: a budget has too little left; nothing has changed.
            ValueError: there is a reservation with this key.
        """
        if key in self._open:
            raise ValueError(f"there is already a reservation {key}")
        reservation = _Open(payers, 1, f"{HELD}{key}" if is_held else key)
        transaction = self._reserve("reserve", key, reservation, at, calls=1)
        self._open[key] = reservation
        return transaction

    def extend(self, key: str, at: float) -> Transaction | None:
        """Reserve what one more attempt may cost.

        Args:
            key: of the reservation.
            at: Unix time in seconds.

        Returns:
            The transaction, or None if the reservation has ended.

        Raises:
            Excess: a budget has too little left; nothing has changed.
        """
        reservation = self._open.get(key)
        if reservation is None:
            return None
        transaction = self._reserve("extend", key, reservation, at, calls=0)
        reservation.attempts += 1
        return transaction

    def retract(self, key: str, at: float) -> Transaction | None:
        """Undo one `extend`: the attempt is not sent. Return None if the reservation has ended."""
        reservation = self._open.get(key)
        if reservation is None or reservation.attempts == 1:
            return None
        reservation.attempts -= 1
        entries: list[LedgerEntry] = []
        for payer in reservation.payers:
            bound = payer.bound.of_calls(0)
            entries.append(LedgerEntry("available", payer.label, bound))
            entries.append(LedgerEntry("reserved", payer.label, bound.times(-1)))
        return self._post(Transaction("extend", reservation.name, at, tuple(entries)), key)

    def needs(self, key: str) -> list[BudgetNeed]:
        """Return what one attempt of a call needs of the shared budgets."""
        reservation = self._open.get(key)
        return [] if reservation is None else self._counters.needs(reservation.payers)

    def uses(self, *, has_all: bool) -> list[BudgetUse]:
        """Return what is used of the shared budgets; see `BudgetCounter.uses`."""
        return list(self._counters.uses(has_all=has_all))

    def hold(self, key: str, at: float) -> Transaction | None:
        """Note that nothing of a call was sent yet: its reservation ends with the process.

        Args:
            key: of the reservation.
            at: Unix time in seconds.

        Returns:
            The transaction, or None if the reservation has ended.
        """
        return self._rename(key, f"{HELD}{key}", at)

    def unhold(self, key: str, at: float) -> Transaction | None:
        """Note that an attempt of a call is sent; see `hold`."""
        return self._rename(key, key, at)

    def attach(self, key: str, line: str, at: float) -> list[Transaction]:
        """Give a reservation the name of a line, and release what earlier calls have left for it.

        Args:
            key: of the reservation.
            line: the custom id of the line.
            at: Unix time in seconds.

        Returns:
            One transaction for each line that something is released for; none if the reservation
            has ended.
        """
        reservation = self._open.get(key)
        if reservation is None:
            return []
        payers, formerly = reservation.payers, reservation.name
        reservation.name = f"{LINE}{line}"
        names = {reservation.name: formerly} | {one: one for one in self.lines.unrun(payers)}
        found: list[Transaction] = []
        for name, former in names.items():
            entries = tuple(self.lines.release(name, payers))
            found.append(self._post(Transaction("attach", name, at, entries, former), ""))
        return found

    def settle(self, key: str, outcome: CallOutcome, at: float) -> Transaction | None:
        """End a reservation; return None if it has ended before."""
        reservation = self._open.pop(key, None)
        if reservation is None:
            return None
        payers = reservation.payers
        spent = (None,) * len(payers) if outcome.spent is None else outcome.spent.split(len(payers))
        entries: list[LedgerEntry] = []
        for payer, share in zip(payers, spent, strict=True):
            entries += _endings(payer, reservation.attempts, share, outcome)
        name = reservation.name
        transaction = self._post(Transaction(outcome.kind, name, at, tuple(entries)), key)
        self.lines.note(name, entries)
        self._counters.close(key)
        return transaction

    def post(self, entry: LedgerEntry, reservation: str = "") -> None:
        """Take in an entry that another run has written."""
        if entry.account == "available":
            return
        self._sums.add(entry)
        self._counters.post(entry, reservation)

    def change_budgets(self, budgets: Sequence[Budget]) -> None:
        """Replace the budgets. What was posted so far counts against new ones, too.

        Args:
            budgets: the budgets from now on; for those of posts, the sums must distinguish posts.
        """
        new = self._counters.replace(budgets)
        for names, totals in self._sums.items():
            label = CostLabel("", **dict(zip(COST_DIMENSIONS, names, strict=True)))
            rest = totals.at_most - totals.reserved
            new.post(LedgerEntry("reserved", label, totals.reserved), "")
            new.post(LedgerEntry("spent", label, rest), "")
        for counter in new:
            if counter.budget.per == "call":
                for key, reservation in self._open.items():
                    for payer in reservation.payers:
                        reserved = payer.bound.of_calls(0).times(reservation.attempts)
                        counter.post(LedgerEntry("reserved", payer.label, reserved), key)

    def replace_sums(self, entries: Iterable[LedgerEntry]) -> None:
        """Replace all sums by sums that distinguish posts.

        Args:
            entries: the sum of everything that was posted, with entries for each post.
        """
        self._sums = CostSums()
        for entry in entries:
            if entry.account != "available":
                self._sums.add(entry)

    def statistics(self) -> CostStatistics:
        """Return the sums and the state of the budgets."""
        totals, by = self._sums.read()
        return CostStatistics(
            totals=totals,
            by=by,
            budgets=tuple(self._counters.states()),
            open_calls=len(self._open),
        )

    def _rename(self, key: str, name: str, at: float) -> Transaction | None:
        reservation = self._open.get(key)
        if reservation is None or reservation.name == name:
            return None
        former, reservation.name = reservation.name, name
        return Transaction("attach", name, at, (), former)

    def _reserve(
        self, kind: TransactionKind, key: str, reservation: _Open, at: float, *, calls: int
    ) -> Transaction:
        self._counters.check(reservation.payers, key)
        self._counters.reserved(reservation.payers)
        entries: list[LedgerEntry] = []
        for payer in reservation.payers:
            bound = payer.bound.of_calls(calls)
            entries.append(LedgerEntry("available", payer.label, bound.times(-1)))
            entries.append(LedgerEntry("reserved", payer.label, bound))
        return self._post(Transaction(kind, reservation.name, at, tuple(entries)), key)

    def _post(self, transaction: Transaction, key: str) -> Transaction:
        for entry in transaction.entries:
            self.post(entry, key)
        return transaction


def _endings(
    payer: Payer, attempts: int, share: Amount | None, outcome: CallOutcome
) -> list[LedgerEntry]:
    """Return the entries that end one payer's reservation."""
    label: CostLabel = payer.label
    reserved = payer.bound.of_calls(0).times(attempts) + _calls_of(payer.bound)
    entries = [LedgerEntry("reserved", label, reserved.times(-1))]
    rest = reserved
    if outcome.endpoint is not None:
        label = attrs.evolve(label, endpoint=outcome.endpoint)
    if share is None and outcome.is_unknown:
        share = payer.bound.of_calls(0) + _calls_of(payer.bound)
    if share is not None:
        account: Account = "unknown" if outcome.is_unknown else "spent"
        paid = attrs.evolve(
            label, model=outcome.model or label.model, route=outcome.route or label.route
        )
        entries.append(LedgerEntry(account, paid, share))
        rest -= share
    if outcome.maybe:
        maybe = payer.bound.of_calls(0).times(outcome.maybe)
        if share is None:
            maybe += _calls_of(payer.bound)
        entries.append(LedgerEntry("maybe_billed", label, maybe))
        rest -= maybe
    if rest != NOTHING:
        entries.append(LedgerEntry("available", payer.label, rest))
    return entries


def _calls_of(bound: Amount) -> Amount:
    return Amount(calls=1, unpriced_calls=1 if bound.unpriced_calls else 0)
