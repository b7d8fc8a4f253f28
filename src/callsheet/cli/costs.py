"""`callsheet costs`: sum up the ledger by model, tenant, post, day, route, endpoint or call."""

import sys
from datetime import datetime
from pathlib import Path
from typing import Literal

import click
from rich.console import Console

from ..costs.export import to_csv, to_json
from ..costs.report import (
    BY,
    LEDGER_VARIABLE,
    By,
    NoLedger,
    costs_table,
    default_ledger,
    read_costs,
    remarks,
)
from ..wording import printable
from .configuration import ConfiguredCommand, config_options
from .parameters import SuggestingChoice
from .sections import option

_REFUSED = 2
_DAY = click.DateTime(formats=["%Y-%m-%d"])


@click.command(
    cls=ConfiguredCommand,
    short_help="Show what calls have cost.",
    page="docs/costs.md",
    examples=("costs --by day --since 2026-11-01",),
)
@option(
    "--ledger",
    section="Rows",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help=f"The ledger. Default: ${LEDGER_VARIABLE}, or {default_ledger({}).name} in your data "
    "folder.",
)
@option(
    "--by",
    section="Rows",
    type=SuggestingChoice(BY),
    default="model",
    show_default=True,
    help="The property of calls by which they are grouped: one row per value.",
)
@option(
    "--since", section="Rows", metavar="DATE", type=_DAY, help="The first day, such as 2026-11-26."
)
@option(
    "--until",
    section="Rows",
    metavar="DATE",
    type=_DAY,
    help="The last day. Days are in UTC.",
)
@option(
    "--format",
    "form",
    section="Output",
    type=SuggestingChoice(["table", "csv", "json"]),
    default="table",
    show_default=True,
    help="table rounds its figures; csv and json have every figure in full precision.",
)
@config_options
def costs(
    *,
    ledger: Path | None,
    by: By,
    since: datetime | None,
    until: datetime | None,
    form: Literal["table", "csv", "json"],
) -> None:
    """Show what calls have cost, what may have been billed, and which calls have no known price."""
    if since is not None and until is not None and since > until:
        raise click.UsageError("--since is after --until, so no day is left")
    try:
        report = read_costs(
            default_ledger() if ledger is None else ledger,
            by=by,
            since=_day(since),
            until=_day(until),
        )
    except NoLedger as error:
        click.echo(f"Error: {printable(str(error))}", err=True)
        sys.exit(_REFUSED)
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
