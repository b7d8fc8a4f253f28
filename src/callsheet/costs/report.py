"""What a ledger says, summed up by something.

Costs for programs: every figure, and dollars to the last digit.

Where the ledger of this user is.

Costs before a person.
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
    """There is no such ledger, or it cannot be read; the text says what to do."""


@attrs.frozen
class CostRow:
    """What one thing has cost.

    Args:
        name: of the thing; "" for what has none, such as a call without a post.
        totals: what was spent, is reserved and may have been billed.
    """

    name: str
    totals: CostTotals

    @property
    def calls(self) -> int:
        """Those that have ended, and those under way."""
        found = self.totals
        return found.spent.calls + found.maybe_billed.calls + found.reserved.calls

    @property
    def whole(self) -> Amount:
        """All of it together: for how much of it no price is known."""
        return self.totals.spent + self.totals.maybe_billed + self.totals.reserved


@attrs.frozen(kw_only=True)
class CostReport:
    """What a ledger says.

    Args:
        ledger: the file.
        by: what each row is.
        since: the first day; "" for the first there is.
        until: the last day; "" for the last there is.
        rows: by name.
    """

    ledger: Path
    by: By
    since: str
    until: str
    rows: tuple[CostRow, ...]

    @property
    def total(self) -> CostRow:
        """All rows together."""
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
    """Sum up a ledger. What processes that are gone have left reserved is booked beforehand.

    Args:
        ledger: the file.
        by: what each row is to be.
        since: the first day, as in "2026-11-26" (UTC); "" for the first there is.
        until: the last day; "" for the last there is.
        clock: Unix time in seconds.

    Raises:
        NoLedger: there is none, or it cannot be read.
    """
    if not ledger.exists():
        raise NoLedger(f"there is no ledger at {ledger}; it is there when calls have been counted")
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
    # What was refunded has come to nothing.
    return CostReport(
        ledger=ledger,
        by=by,
        since=since,
        until=until,
        rows=tuple(row for row in found if row.calls or row.whole != NOTHING),
    )


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


LEDGER_VARIABLE = "CALLSHEET_LEDGER"


def default_ledger(environment: Mapping[str, str] = os.environ) -> Path:
    """The file that $CALLSHEET_LEDGER names, or else one where this system keeps a user's data."""
    named = environment.get(LEDGER_VARIABLE)
    if named:
        return Path(named).expanduser()
    return platformdirs.user_data_path("callsheet") / "ledger.sqlite3"


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
