"""Cost reports of a ledger: read, and shown as a table."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Literal

import attrs
import platformdirs
from rich import box
from rich.table import Table
from rich.text import Text

from ..actors import (
    NOTHING,
    Amount,
    CostTotals,
    StorageError,
    exists,
    read_sums,
    why_not_read,
)
from ..config import truth_of
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
        totals: what is spent, unknown, possibly billed and reserved.
    """

    name: str
    totals: CostTotals

    @property
    def calls(self) -> int:
        """The number of calls that have ended or are in flight."""
        return self.whole.calls

    @property
    def whole(self) -> Amount:
        """The sum of what is spent, unknown, possibly billed and reserved."""
        return self.totals.at_most


@attrs.frozen(kw_only=True)
class CostReport:
    """The costs in a ledger, by one dimension.

    Args:
        ledger: the file that was read.
        by: the dimension: each row is one model, tenant, post, day, route, endpoint or call.
        since: the first UTC day; "" for the first day in the ledger.
        until: the last UTC day; "" for the last day in the ledger.
        rows: the costs, sorted by name.
        simulated: what endpoints on this machine would cost, such as the built-in provider; no
            one is paid for them.
    """

    ledger: Path
    by: By
    since: str
    until: str
    rows: tuple[CostRow, ...]
    simulated: tuple[CostRow, ...] = ()

    @property
    def total(self) -> CostRow:
        """The sum of all rows, without the simulated ones."""
        return _total("total", self.rows)

    @property
    def simulated_total(self) -> CostRow:
        """The sum of the simulated rows."""
        return _total("simulated", self.simulated)


def _total(name: str, rows: Sequence[CostRow]) -> CostRow:
    return CostRow(name, sum((row.totals for row in rows), CostTotals()))


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
    try:
        is_there = exists(ledger)
    except OSError as error:
        raise NoLedger(f"the ledger {ledger} cannot be read: {why_not_read(error)}") from None
    if not is_there:
        raise NoLedger(
            f"there is no ledger at {ledger}; it is created with the first call that is counted"
        )

    def rows(*, simulated: bool) -> tuple[CostRow, ...]:
        days = {"since": since, "until": until or "9999"}
        totals: dict[str, CostTotals] = {}
        for name, account, amount in read_sums(
            ledger, by, **days, simulated=simulated, now=clock()
        ):
            totals[name] = totals.get(name, CostTotals()).plus(account, amount)
        found = (CostRow(name, one) for name, one in totals.items())
        return tuple(row for row in found if row.calls or row.whole != NOTHING)  # not refunded

    try:
        return CostReport(
            ledger=ledger,
            by=by,
            since=since,
            until=until,
            rows=rows(simulated=False),
            simulated=rows(simulated=True),
        )
    except StorageError as error:
        raise NoLedger(ledger_words(error)) from None


_MILLION, _HUNDRED = 1_000_000, 100
_MOST_WITH_CENTS = 10_000  # USD
LEDGER_VARIABLE = "CALLSHEET_LEDGER"


