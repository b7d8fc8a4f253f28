"""Budgets that several processes share: each reports what its ledger has used to one store.

`SharedBudgets` decides, without waiting (R14); a store runs it, in memory or on a server.
"""

from ...lazy import lazy_imports

with lazy_imports(__name__):
    from .exchange import GRANTED as GRANTED
    from .exchange import PICO as PICO
    from .exchange import CellNeed as CellNeed
    from .exchange import CellTotal as CellTotal
    from .exchange import CellUse as CellUse
    from .exchange import LedgerAnswer as LedgerAnswer
    from .exchange import LedgerAsk as LedgerAsk
    from .exchange import LedgerStore as LedgerStore
    from .memory import MemoryLedgerStore as MemoryLedgerStore
    from .share import Attempt as Attempt
    from .share import BudgetShare as BudgetShare
    from .share import LedgerReport as LedgerReport
    from .valkey import ValkeyLedgerStore as ValkeyLedgerStore
