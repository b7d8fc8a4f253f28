"""`callsheet costs`: what calls have cost, by model, tenant, post, day, route or call."""

from datetime import datetime
from pathlib import Path
from typing import Literal

import click
from rich.console import Console

from ..costs.report import (
    BY,
    LEDGER_VARIABLE,
    By,
    NoLedger,
    costs_table,
    default_ledger,
    read_costs,
    remarks,
    to_csv,
    to_json,
)
from ..wording import printable

__all__ = [
    "costs",
]


_DAY = click.DateTime(formats=["%Y-%m-%d"])


@click.command()
@click.option(
    "--ledger",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help=f"The ledger; by default ${LEDGER_VARIABLE}, or else {default_ledger({}).name} where this "
    "system keeps a user's data.",
)
@click.option(
    "--by",
    type=click.Choice(BY),
    default="model",
    show_default=True,
    help="What each row is.",
)
@click.option("--since", metavar="DATE", type=_DAY, help="The first day, in UTC: 2026-11-26.")
@click.option("--until", metavar="DATE", type=_DAY, help="The last day, in UTC.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
    help="A table for people; CSV and JSON have every figure, to the last digit.",
)
def costs(
    *,
    ledger: Path | None,
    by: By,
    since: datetime | None,
    until: datetime | None,
    form: Literal["table", "csv", "json"],
) -> None:
    """Show what calls have cost, what may have been billed, and what has no known price."""
    if since is not None and until is not None and since > until:
        raise click.UsageError("--since is after --until; no day is left")
    try:
        report = read_costs(
            default_ledger() if ledger is None else ledger,
            by=by,
            since=_day(since),
            until=_day(until),
        )
    except NoLedger as error:
        raise click.ClickException(printable(str(error))) from None
    if form == "csv":
        click.echo(to_csv(report), nl=False)
    elif form == "json":
        click.echo(to_json(report))
    else:
        console = Console(highlight=False)
        console.print(costs_table(report))
        for remark in remarks(report):
            console.print(remark, markup=False, style="dim")


def _day(value: datetime | None) -> str:
    return "" if value is None else value.date().isoformat()