def default_ledger(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the file that $CALLSHEET_LEDGER names, or one in the user's data folder.

    The variable names no file if it only turns the ledger on or off, by "true" or "false".

    Args:
        environment: the environment variables of the process.
    """
    named = environment.get(LEDGER_VARIABLE, "").strip()
    if named and truth_of(named) is None:
        return Path(named).expanduser()
    return platformdirs.user_data_path("callsheet") / "ledger.sqlite3"


def ledger_words(error: StorageError) -> str:
    """Return the text of an error, which says how another ledger is given.

    Args:
        error: why the ledger cannot be used.
    """
    another = f"give another path (--ledger FILE, or {LEDGER_VARIABLE}=FILE in the environment)"
    return f"{error.name} cannot be used: {error.reason}; {error.remedy_by(another)}"


@attrs.frozen
class _Column:
    """One column of the table.

    Args:
        name: its heading, with a line break where the table breaks it.
        cell: returns its text in a row.
        is_usual: False to leave the column out if every row has "-" in it.
    """

    name: str
    cell: Callable[[CostRow], str]
    is_usual: bool = True


_COLUMNS = (
    _Column("calls", lambda row: _count(row.calls)),
    _Column("tokens\nin", lambda row: _count(row.totals.spent.input_tokens)),
    _Column("\nout", lambda row: _count(row.totals.spent.output_tokens)),
    _Column("spent", lambda row: _money(row.totals.spent)),
    _Column("saved", lambda row: _saved(row.totals.spent.saved_usd), is_usual=False),
    _Column("unknown", lambda row: _money(row.totals.unknown), is_usual=False),
    _Column("maybe\nbilled", lambda row: _money(row.totals.maybe_billed), is_usual=False),
    _Column("in\nflight", lambda row: _money(row.totals.reserved), is_usual=False),
    _Column("price\nunknown", lambda row: _unpriced(row.whole.unpriced_calls), is_usual=False),
)


def costs_table(report: CostReport) -> Table:
    """Return the report as a table for a terminal of 80 columns, with a row for each total.

    Args:
        report: the costs to write.
    """
    table = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False, header_style="bold")
    table.add_column(report.by, overflow="fold", vertical="bottom")
    shown = [*report.rows, report.total, *report.simulated, report.simulated_total]
    columns = [
        column
        for column in _COLUMNS
        if column.is_usual or any(column.cell(row) != "-" for row in shown)
    ]
    for column in columns:
        table.add_column(column.name, justify="right", no_wrap=True, vertical="bottom")

    def add(name: str, row: CostRow, style: str = "") -> None:
        cells = (column.cell(row) for column in columns)
        table.add_row(Text(printable(name) or "-"), *cells, style=style)

    for row in report.rows:
        add(row.name, row)
    table.add_section()
    add("total", report.total, "bold")
    if not report.simulated:
        return table
    table.add_section()
    for row in report.simulated:
        add(row.name, row, "dim")
    table.add_section()
    add("simulated", report.simulated_total, "dim")
    return table


def _count(number: int) -> str:
    """Return a number in at most seven characters."""
    if number < _MILLION:
        return f"{number:,}"
    millions = number / _MILLION
    return f"{millions:.2f}M" if millions < _HUNDRED else f"{millions:,.0f}M"


def _unpriced(calls: int) -> str:
    return _count(calls) if calls else "-"


def _saved(usd: Decimal) -> str:
    """Return USD that were saved as text; with a minus, what a dearer tier has cost in addition."""
    if not usd:
        return "-"
    return f"-{_dollars(-usd)}" if usd < 0 else _dollars(usd)


def _money(amount: Amount) -> str:
    """Return USD as text; an unknown price is not "$0"."""
    if amount.unpriced_tokens and not amount.usd:
        return dollars(None)
    return _dollars(amount.usd) if amount.usd or amount.calls else "-"


def _dollars(usd: Decimal) -> str:
    """Return USD in at most eight characters, below a million: large amounts without cents."""
    return dollars(usd) if usd < _MOST_WITH_CENTS else f"${usd:,.0f}"


def remarks(report: CostReport) -> list[str]:
    """Return the notes that explain the columns of the table.

    Args:
        report: the costs that the table shows.
    """
    totals, found = report.total.totals + report.simulated_total.totals, list[str]()
    if totals.unknown != NOTHING:
        found.append("unknown: at most, for responses whose tokens or price are not known.")
    if totals.maybe_billed != NOTHING:
        found.append("maybe billed: at most, for attempts without a response.")
    if totals.spent.saved_usd:
        found.append("saved: against the usual tier, without the provider's cache.")
    if totals.reserved != NOTHING:
        found.append("in flight: reserved for calls in flight, at most.")
    unpriced = (report.total.whole + report.simulated_total.whole).unpriced_tokens
    if unpriced:
        found.append(
            f"price unknown: calls; the sums of dollars leave out their {unpriced:,} tokens."
        )
    spent = totals.spent
    if spent.cached_tokens:
        cached, taken = f"{spent.cached_tokens:,}", f"{spent.input_tokens:,}"
        found.append(f"tokens in: {cached} of {taken} are from the provider's cache.")
    if report.simulated:
        found.append(
            "simulated: by the built-in provider or another server on this machine; not paid."
        )
    return found
