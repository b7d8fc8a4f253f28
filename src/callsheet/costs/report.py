"""Cost reports of a ledger: read, and written as a table, as CSV and as JSON."""

import csv
import io
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import attrs
import platformdirs
from rich import box
from rich.table import Table
from rich.text import Text

from ..actors import NOTHING, Amount, CostTotals, StorageError, read_sums
from ..wording import dollars, printable

By = Literal["model", "tenant", "post", "day", "route", "endpoint", "call"]
BY: tuple[By, ...] = ("model", "tenant", "post", "day", "route", "endpoint", "call")


class NoLedger(Exception):
    """The ledger does not exist or cannot be read; the message gives the remedy."""


@attrs.frozen
class CostRow:
    """The costs of one model, tenant, post, day, route, endpoint or call.

    Args:
        name: of the model, tenant and so on; "" for calls without one (calls without a post).
        totals: what is spent, reserved and possibly billed.
    """

    name: str
    totals: CostTotals

    @property
    def calls(self) -> int:
        """The number of calls that have ended or are in flight."""
        found = self.totals
        return found.spent.calls + found.maybe_billed.calls + found.reserved.calls

    @property
    def whole(self) -> Amount:
        """The sum of what is spent, possibly billed and reserved."""
        return self.totals.spent + self.totals.maybe_billed + self.totals.reserved


@attrs.frozen(kw_only=True)
class CostReport:
    """The costs in a ledger, by one dimension.

    Args:
        ledger: the file that was read.
        by: the dimension: each row is one model, tenant, post, day, route, endpoint or call.
        since: the first UTC day; "" for the first day in the ledger.
        until: the last UTC day; "" for the last day in the ledger.
        rows: the costs, sorted by name.
    """

    ledger: Path
    by: By
    since: str
    until: str
    rows: tuple[CostRow, ...]

    @property
    def total(self) -> CostRow:
        """The sum of all rows."""
        totals = [row.totals for row in self.rows]
        return CostRow(
            "total",
            CostTotals(
                sum((one.spent for one in totals), NOTHING),
                sum((one.reserved for one in totals), NOTHING),
                sum((one.maybe_billed for one in totals), NOTHING),
            ),
        )


def read_costs(
    ledger: Path,
    *,
    by: By = "model",
    since: str = "",
    until: str = "",
    clock: Callable[[], float] = time.time,
) -> CostReport:
    """Read the costs from a ledger.

    What processes that have ended left reserved is counted as possibly billed first.

    Args:
        ledger: the ledger file to read.
        by: the dimension of the rows.
        since: the first day, such as "2026-11-26" (UTC); "" for the first day in the ledger.
        until: the last day; "" for the last day in the ledger.
        clock: Unix time in seconds.

    Raises:
        NoLedger: the file does not exist or cannot be read.
    """
    if not ledger.exists():
        raise NoLedger(
            f"there is no ledger at {ledger}; it is created with the first call that is counted"
        )
    rows: dict[str, CostTotals] = {}
    try:
        found = read_sums(ledger, by, since=since, until=until or "9999", now=clock())
    except StorageError as error:
        raise NoLedger(str(error)) from None
    for name, account, amount in found:
        rows[name] = rows.get(name, CostTotals()).plus(account, amount)
    costs = tuple(CostRow(name, totals) for name, totals in rows.items())
    return CostReport(
        ledger=ledger,
        by=by,
        since=since,
        until=until,
        rows=tuple(row for row in costs if row.calls or row.whole != NOTHING),  # not refunded
    )


def _figures(row: CostRow) -> dict[str, str | int]:
    """USD are texts, because many JSON parsers round numbers."""
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
    """Return the rows as CSV, with a header line and without the total.

    Args:
        report: the costs to write.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, [report.by, *_figures(report.total)], lineterminator="\n")
    writer.writeheader()
    for row in report.rows:
        writer.writerow({report.by: row.name, **_figures(row)})
    return text.getvalue()


def to_json(report: CostReport) -> str:
    """Return the report as one JSON object.

    Args:
        report: the costs to write.
    """
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


LEDGER_VARIABLE = "CALLSHEET_LEDGER"


def default_ledger(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the file that $CALLSHEET_LEDGER names, or one in the user's data folder.

    Args:
        environment: the environment variables of the process.
    """
    named = environment.get(LEDGER_VARIABLE)
    if named:
        return Path(named).expanduser()
    return platformdirs.user_data_path("callsheet") / "ledger.sqlite3"


def costs_table(report: CostReport) -> Table:
    """Return the report as a table for a terminal, with a row for the total.

    Args:
        report: the costs to write.
    """
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
    """Return USD as text; an unknown price is not "$0"."""
    if amount.unpriced_tokens and not amount.usd:
        return dollars(None)
    return dollars(amount.usd) if amount.usd or amount.calls else "-"


def remarks(report: CostReport) -> list[str]:
    """Return the notes that explain the columns of the table.

    Args:
        report: the costs that the table shows.
    """
    totals, found = report.total.totals, list[str]()
    if totals.maybe_billed.calls or totals.maybe_billed.usd:
        found.append("may have been billed: at most, for attempts without a response.")
    if totals.reserved.calls:
        found.append("in flight: reserved for calls in flight, at most.")
    unpriced = report.total.whole.unpriced_tokens
    if unpriced:
        found.append(
            f"price unknown: the sums of dollars leave out {unpriced:,} tokens of these calls."
        )
    return found
