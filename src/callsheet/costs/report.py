"""What a ledger says, summed up by something."""

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import attrs

from ..actors import NOTHING, Amount, LedgerUnusable, Totals, connect, recover, sums

__all__ = ["BY", "By", "CostReport", "CostRow", "NoLedger", "read_costs"]

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
    totals: Totals

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
            Totals(
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
    rows: dict[str, Totals] = {}
    try:
        recover(ledger, clock())
        connection = connect(ledger, create=False)
        try:
            for name, account, amount in sums(connection, by, since, until or "9999"):
                rows[name] = rows.get(name, Totals()).plus(account, amount)
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
