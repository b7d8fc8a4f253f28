"""The ledger: `LedgerActor` reserves what each call may cost and enforces budgets (L3)."""

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .accounts import Accounts
    from .actor import GetCosts, LedgerActor
    from .book import CostStatistics, CostTotals
    from .bound import CostBound, asked_tier, listed_usd
    from .budgets import Budget, LedgerPolicy
    from .entries import NOTHING, Amount
    from .file import read_sums, take_unwritten
    from .judge import MOST_USD, judge_usage
    from .unwritten import UnwrittenCosts
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        accounts="Accounts",
        actor="GetCosts LedgerActor",
        book="CostStatistics CostTotals",
        bound="CostBound asked_tier listed_usd",
        budgets="Budget LedgerPolicy",
        entries="NOTHING Amount",
        file="read_sums take_unwritten",
        judge="MOST_USD judge_usage",
        unwritten="UnwrittenCosts",
    )

__all__ = [
    "MOST_USD",
    "NOTHING",
    "Accounts",
    "Amount",
    "Budget",
    "CostBound",
    "CostStatistics",
    "CostTotals",
    "GetCosts",
    "LedgerActor",
    "LedgerPolicy",
    "UnwrittenCosts",
    "asked_tier",
    "judge_usage",
    "listed_usd",
    "read_sums",
    "take_unwritten",
]
