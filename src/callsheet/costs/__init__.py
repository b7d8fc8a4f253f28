"""Report what calls have cost, from a ledger: as a table, as CSV or as JSON."""

from .export import CostDocument, CostFigures, to_csv, to_json
from .report import (
    LEDGER_VARIABLE,
    CostReport,
    CostRow,
    NoLedger,
    costs_table,
    default_ledger,
    read_costs,
    remarks,
)

__all__ = [
    "LEDGER_VARIABLE",
    "CostDocument",
    "CostFigures",
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
