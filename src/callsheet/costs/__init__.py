"""What calls have cost, read from a ledger: for people as a table, for programs as CSV or JSON."""

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
