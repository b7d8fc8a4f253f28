"""Hurt a shared run in every way, again and again, and check that no row and no money is lost.

    python benchmarks/chaos.py [--rounds 50] [--seed 0] [--rows 3000] [--keep FOLDER] [--json]

Each round is `callsheet run` with two or three `callsheet work` over a private server, against a
provider that has a limit and counts what it is asked for each row. A few seconds after the start,
two or three faults happen: kill -9 and SIGSTOP of a worker, kill -9 of the holder (the same command
is started again), kill -9 and SIGSTOP of the server, a full disk or memory of the server, and a
clock of a worker that jumps by an hour. In every fifth round a first run may spend half of the
cost only.

A round is well if each row is in OUTPUT once, with its own answer; if rows that were paid twice are
no more than were in hand at kills, and the summary counts them; if the provider refused nothing;
and if no bound of cost was exceeded. A seed repeats the plan of a round: `--rounds 1 --seed N`.

The full disk needs a user who may mount a tmpfs, and the clock the Debian package libfaketime;
what is not there is left out, with a line that says so. A round takes about 20 s.
"""

import json
import statistics
import tempfile
from pathlib import Path

import attrs
import click

from bench_kit.report import make_table, print_tables
from chaos_bench.place import CLOCK_LIBRARY, can_fill_disk
from chaos_bench.plan import FAULTS, Fault, make_plan
from chaos_bench.rounds import Outcome, run_round
from shared_bench.server import MISSING, SERVER


def _possible(*, small_disk: bool) -> tuple[Fault, ...]:
    left_out: set[Fault] = set()
    if not small_disk:
        left_out.add("fill disk")
        click.echo("This user may not mount a disk: no full disk.", err=True)
    if not CLOCK_LIBRARY:
        left_out.add("jump clock")
        click.echo("libfaketime is not installed: no jump of a clock.", err=True)
    return tuple(fault for fault in FAULTS if fault not in left_out)


@click.command()
@click.option("--rounds", type=click.IntRange(1), default=50, show_default=True)
@click.option("--seed", type=int, default=0, help="The seed of the first round.")
@click.option("--rows", type=click.IntRange(1), default=3_000, show_default=True)
@click.option(
    "--keep",
    type=click.Path(file_okay=False, path_type=Path),
    help="Copy the files of rounds with a problem to this folder.",
)
@click.option("--json", "as_json", is_flag=True, help="Print each round as a line of JSON.")
def main(*, rounds: int, seed: int, rows: int, keep: Path | None, as_json: bool) -> None:
    """Hurt shared runs, and exit with 1 if anything was lost."""
    if SERVER is None:
        raise click.ClickException(MISSING)
    with tempfile.TemporaryDirectory() as folder:
        small_disk = can_fill_disk(Path(folder))
    possible = _possible(small_disk=small_disk)
    outcomes: list[Outcome] = []
    for number in range(seed, seed + rounds):
        plan = make_plan(number, possible)
        click.echo(f"round {number}: {plan}", err=True)
        with tempfile.TemporaryDirectory(prefix="ch", dir="/tmp") as place:  # short
            outcome = run_round(plan, rows, Path(place), small_disk=small_disk, keep=keep)
        outcomes.append(outcome)
        for problem in outcome.problems:
            click.echo(f"  {problem}", err=True)
        if as_json:
            click.echo(json.dumps({"plan": attrs.asdict(plan), **attrs.asdict(outcome)}))
    if not as_json:
        _print(outcomes, rows)
    if any(outcome.problems for outcome in outcomes):
        raise SystemExit(1)


def _print(outcomes: list[Outcome], rows: int) -> None:
    table = make_table([f"{len(outcomes)} rounds of {rows:,} rows"], [""])
    extra = [outcome.purchases - rows for outcome in outcomes]
    for name, value in (
        ("rounds with a problem", sum(bool(outcome.problems) for outcome in outcomes)),
        ("rows paid twice", sum(extra)),
        ("rows in hand at kills", sum(outcome.in_hand for outcome in outcomes)),
        ("counted in the summaries", sum(outcome.counted for outcome in outcomes)),
        ("requests refused", sum(outcome.refused for outcome in outcomes)),
        ("most requests in a second", max(outcome.most_in_a_second for outcome in outcomes)),
        ("seconds of a round, median", round(statistics.median(o.seconds for o in outcomes))),
    ):
        table.add_row(name, f"{value:,}")
    print_tables([table], [])


if __name__ == "__main__":
    main()
