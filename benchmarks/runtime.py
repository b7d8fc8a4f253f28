"""Measure the cost of the runtime: asks, tells, failures, pools, idle actors and restarts.

    python benchmarks/runtime.py [--rounds 5] [--quick] [--only asks] [--json] [--check]

Raw Trio channels, an ask as it is usually written, and Pykka and TriOTP where they are installed
are measured in the same run, in alternating rounds. Figures are medians. Ratios compare
measurements of the same round; the brackets have the smallest and the largest ratio.
"""

import json
from collections.abc import Callable, Mapping, Sequence

import attrs
import click

from bench_kit.figures import Figure
from bench_kit.report import figures_table, print_tables
from runtime_bench.asks import figures_of_asks
from runtime_bench.failures import figures_of_failures
from runtime_bench.idle import figures_of_idle
from runtime_bench.libraries import Library, find_libraries
from runtime_bench.pools import figures_of_pools
from runtime_bench.restarts import figures_of_restarts
from runtime_bench.tells import figures_of_tells

_QUICK = 0.1  # of the operations

Subject = Callable[[int, float, Sequence[Library]], "Report"]


@attrs.frozen
class Report:
    """The results of one subject.

    Args:
        figures: the lines of the table.
        notes: notes below the table.
    """

    figures: Sequence[Figure]
    notes: Sequence[str] = ()


def tells(rounds: int, scale: float, libraries: Sequence[Library]) -> Report:
    """Measure tells, and note whether each reading of the target is reached."""
    figures = figures_of_tells(rounds, scale, libraries)
    verdicts = [
        f"{figure.name.rpartition(', ')[2]}: {'reached' if figure.is_reached else 'MISSED'}"
        for figure in figures
        if figure.is_reached is not None
    ]
    return Report(figures, [f"Target for a tell: {'; '.join(verdicts)}."])


def idle(rounds: int, scale: float, _: Sequence[Library]) -> Report:
    """Measure idle actors, and note which lines of code allocate their memory."""
    figures, traced = figures_of_idle(rounds, scale)
    notes: list[str] = []
    for kind, cost in traced.items():
        notes.append(f"Each of the {kind} allocates {cost.each_bytes:,.0f} bytes, most of it at:")
        notes += [f"{size:8,.0f}  {where}" for where, size in cost.places]
    return Report(figures, notes)


SUBJECTS: Mapping[str, Subject] = {
    # First: it measures the peak of the process's memory, which the others raise.
    "failures": lambda _, scale, __: Report(figures_of_failures(scale)),
    "asks": lambda rounds, scale, others: Report(figures_of_asks(rounds, scale, others)),
    "tells": tells,
    "pools": lambda rounds, scale, _: Report(figures_of_pools(rounds, scale)),
    "idle": idle,
    "restarts": lambda rounds, scale, _: Report(figures_of_restarts(rounds, scale)),
}


@click.command()
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="Rounds.")
@click.option("--quick", is_flag=True, help="A tenth of the operations; inexact for many callers.")
@click.option("--json", "as_json", is_flag=True, help="Print all values as JSON.")
@click.option(
    "--only",
    type=click.Choice(list(SUBJECTS)),
    multiple=True,
    help="Only this subject.",
)
@click.option("--check", is_flag=True, help="Exit with 1 if a target is missed.")
def main(*, rounds: int, quick: bool, as_json: bool, only: Sequence[str], check: bool) -> None:
    """Measure the runtime and the alternatives to it."""
    libraries, library_notes = find_libraries()
    figures: list[Figure] = []
    figures_are = (
        f"Medians of {rounds} rounds, of CPU time. The capacity of a mailbox is the number of "
        "callers, unless stated otherwise."
    )
    notes = [figures_are, *library_notes]
    for name, subject in SUBJECTS.items():
        if not only or name in only:
            click.echo(f"measuring {name} ...", err=True)
            report = subject(rounds, _QUICK if quick else 1.0, libraries)
            figures += report.figures
            notes += report.notes
    if as_json:
        values = {"figures": [figure.as_dict() for figure in figures], "notes": notes}
        click.echo(json.dumps(values, indent=2))
    else:
        print_tables([figures_table(figures)], notes)
    if check and any(figure.is_reached is False for figure in figures):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
