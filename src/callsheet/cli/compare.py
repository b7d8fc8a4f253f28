"""`callsheet compare`: measure four ways of making many calls on the same work."""

import json
import sys
from functools import partial
from pathlib import Path

import attrs
import click
import trio
from rich.console import Console

from ..actors import why_not_written
from ..compare.comparison import AnswerMismatch, Comparison, ProgressCallback, ProviderNotStarted
from ..compare.comparison import compare as run_ways
from ..compare.modes import MODES, Mode
from ..compare.report import (
    SUFFIXES,
    PlotMissing,
    bounds_text,
    draw,
    footer_text,
    load_matplotlib,
    summary_table,
)
from ..compare.run import RunFailed
from ..compare.workloads import WORKLOADS, WorkloadName, make_workload
from . import INTERRUPTED
from .parameters import FiniteRange, SuggestingChoice
from .sections import SectionedCommand, option
from .signals import run_until_signal


def _check_plot(_: click.Context, __: click.Parameter, path: Path | None) -> Path | None:
    """Check before the run that the plot can be written after it."""
    if path is None:
        return None
    if path.suffix.lower() not in SUFFIXES:
        raise click.BadParameter(f"{path} must end in one of {', '.join(SUFFIXES)}")
    if not path.resolve().parent.is_dir():
        raise click.BadParameter(f"the folder {path.parent} does not exist")
    try:
        load_matplotlib()
    except PlotMissing as error:
        raise click.ClickException(f"--plot {error}") from None
    return path


def _parse_modes(_: click.Context, __: click.Parameter, value: str) -> tuple[Mode, ...]:
    names = value.split(",")
    modes = tuple[Mode, ...](mode for mode in MODES if names.count(mode) == 1)
    if len(modes) != len(names):
        raise click.BadParameter(f"name each of {', '.join(MODES)} at most once, not {value!r}")
    return modes


@click.command(
    cls=SectionedCommand,
    short_help="Compare Callsheet with three usual ways of making calls.",
    page="docs/command-line.md",
    examples=("compare --workload posts --time-scale 1 --plot posts.png",),
)
@option(
    "--workload",
    "workload_name",
    section="Workload",
    type=SuggestingChoice(WORKLOADS),
    default="post",
    show_default=True,
    help="post: one blog post, 11 calls. posts: 50 posts. headlines: 12 calls. reviews: 1,000 "
    "reviews to label. embeddings: 10,000 texts to embed.",
)
@option(
    "--seed",
    section="Workload",
    type=int,
    metavar="N",
    default=0,
    show_default=True,
    help="The seed of all latencies and texts.",
)
@option(
    "--time-scale",
    section="Workload",
    metavar="X",
    type=FiniteRange(0, 10, min_open=True),
    default=0.1,
    show_default=True,
    help="The factor for all latencies and waiting times. Below 0.05, the time that this machine "
    "needs itself distorts the figures.",
)
@option(
    "--modes",
    section="Workload",
    metavar="NAMES",
    callback=_parse_modes,
    default=",".join(MODES),
    show_default=True,
    help="The ways to run, separated by commas; fixed_window takes most of the time.",
)
@option("--json", "as_json", section="Output", is_flag=True, help="Write JSON instead of a table.")
@option(
    "--plot",
    section="Output",
    metavar="FILE.png",
    type=click.Path(dir_okay=False, path_type=Path),
    callback=_check_plot,
    help="Also draw the figures, as .png, .svg or .pdf. Needs Matplotlib.",
)
def compare(
    *,
    workload_name: WorkloadName,
    seed: int,
    time_scale: float,
    as_json: bool,
    plot: Path | None,
    modes: tuple[Mode, ...],
) -> None:
    """Run the same work in four ways, and show time, requests, tokens and cost of each.

    The ways run one after another against the built-in provider, which runs in a process of its own
    and takes the same time for the same prompt. No key and no network are needed.
    """
    workload = make_workload(workload_name, seed)
    watch = _watch(len(workload.items))
    run = partial(run_ways, workload, seed=seed, time_scale=time_scale, modes=modes, watch=watch)
    try:
        comparison = trio.run(run_until_signal, run)
    except (ProviderNotStarted, RunFailed, AnswerMismatch) as error:
        raise click.ClickException(str(error)) from None
    if comparison is None:
        click.echo("\nInterrupted.", err=True)
        sys.exit(INTERRUPTED)
    if as_json:
        click.echo(json.dumps(attrs.asdict(comparison.document())))
    else:
        _print(comparison)
    if plot is not None:
        try:
            draw(comparison, plot)
        except OSError as error:
            why = why_not_written(error)
            raise click.ClickException(f"--plot: cannot write {plot}: {why}") from None


def _watch(items: int) -> ProgressCallback:
    """Return a callback that prints the progress of each mode: in tenths on a terminal.

    It prints rarely and without a thread, so that it does not slow the measured mode down.
    """
    tenth = max(1, items // 10)

    def redraw(mode: Mode, done: int) -> None:
        if done == items:
            click.echo(f"\r{mode}: {items} of {items}", err=True)
        elif done % tenth == 0:
            click.echo(f"\r{mode}: {done} of {items} ", nl=False, err=True)

    def print_start(mode: Mode, done: int) -> None:
        if done == 0:
            click.echo(f"Running {mode}", err=True)

    console = Console(stderr=True)
    is_redrawn = console.is_terminal and not console.is_dumb_terminal
    return redraw if is_redrawn else print_start


def _print(comparison: Comparison) -> None:
    console = Console(highlight=False)
    console.print(summary_table(comparison))
    console.print(bounds_text(comparison), markup=False)
    console.print(footer_text(comparison), markup=False, style="dim")
