"""Sums of what calls cost, of everything and by each dimension. Pure (R14)."""

from collections.abc import ItemsView, Mapping
from operator import attrgetter
from typing import final

import attrs

from .entries import COST_DIMENSIONS, NOTHING, Account, Amount, CostDimension, LedgerEntry


@attrs.frozen
class CostTotals:
    """The sums of a model, a tenant, or of everything.

    Args:
        spent: what the provider has charged.
        reserved: the most that calls in flight can cost.
        maybe_billed: the most that may have been charged for attempts without a response.
        unknown: the most that was charged for responses that do not tell their tokens.
    """

    spent: Amount = NOTHING
    reserved: Amount = NOTHING
    maybe_billed: Amount = NOTHING
    unknown: Amount = NOTHING

    def __add__(self, other: "CostTotals") -> "CostTotals":
        return CostTotals(
            self.spent + other.spent,
            self.reserved + other.reserved,
            self.maybe_billed + other.maybe_billed,
            self.unknown + other.unknown,
        )

    def __sub__(self, other: "CostTotals") -> "CostTotals":
        return CostTotals(
            self.spent - other.spent,
            self.reserved - other.reserved,
            self.maybe_billed - other.maybe_billed,
            self.unknown - other.unknown,
        )

    @property
    def at_most(self) -> Amount:
        """The most that everything can cost in the end."""
        return self.spent + self.unknown + self.maybe_billed + self.reserved

    def plus(self, account: Account, amount: Amount) -> "CostTotals":
        """Return the sums after one more entry."""
        if account == "available":
            return self
        spent, reserved = self.spent, self.reserved
        maybe, unknown = self.maybe_billed, self.unknown
        if account == "spent":
            return CostTotals(spent + amount, reserved, maybe, unknown)
        if account == "reserved":
            return CostTotals(spent, reserved + amount, maybe, unknown)
        if account == "unknown":
            return CostTotals(spent, reserved, maybe, unknown + amount)
        return CostTotals(spent, reserved, maybe + amount, unknown)


_NONE = CostTotals()
_names = attrgetter(*COST_DIMENSIONS)


@final
class CostSums:
    """One sum for each combination of dimensions, and from these the sums by each dimension.

    An entry changes one sum. A reading adds what has changed since the one before it: a ledger of a
    month has a hundred thousand sums, and a gateway is read each second.
    """

    def __init__(self) -> None:
        # {values, in the order of COST_DIMENSIONS: sum}
        self._sums: dict[tuple[str, ...], CostTotals] = {}
        self._totals = _NONE
        self._by: dict[CostDimension, dict[str, CostTotals]] = {
            dimension: {} for dimension in COST_DIMENSIONS
        }
        # {names of a sum that differs from the one below, the first to change first: nothing}
        self._changed: dict[tuple[str, ...], None] = {}
        self._counted: dict[tuple[str, ...], CostTotals] = {}

    def __repr__(self) -> str:
        return f"<CostSums of {len(self._sums)}>"

    def add(self, entry: LedgerEntry) -> None:
        """Add an entry to the sum that it belongs to."""
        names = _names(entry.label)
        self._sums[names] = self._sums.get(names, _NONE).plus(entry.account, entry.amount)
        self._changed[names] = None

    def items(self) -> ItemsView[tuple[str, ...], CostTotals]:
        """Return the sums by their values of `COST_DIMENSIONS`."""
        return self._sums.items()

    def read(self) -> tuple[CostTotals, Mapping[CostDimension, Mapping[str, CostTotals]]]:
        """Return the sums of everything, and those by each dimension."""
        for names in self._changed:
            counted = self._counted.get(names)
            more = self._sums[names] if counted is None else self._sums[names] - counted
            self._counted[names] = self._sums[names]
            self._totals += more
            for dimension, name in zip(COST_DIMENSIONS, names, strict=True):
                group = self._by[dimension]
                group[name] = group.get(name, _NONE) + more
        self._changed.clear()
        return self._totals, {dimension: dict(group) for dimension, group in self._by.items()}
