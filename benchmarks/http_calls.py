"""Measure whole calls, beside HTTP clients and a bare pool of sockets.

    python benchmarks/http_calls.py [--rounds 3] [--quick] [--only tls] [--bare] [--json] [--check]

The alternatives are in the dependency group "bench"; those that are not installed are left out.
Each contender runs in its own process against a provider in another process, in alternating order.
Measurements that a target needs are repeated in every round; the others are made once. Ratios
compare measurements of the same round; the brackets have the smallest and the largest ratio. The
whole benchmark takes twenty minutes, with `--quick` less than ten.

`--bare` makes only the comparison with the bare pools. CPU time varies on a shared machine, so it
is measured in many short windows; instructions, which hardly vary, are counted with Valgrind.

(The file is not named http.py: as a script, it would shadow Python's own `http`.)
"""

import json
import os
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec

import attrs
import click
from rich.table import Table

from bench_kit.report import figures_table, make_table, print_tables
from http_bench.beside_bare import compare
from http_bench.cells import Failure, measure
from http_bench.contenders import BARE, CONTENDERS, OURS, find_contenders
from http_bench.meter import Sample
from http_bench.targets import BOUND_AT, SUBJECTS, Cell, Samples, judge, needed

_WINDOW_S, _QUICK_WINDOW_S = 1.5, 1.0
_WINDOWS, _QUICK_WINDOWS = 10, 3  # of each contender, beside the bare pools
_CROWD = 1_000  # calls in flight from which memory per call is a meaningful figure
_OF_MEMORY = (OURS, "aiohttp", BARE)  # the others take minutes until all calls are in flight
_BUSY_LOAD = 0.5  # cores that other processes use


def plan(rounds: int, subjects: Sequence[str], contenders: Sequence[str]) -> list[Cell]:
    """Return the cells to measure, in order.

    Args:
        rounds: measurements of each cell that has a target; 0 means one of each of these, and none
            of the other cells.
        subjects: the kinds of provider.
        contenders: keys of `CONTENDERS`.
    """
    cells = [
        Cell(name, in_flight, contender)
        for name in subjects
        for in_flight in SUBJECTS[name].in_flight
        for contender in contenders
        if in_flight <= CONTENDERS[contender].most
        and (not SUBJECTS[name].holds or contender in _OF_MEMORY)
    ]
    judged = [cell for cell in cells if cell in needed()]
    return [*cells, *judged * (rounds - 1)] if rounds else judged


def samples_table(samples: Samples) -> Table:
    """Return the table of the measurements of each contender."""
    table = make_table(
        ["contender", "provider"],
        ["in flight", "calls/s", "", "p50", "CPU per call", "RSS", "per call", "provider's CPU"],
    )
    last: tuple[str, int] | None = None
    for cell, values in samples.items():
        group = (cell.subject, cell.in_flight)
        if last not in (None, group):
            table.add_row()
        last = group
        table.add_row(*_row(cell, values))
    return table


def _row(cell: Cell, samples: Sequence[Sample]) -> tuple[str, ...]:
    def median(value: Callable[[Sample], float]) -> float:
        return statistics.median(value(sample) for sample in samples)

    rates = [sample.calls / sample.wall_s for sample in samples]
    spread = f"{min(rates):,.0f}..{max(rates):,.0f}" if len(rates) > 1 else ""
    holds = SUBJECTS[cell.subject].holds  # rates and latencies have no meaning there
    each = median(lambda one: (one.busy_bytes - one.idle_bytes) / cell.in_flight / 1_024)
    return (
        cell.contender,
        SUBJECTS[cell.subject].title,
        f"{cell.in_flight:,}",
        "" if holds else f"{statistics.median(rates):,.0f}",
        "" if holds else spread,
        "" if holds else f"{median(lambda one: one.p50_s) * 1_000:,.1f} ms",
        "" if holds else f"{median(lambda one: one.cpu_s / one.calls) * 1_000:,.3f} ms",
        f"{median(lambda one: one.busy_bytes) / 1_024**2:,.0f} MiB",
        f"{each:,.1f} KiB" if cell.in_flight >= _CROWD else "",
        f"{median(lambda one: one.provider_share):.0%}",
    )


