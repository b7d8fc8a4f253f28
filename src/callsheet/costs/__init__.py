"""What calls have cost, read from a ledger: for people as a table, for programs as CSV or JSON."""

from .export import to_csv, to_json
from .place import LEDGER_VARIABLE, default_ledger
from .report import CostReport, CostRow, NoLedger, read_costs
from .table import costs_table, remarks

__all__ = [
    "LEDGER_VARIABLE",
    "CostReport",
    "CostRow",
    "NoLedger",
    "costs_table",
    "default_ledger",
    "read_costs",
    "remarks",
    "to_csv",
    "to_json",
]
