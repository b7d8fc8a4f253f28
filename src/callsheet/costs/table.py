"""Costs before a person."""

from rich import box
from rich.table import Table
from rich.text import Text

from ..actors import Amount
from ..wording import dollars, printable
from .report import CostReport, CostRow

__all__ = ["costs_table", "remarks"]


def costs_table(report: CostReport) -> Table:
    """A row for each thing, and one for all of them."""
    table = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False, header_style="bold")
    table.add_column(report.by, overflow="fold", vertical="bottom")
    under_way = report.total.totals.reserved.calls > 0
    names = ("calls", "tokens\nin", "\ncached", "\nout", "spent", "may have\nbeen billed")
    for name in (*names, *(("in\nflight",) if under_way else ()), "price\nunknown"):
        table.add_column(name, justify="right", no_wrap=True, vertical="bottom")
    for row in report.rows:
        name = Text(printable(row.name) or "-")
        table.add_row(name, *_cells(row, under_way=under_way))
    table.add_section()
    table.add_row("total", *_cells(report.total, under_way=under_way), style="bold")
    return table


def _cells(row: CostRow, *, under_way: bool) -> tuple[str, ...]:
    totals = row.totals
    spent, unknown = totals.spent, row.whole.unpriced_calls
    return (
        f"{row.calls:,}",
        f"{spent.input_tokens:,}",
        f"{spent.cached_tokens:,}",
        f"{spent.output_tokens:,}",
        _money(spent),
        _money(totals.maybe_billed),
        *((_money(totals.reserved),) if under_way else ()),
        f"{unknown:,} calls" if unknown > 1 else "1 call" if unknown else "-",
    )


def _money(amount: Amount) -> str:
    """Dollars; what has no known price is not "$0"."""
    if amount.unpriced_tokens and not amount.usd:
        return dollars(None)
    return dollars(amount.usd) if amount.usd or amount.calls else "-"


def remarks(report: CostReport) -> list[str]:
    """What one has to know to read the table."""
    totals, found = report.total.totals, list[str]()
    if totals.maybe_billed.calls or totals.maybe_billed.usd:
        found.append(
            "may have been billed: at most, for attempts whose answer never came or was not wanted."
        )
    if totals.reserved.calls:
        found.append("in flight: reserved for calls that are under way, at most.")
    unpriced = report.total.whole.unpriced_tokens
    if unpriced:
        found.append(
            f"price unknown: {unpriced:,} tokens of these calls are in none of the sums of dollars."
        )
    return found