def remarks(samples: Samples, failures: Sequence[Failure], rounds: int) -> list[str]:
    """Return the notes that explain the figures."""
    about = (
        f"Medians; for targets, medians of {max(1, rounds)} rounds. A call counts in the window in "
        "which it ends. CPU is the CPU time of the client's process. RSS is its memory with all "
        "calls in flight; per call, it is the growth since the first call, the calling task "
        "included. A provider that holds its responses sends them together after a pause without "
        "new calls, so all calls are in flight at once: memory is measured there."
    )
    notes = [about]
    everything = [(sample, cell) for cell, values in samples.items() for sample in values]
    if everything and any(sample.provider_cpu_s for sample, _ in everything):
        sample, cell = max(everything, key=lambda one: one[0].provider_share)
        notes.append(
            "The provider's CPU time was read at both ends of each window. It used at most "
            f"{sample.provider_share:.0%} of a core ({_name(cell)}, "
            f"{sample.calls / sample.wall_s:,.0f} calls/s). Above {BOUND_AT:.0%} no target counts."
        )
    else:
        notes.append("This system does not report the provider's CPU time.")
    cold = [_name(cell) for sample, cell in everything if not sample.is_warm]
    if cold:
        notes.append(
            f"Not warmed up, so the figures include connecting: {'; '.join(dict.fromkeys(cold))}."
        )
    notes += [
        f"{_name(cell)}: failed calls: {sample.failures}."
        for sample, cell in everything
        if sample.failures
    ]
    notes += [f"{_name(failure.cell)}: {failure.why}." for failure in failures]
    for name in dict.fromkeys(cell.contender for cell in samples):
        entrant = CONTENDERS[name]
        notes.append(f"{name} ({entrant.version}, {entrant.loop}): {entrant.remark}.")
    return notes


def _name(cell: Cell) -> str:
    return f"{cell.contender}, {cell.in_flight:,} in flight, {SUBJECTS[cell.subject].title}"


def _as_json(samples: Samples) -> list[dict[str, object]]:
    return [
        {**attrs.asdict(cell), "samples": [attrs.asdict(sample) for sample in values]}
        for cell, values in samples.items()
    ]


@click.command()
@click.option(
    "--rounds",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="Measurements of each cell.",
)
@click.option("--quick", is_flag=True, help="Measure once, and only the cells that targets need.")
@click.option("--json", "as_json", is_flag=True, help="Print all values instead of the tables.")
@click.option(
    "--only", type=click.Choice(list(SUBJECTS)), multiple=True, help="Measure only this subject."
)
@click.option(
    "--contender",
    "chosen",
    type=click.Choice(list(CONTENDERS)),
    multiple=True,
    help="Measure only this contender.",
)
@click.option("--bare", is_flag=True, help="Only compare with the bare pools.")
@click.option(
    "--check", is_flag=True, help="Exit with 1 if a target is missed or could not be judged."
)
def main(
    *,
    rounds: int,
    quick: bool,
    as_json: bool,
    only: Sequence[str],
    chosen: Sequence[str],
    bare: bool,
    check: bool,
) -> None:
    """Measure calls with Callsheet and with the alternatives."""
    load = os.getloadavg()[0]
    found, notes = find_contenders()
    subjects = [name for name in SUBJECTS if not only or name in only]
    if find_spec("trustme") is None and any(SUBJECTS[name].is_encrypted for name in subjects):
        subjects = [name for name in subjects if not SUBJECTS[name].is_encrypted]
        notes.append("trustme is not installed: nothing is measured over TLS.")
    contenders = [name for name in found if not chosen or name in chosen]
    cells = [] if bare else plan(0 if quick else rounds, subjects, contenders)

    samples: dict[Cell, list[Sample]] = {}
    failures: list[Failure] = []
    numbers = iter(range(1, len(cells) + 1))

    def say(cell: Cell) -> None:
        click.echo(f"{next(numbers)} of {len(cells)}: {_name(cell)} ...", err=True)

    for cell, result in measure(cells, _QUICK_WINDOW_S if quick else _WINDOW_S, say):
        if isinstance(result, Failure):
            failures.append(result)
        else:
            samples.setdefault(cell, []).append(result)
    figures = judge(samples)
    if bare or not (only or chosen):
        figures += compare(_QUICK_WINDOWS if quick else _WINDOWS, partial(click.echo, err=True))
    notes = [*remarks(samples, failures, 0 if quick else rounds), *notes]
    if load > _BUSY_LOAD:
        notes.append(f"Other processes used {load:.1f} cores at the start: rates may be too low.")
    if as_json:
        values = {
            "cells": _as_json(samples),
            "figures": [figure.as_dict() for figure in figures],
            "notes": notes,
        }
        click.echo(json.dumps(values, indent=2))
    else:
        tables = [samples_table(samples)] if samples else []
        print_tables([*tables, figures_table(figures)], notes)
    if check and any(figure.has_target and not figure.is_reached for figure in figures):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
