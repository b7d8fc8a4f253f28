"""Where every cent goes: double-entry books, budgets, and the file behind them (L3)."""

from ..calls import Tab
from .accounts import Accounts
from .book import Book, LedgerStatistics, Outcome, Totals
from .bound import asked_tier, most_usage, most_usd
from .budgets import Budget, BudgetState, Excess
from .entries import ACCOUNTS, DIMENSIONS, Dimension, Entry, Heading, Line, Transaction, headings
from .money import NOTHING, Amount
from .policy import LedgerPolicy
from .reading import sums
from .schema import LedgerUnusable, connect
from .store import Store, recover

__all__ = [
    "ACCOUNTS",
    "DIMENSIONS",
    "NOTHING",
    "Accounts",
    "Amount",
    "Book",
    "Budget",
    "BudgetState",
    "Dimension",
    "Entry",
    "Excess",
    "Heading",
    "LedgerPolicy",
    "LedgerStatistics",
    "LedgerUnusable",
    "Line",
    "Outcome",
    "Store",
    "Tab",
    "Totals",
    "Transaction",
    "asked_tier",
    "connect",
    "headings",
    "most_usage",
    "most_usd",
    "recover",
    "sums",
]
