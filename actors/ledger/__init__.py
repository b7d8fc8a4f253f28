"""The ledger: `LedgerActor` reserves what each call may cost and enforces budgets (L3)."""

from ..lazy import lazy_imports

with lazy_imports(__name__):
    from .accounts import Accounts as Accounts
    from .actor import ChangeBudgets as ChangeBudgets
    from .actor import GetCosts as GetCosts
    from .actor import LedgerActor as LedgerActor
    from .aside import SetAside as SetAside
    from .book import CostStatistics as CostStatistics
    from .bound import CostBound as CostBound
    from .bound import asked_tier as asked_tier
    from .bound import listed_usd as listed_usd
    from .budgets import Budget as Budget
    from .budgets import LedgerPolicy as LedgerPolicy
    from .cost_sums import CostTotals as CostTotals
    from .entries import NOTHING as NOTHING
    from .entries import Amount as Amount
    from .file import check_ledger as check_ledger
    from .file import read_sums as read_sums
    from .file import take_unwritten as take_unwritten
    from .judge import MOST_USD as MOST_USD
    from .judge import judge_usage as judge_usage
    from .shared import LedgerStore as LedgerStore
    from .shared import MemoryLedgerStore as MemoryLedgerStore
    from .shared import ValkeyLedgerStore as ValkeyLedgerStore
    from .unwritten import UnwrittenCosts as UnwrittenCosts
