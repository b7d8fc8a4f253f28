"""Report what calls have cost, from a ledger: as a table, as CSV or as JSON."""

from .report import (
    LEDGER_VARIABLE,
    CostReport,
    CostRow,
    NoLedger,
    costs_table,
    default_ledger,
    read_costs,
    remarks,
    to_csv,
    to_json,
)

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
