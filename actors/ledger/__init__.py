"""The ledger: double-entry accounts of every cent, budgets, and the file behind them (L3)."""

from .accounts import Accounts
from .actor import GetCosts, LedgerActor
from .book import CostStatistics, CostTotals
from .bound import asked_tier
from .budgets import Budget, LedgerPolicy
from .entries import NOTHING, Amount
from .file import LedgerUnusable, connect, recover
from .tables import sums

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
    "LedgerUnusable",
    "asked_tier",
    "connect",
    "recover",
    "sums",
]
