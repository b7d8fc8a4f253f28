"""Measure limits and runs that several processes share on a Valkey or Redis server.

    python benchmarks/shared.py [--only limits|latency|fair|rows|day] [--check] [--json]

All processes are real, and so is the server, which has a Unix socket of its own. In "limits",
"latency" and "fair", calls pass a whole troupe whose last stage notes the instant instead of
sending HTTP. The instants of all processes, merged, are played to a token bucket that is
independent of Callsheet, with the limit and a burst of one second: what it refuses is a 429.
Exchanges are counted by the server, without the reports for
`callsheet top`. "Late" is the time of a call beyond the best schedule of the
limit. The baseline is one process of the same run that shares nothing.

"rows" is `callsheet run --workers 2` against `callsheet simulate`. These four take six minutes.
"day" is a simulation, which runs only if it is asked for, and takes three minutes. Where no server
is installed, what needs one is left out.
"""

import json
import os
from collections.abc import Sequence
from contextlib import nullcontext

import click
from rich.table import Table

from bench_kit.figures import Figure
from bench_kit.report import figures_table, print_tables
from shared_bench.day_figures import day
from shared_bench.fair import fair
from shared_bench.latency import latency
from shared_bench.limits import limits
from shared_bench.rows import rows
from shared_bench.server import MISSING, SERVER, open_server

_PARTS = ("limits", "latency", "fair", "rows", "day")
_USUAL = _PARTS[:-1]


@click.command()
@click.option("--only", type=click.Choice(_PARTS), multiple=True, help="Run only this part.")
@click.option("--check", is_flag=True, help="Exit with 1 if a target is missed.")
@click.option("--json", "as_json", is_flag=True, help="Print all values as JSON.")
def main(*, only: Sequence[str], check: bool, as_json: bool) -> None:
    """Measure what processes share."""
    parts = [part for part in _PARTS if part in (only or _USUAL)]
    tables: list[Table] = []
    figures: list[Figure] = []
    notes = [f"Other processes used {os.getloadavg()[0]:.1f} cores at the start."]
    if SERVER is None:
        notes.append(MISSING)
    for part in parts:
        keeps = "yes" if part == "rows" else "no"
        with nullcontext() if SERVER is None else open_server(appendonly=keeps) as server:
            if part == "limits":
                table, found = limits(server)
                tables.append(table)
                figures += found
            elif part == "day":
                table, found = day(server)
                tables.append(table)
                figures += found
            elif server is not None:
                figures += {"latency": latency, "fair": fair, "rows": rows}[part](server)
    if as_json:
        click.echo(json.dumps([figure.as_dict() for figure in figures]))
    else:
        print_tables([*tables, figures_table(figures)], notes)
    if check and any(figure.has_target and not figure.is_reached for figure in figures):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
