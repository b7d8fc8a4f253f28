"""The ledger: `LedgerActor` reserves what each call may cost and enforces budgets (L3)."""

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .accounts import Accounts
    from .actor import GetCosts, LedgerActor
    from .book import CostStatistics, CostTotals
    from .bound import asked_tier
    from .budgets import Budget, LedgerPolicy
    from .entries import NOTHING, Amount
    from .file import read_sums, take_unwritten
    from .unwritten import UnwrittenCosts
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        accounts="Accounts",
        actor="GetCosts LedgerActor",
        book="CostStatistics CostTotals",
        bound="asked_tier",
        budgets="Budget LedgerPolicy",
        entries="NOTHING Amount",
        file="read_sums take_unwritten",
        unwritten="UnwrittenCosts",
    )

__all__ = [
    "NOTHING",
    "Accounts",
    "Amount",
    "Budget",
    "CostStatistics",
    "CostTotals",
    "GetCosts",
    "LedgerActor",
    "LedgerPolicy",
    "UnwrittenCosts",
    "asked_tier",
    "read_sums",
    "take_unwritten",
]
