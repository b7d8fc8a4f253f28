"""Measure what a call costs with observers or metrics, beside the same call without them.

    python benchmarks/observability.py [--rounds 10] [--against PATH] [--json] [--check]

With `--against`, the calls without an observer are also made by another checkout, such as one of
the revision before observers had details: `git worktree add PATH REVISION`.

Each client is a process that stays alive; they take turns in shuffled order, against a provider
that uses little CPU time, and a ratio compares windows of the same round. CPU time is that of the
whole client, so that the thread of the exporter counts as well.
"""

import json
import os
import random
import subprocess
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import click

from aio_bench.client import Stretch
from bench_kit.figures import Figure
from bench_kit.processes import next_answer, open_answering
from bench_kit.report import figures_table, print_tables
from http_bench.cells import open_provider
from observability_bench.client import IDLE, NONE, SAMPLED_OUT, WAYS

_ABOUT = (
    "Medians of the rounds; a ratio has the smallest and the largest in brackets. Recorded spans "
    "are batched in the SDK's thread for an exporter that drops them."
)
_BEFORE = "the other checkout"
_AT_MOST = {IDLE: 1.25, SAMPLED_OUT: 1.25}  # times a call without an observer
_BEFORE_AT_MOST = 1.02  # nothing is paid when nothing listens


def measure(
    in_flight: int, rounds: int, seconds: float, against: Path | None
) -> Mapping[str, Sequence[Stretch]]:
    """Measure each observer once in every round, in shuffled order.

    Args:
        in_flight: number of concurrent calls.
        rounds: windows of each.
        seconds: the least length of a window.
        against: a checkout whose calls without an observer are measured, too.
    """
    ways = [*WAYS, *([] if against is None else [_BEFORE])]
    found: dict[str, list[Stretch]] = {name: [] for name in ways}
    order, chance = [*ways], random.Random(0)  # noqa: S311  # the order is no secret
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        provider = stack.enter_context(open_provider("waiting", folder))
        clients = {
            name: stack.enter_context(
                _open_client(name, provider.base_url, in_flight, seconds, against)
            )
            for name in ways
        }
        for number in range(rounds + 1):
            chance.shuffle(order)
            for name in order:
                stretch = Stretch(**json.loads(next_answer(clients[name])))
                if number:  # the first round connects, and fills caches
                    found[name].append(stretch)
    return found


@contextmanager
def _open_client(
    name: str, base_url: str, in_flight: int, seconds: float, against: Path | None
) -> Generator["subprocess.Popen[str]"]:
    options = ["--in-flight", str(in_flight), "--seconds", str(seconds)]
    way, paths = name, os.environ.get("PYTHONPATH", "")
    if name == _BEFORE and against is not None:
        way, paths = NONE, str(against / "src")
    with (
        patch.dict(os.environ, PYTHONPATH=paths),
        open_answering("observability_bench.client", way, base_url, *options) as process,
    ):
        yield process


@click.command()
@click.option("--rounds", type=click.IntRange(1), default=10, show_default=True)
@click.option("--in-flight", type=click.IntRange(1), default=50, show_default=True)
@click.option("--seconds", type=float, default=0.4, help="The least length of a window.")
@click.option(
    "--against",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Another checkout, which makes the calls without an observer, too.",
)
@click.option("--json", "as_json", is_flag=True, help="Print all values instead of the table.")
@click.option("--check", is_flag=True, help="Exit with 1 if a target is missed.")
def main(
    *,
    rounds: int,
    in_flight: int,
    seconds: float,
    against: Path | None,
    as_json: bool,
    check: bool,
) -> None:
    """Measure calls with observers beside calls without."""
    found = measure(in_flight, rounds, seconds, against)
    values = {name: [one.cpu_us for one in stretches] for name, stretches in found.items()}
    figures = [
        Figure(f"CPU per call, {name}", "us", ours, NONE, values[NONE], at_most=_AT_MOST.get(name))
        for name, ours in values.items()
        if name not in (NONE, _BEFORE)
    ]
    if against is not None:
        title = f"CPU per call, {NONE}"
        figures.append(
            Figure(title, "us", values[NONE], _BEFORE, values[_BEFORE], at_most=_BEFORE_AT_MOST)
        )
    if as_json:
        click.echo(json.dumps([figure.as_dict() for figure in figures], indent=2))
    else:
        print_tables([figures_table(figures)], [_ABOUT])
    if check and any(figure.has_target and not figure.is_reached for figure in figures):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
