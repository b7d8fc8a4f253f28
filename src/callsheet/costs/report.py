"""Sum up a ledger by model, tenant, post, day, route or call; format it as table, CSV or JSON.

CSV and JSON have every figure, and amounts in USD to the last digit; the table rounds.
"""

import csv
import io
import json
import os
import sqlite3
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import attrs
import platformdirs
from rich import box
from rich.table import Table
from rich.text import Text

from ..actors import NOTHING, Amount, CostTotals, LedgerUnusable, connect, recover, sums
from ..wording import dollars, printable

__all__ = [
    "BY",
    "LEDGER_VARIABLE",
    "By",
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


By = Literal["model", "tenant", "post", "day", "route", "call"]
BY: tuple[By, ...] = ("model", "tenant", "post", "day", "route", "call")


class NoLedger(Exception):
    """The ledger file does not exist or cannot be read; the text has the file and the reason."""


@attrs.frozen
class CostRow:
    """The cost of one model, tenant, post, day, route or call.

    Args:
        name: its name; "" for calls that have none, such as calls outside a post.
        totals: the amounts spent, reserved, and possibly billed (USD and tokens).
    """

    name: str
    totals: CostTotals

    @property
    def calls(self) -> int:
        """The number of calls that have ended, plus those in flight."""
        found = self.totals
        return found.spent.calls + found.maybe_billed.calls + found.reserved.calls

    @property
    def whole(self) -> Amount:
        """All amounts together: spent, possibly billed and reserved."""
        return self.totals.spent + self.totals.maybe_billed + self.totals.reserved


@attrs.frozen(kw_only=True)
class CostReport:
    """The costs in a ledger.

    Args:
        ledger: the path of the ledger file.
        by: what each row stands for.
        since: the first day, as in "2026-11-26" (UTC); "" for the ledger's first.
        until: the last day; "" for the ledger's last.
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
    """Sum up a ledger.

    Amounts that exited processes left reserved are first booked as possibly billed.

    Args:
        ledger: the path of the ledger file.
        by: what each row stands for.
        since: the first day, as in "2026-11-26" (UTC); "" for the ledger's first.
        until: the last day; "" for the ledger's last.
        clock: returns the Unix time in seconds.

    Raises:
        NoLedger: the file does not exist or cannot be read.
    """
    if not ledger.exists():
        raise NoLedger(
            f"there is no ledger at {ledger}; a run that records its costs creates the file"
        )
    rows: dict[str, CostTotals] = {}
    try:
        recover(ledger, clock())
        connection = connect(ledger, create=False)
        try:
            for name, account, amount in sums(connection, by, since, until or "9999"):
                rows[name] = rows.get(name, CostTotals()).plus(account, amount)
        finally:
            connection.close()
    except LedgerUnusable as error:
        raise NoLedger(str(error)) from None
    except sqlite3.Error as error:
        raise NoLedger(f"the ledger {ledger} cannot be read ({error})") from None
    found = tuple(CostRow(name, totals) for name, totals in rows.items())
    # Leave out rows whose every amount was refunded.
    return CostReport(
        ledger=ledger,
        by=by,
        since=since,
        until=until,
        rows=tuple(row for row in found if row.calls or row.whole != NOTHING),
    )


def _figures(row: CostRow) -> dict[str, str | int]:
    """Return the figures of a row; USD as text, because many JSON readers round numbers."""
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
    """Return the rows as CSV with a header line and without a total."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [report.by, *_figures(report.total)], lineterminator="\n")
    writer.writeheader()
    for row in report.rows:
        writer.writerow({report.by: row.name, **_figures(row)})
    return text.getvalue()


def to_json(report: CostReport) -> str:
    """Return the report as one JSON object, with the total."""
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
    """Return the path in $CALLSHEET_LEDGER, or else a path in the user's data folder."""
    named = environment.get(LEDGER_VARIABLE)
    if named:
        return Path(named).expanduser()
    return platformdirs.user_data_path("callsheet") / "ledger.sqlite3"


def costs_table(report: CostReport) -> Table:
    """Return a table with the rows of the report and a total."""
    table = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False, header_style="bold")
    table.add_column(report.by, overflow="fold", vertical="bottom")
    in_flight = report.total.totals.reserved.calls > 0
    names = ("calls", "tokens\nin", "\ncached", "\nout", "spent", "may have\nbeen billed")
    for name in (*names, *(("in\nflight",) if in_flight else ()), "price\nunknown"):
        table.add_column(name, justify="right", no_wrap=True, vertical="bottom")
    for row in report.rows:
        name = Text(printable(row.name) or "-")
        table.add_row(name, *_cells(row, in_flight=in_flight))
    table.add_section()
    table.add_row("total", *_cells(report.total, in_flight=in_flight), style="bold")
    return table


def _cells(row: CostRow, *, in_flight: bool) -> tuple[str, ...]:
    totals = row.totals
    spent, unknown = totals.spent, row.whole.unpriced_calls
    return (
        f"{row.calls:,}",
        f"{spent.input_tokens:,}",
        f"{spent.cached_tokens:,}",
        f"{spent.output_tokens:,}",
        _money(spent),
        _money(totals.maybe_billed),
        *((_money(totals.reserved),) if in_flight else ()),
        f"{unknown:,} calls" if unknown > 1 else "1 call" if unknown else "-",
    )


def _money(amount: Amount) -> str:
    """Format an amount in USD; an unknown price is "unknown", not "$0"."""
    if amount.unpriced_tokens and not amount.usd:
        return dollars(None)
    return dollars(amount.usd) if amount.usd or amount.calls else "-"


def remarks(report: CostReport) -> list[str]:
    """Return notes that explain the columns of the table, where they have figures."""
    totals, found = report.total.totals, list[str]()
    if totals.maybe_billed.calls or totals.maybe_billed.usd:
        found.append(
            "may have been billed: the upper bound for attempts that ended without a response."
        )
    if totals.reserved.calls:
        found.append("in flight: the upper bound for calls that have not ended yet.")
    unpriced = report.total.whole.unpriced_tokens
    if unpriced:
        found.append(
            f"price unknown: the amounts in USD leave out {unpriced:,} tokens of these calls."
        )
    return found
