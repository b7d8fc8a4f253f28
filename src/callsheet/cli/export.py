"""`callsheet export`: write the results of a run as a table."""

import sys
from pathlib import Path

import click

from ..bulk.errors import BulkRefused
from ..bulk.tables.export import export as write_results
from ..bulk.tables.shape import TableTooLarge
from .sections import SectionedCommand, option

_REFUSED = 2


@click.command(
    cls=SectionedCommand,
    short_help="Write the results of a run as a table.",
    page="docs/bulk.md",
    examples=(
        "export labels.csv labels.xlsx",
        "export answers.jsonl.callsheet answers.parquet",
    ),
)
@click.argument("source", metavar="OUTPUT", type=click.Path(path_type=Path))
@click.argument("target", metavar="NEW", type=click.Path(path_type=Path))
@option("--overwrite", section="Output", is_flag=True, help="Replace NEW if it exists.")
def export(*, source: Path, target: Path, overwrite: bool) -> None:
    """Write the results of a run as NEW, whose name ends in .csv, .tsv, .parquet or .xlsx.

    OUTPUT is that of `callsheet run`, or the store beside it. The run may be finished, stopped,
    killed, or still going on; its files are not changed. NEW has the rows that OUTPUT has at that
    moment.
    """
    try:
        count = write_results(source, target, overwrite=overwrite)
    except (BulkRefused, TableTooLarge) as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(_REFUSED)
    click.echo(f"{count:,} {'row' if count == 1 else 'rows'} in {target}", err=True)
