"""`callsheet prices`: show the prices of models, or take a newer table of them."""

import sys
from itertools import chain
from pathlib import Path
from typing import Literal, NoReturn

import click
from rich.console import Console

from ..actors import VENDORS, PriceBook, PriceError, why_not_written
from ..costs.price_table import (
    PRICES_VARIABLE,
    current_prices,
    price_rows,
    prices_csv,
    prices_json,
    prices_table,
    remark_on_age,
    remark_on_no_table,
    update_table,
)
from ..wording import printable
from .configuration import ConfiguredCommand, config_options, configured
from .parameters import SuggestingChoice
from .sections import option

_UNKNOWN = 1
_REFUSED = 2


@click.command(
    cls=ConfiguredCommand,
    short_help="Show the prices of models.",
    page="docs/costs.md",
    examples=("prices gpt-5.6-sol", "prices --provider groq --format csv"),
)
@click.argument("model", required=False, default="")
@option(
    "--provider",
    section="Rows",
    type=SuggestingChoice(sorted({it.price_list for it in VENDORS.values()} - {""})),
    metavar="NAME",
    help="Only the models of this provider.",
)
@option(
    "--format",
    "form",
    section="Output",
    type=SuggestingChoice(["table", "csv", "json"]),
    default="table",
    show_default=True,
    help="The format of the output.",
)
@option(
    "--update",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Use this newer table from now on, such as actors/data/prices.json of a later release. It "
    f"is copied to ${PRICES_VARIABLE}, or to your data folder.",
)
@config_options
def prices(
    *,
    model: str,
    provider: str | None,
    form: Literal["table", "csv", "json"],
    update: Path | None,
) -> None:
    """Show what models cost, in USD per million tokens.

    MODEL is the name of a model, or a part of names. Where a price depends on the tier, the size of
    the prompt or the date, each case is a row. Your own prices come from the file that the
    settings file names.
    """
    if update is not None:
        if model or provider:
            raise click.UsageError("--update shows no prices; remove the model and --provider")
        _update(update)
        return
    try:
        book = current_prices()
        if (own := configured().files.get("prices")) is not None:
            book = PriceBook.load(own, book)
    except PriceError as error:
        _refuse(str(error))
    if remark := remark_on_no_table():
        click.echo(printable(remark), err=True)
    rows = price_rows(book, model, provider or "")
    first = next(rows, None)
    if first is None:
        where = f" at {provider}" if provider else ""
        click.echo(f"No price is known for {printable(model)}{where}.", err=True)
        sys.exit(_UNKNOWN)
    rows = chain((first,), rows)
    if form == "csv":
        click.echo(prices_csv(rows), nl=False)
    elif form == "json":
        click.echo(prices_json(rows, book))
    else:
        console = Console(highlight=False)
        console.print(prices_table(rows))
        remark = f"USD per million tokens, as of {book.as_of}. Source: {book.source}."
        for line in (remark, remark_on_age(book)):
            if line is not None:
                console.print(line, markup=False, style="dim")


def _update(file: Path) -> None:
    try:
        book = update_table(file)
    except PriceError as error:
        _refuse(str(error))
    except OSError as error:
        _refuse(f"the table {error.filename} cannot be written: {why_not_written(error)}")
    click.echo(f"The prices are now of {book.as_of} ({len(book.models):,} names).")


def _refuse(reason: str) -> NoReturn:
    click.echo(f"Error: {printable(reason)}", err=True)
    sys.exit(_REFUSED)
