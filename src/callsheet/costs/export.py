"""Costs for programs: every figure, and dollars to the last digit."""

import csv
import io
import json

from ..actors import Amount
from .report import CostReport, CostRow

__all__ = ["to_csv", "to_json"]


def _figures(row: CostRow) -> dict[str, str | int]:
    """Dollars are texts, because a number of JSON's is rounded by many who read it."""
    totals = row.totals
    return {
        "calls": row.calls,
        **_amount("spent", totals.spent),
        **_amount("maybe_billed", totals.maybe_billed),
        **_amount("reserved", totals.reserved),
    }


def _amount(account: str, amount: Amount) -> dict[str, str | int]:
    return {
        f"{account}_usd": f"{amount.usd:f}",
        f"{account}_input_tokens": amount.input_tokens,
        f"{account}_cached_tokens": amount.cached_tokens,
        f"{account}_output_tokens": amount.output_tokens,
        f"{account}_unpriced_tokens": amount.unpriced_tokens,
        f"{account}_unpriced_calls": amount.unpriced_calls,
    }


def to_csv(report: CostReport) -> str:
    """A line for each row, with a heading; the total is for whoever reads it to make."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [report.by, *_figures(report.total)], lineterminator="\n")
    writer.writeheader()
    for row in report.rows:
        writer.writerow({report.by: row.name, **_figures(row)})
    return text.getvalue()


def to_json(report: CostReport) -> str:
    """One object."""
    return json.dumps(
        {
            "ledger": str(report.ledger),
            "by": report.by,
            "since": report.since or None,
            "until": report.until or None,
            "rows": [{report.by: row.name, **_figures(row)} for row in report.rows],
            "total": _figures(report.total),
        },
        indent=2,
    )
