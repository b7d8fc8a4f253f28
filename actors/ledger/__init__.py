"""The ledger: what calls cost, as double-entry accounts, with budgets and a file (L3)."""

from .accounts import Accounts
from .actor import GetCosts, LedgerActor
from .book import CostStatistics, CostTotals
from .bound import asked_tier
from .budgets import Budget, LedgerPolicy
from .entries import NOTHING, Amount
from .file import read_sums

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
    "asked_tier",
    "read_sums",
]
