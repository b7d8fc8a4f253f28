"""The ledger: double-entry accounts of every cent, budgets, and the file behind them (L3)."""

from .accounts import Accounts
from .actor import CountCosts, LedgerActor
from .book import LedgerStatistics, Totals
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
    "CountCosts",
    "LedgerActor",
    "LedgerPolicy",
    "LedgerStatistics",
    "LedgerUnusable",
    "Totals",
    "asked_tier",
    "connect",
    "recover",
    "sums",
]
