"""Measure the cost of the same work: packed, in lists, in batches and cached; and check the ledger.

    python benchmarks/cost.py [--check] [--autobatcher PYTHON]
        [--only reviews|embeddings|burst|stages|books|reserved|caching|autobatcher]

The provider runs in its own process. Tokens and requests are the provider's counts, and USD are
those tokens at the published prices of their tier. The baseline of the reviews is one call for each
review, by plain HTTP, in the same run. They are measured with three seeds.

Calls that are joined or packed, and the embeddings, have latencies of 1 to 3 s, as at a provider:
they take the longest. The whole benchmark takes five minutes, and as long again where autobatcher
is installed. It needs another version of openai than the dependency group "bench" has, so it may be
installed for another interpreter, PYTHON.
"""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import click
import structlog
import trio
from rich.table import Table

from bench_kit.figures import Figure
from bench_kit.report import figures_table, make_table, print_tables
from callsheet.compare.workloads import WorkloadName
from cost_bench.autobatcher_client import AUTOBATCHER, MISSING, find_autobatcher, versions
from cost_bench.beside import BATCH_TIME_S, DAY, WayFigures, beside
from cost_bench.books import BookFigures, books
from cost_bench.kills import kills
from cost_bench.prompt_caching import MODELS, MODES, CachingFigures, prompt_caching
from cost_bench.provider import Bill
from cost_bench.reserved import reserved
from cost_bench.stages import measure_stages
from cost_bench.workloads import SEEDS, ReviewFigures, burst, embeddings, reviews


class Part(NamedTuple):
    """What a part of the benchmark prints."""

    tables: Sequence[Table]
    figures: Sequence[Figure]
    notes: Sequence[str] = ()


def _reviews() -> Part:
    rounds = [trio.run(reviews, seed) for seed in SEEDS]
    table = make_table(["1,000 reviews"], ["live calls", "control calls", "in", "out", "USD"])
    first = rounds[0]
    for name, bill in (
        ("one call each", first.each),
        ("callsheet, joined", first.joined),
        ("callsheet, packed", first.live),
        ("callsheet, packed, 24 h deadline", first.batch),
        ("eight words, one call each", first.each_brief),
        ("eight words, callsheet, packed", first.packed_brief),
    ):
        table.add_row(
            name,
            f"{bill.requests:,}",
            f"{bill.control_requests:,}",
            f"{bill.usage.input_tokens:,}",
            f"{bill.usage.output_tokens:,}",
            f"{bill.usd:.6f}",
        )
    each = [_musd(found.each) for found in rounds]
    each_brief = [_musd(found.each_brief) for found in rounds]

    def figure(name: str, bill: Callable[[ReviewFigures], Bill], at_most: float | None) -> Figure:
        return Figure(name, "mUSD", list(map(_musd, map(bill, rounds))), "each", each, at_most)

    packed = figure("W4", lambda found: found.live, 0.20)
    dearest = max(packed.ratios)
    brief = [_musd(found.packed_brief) for found in rounds]
    figures = [
        figure("W4, joined only", lambda found: found.joined, None),
        packed,
        Figure("W4, the dearest seed / each", "", [dearest], at_most=0.20, is_ratio=False),
        figure("W4 by Batch API", lambda found: found.batch, 0.10),
        Figure("W4, eight words", "mUSD", brief, "each", each_brief, at_most=1.0),
        Figure(
            "same labels",
            "",
            [found.same_live / found.labels for found in rounds],
            at_least=1.0,
            is_ratio=False,
        ),
        Figure(
            "same labels, batch",
            "",
            [found.same_batch / found.labels for found in rounds],
            at_least=1.0,
            is_ratio=False,
        ),
    ]
    return Part([table], figures)


def _musd(bill: Bill) -> float:
    return float(bill.usd) * 1000


def _embeddings() -> Part:
    found = trio.run(embeddings)
    fewest = [float(found.fewest)]
    name = f"W5, HTTP requests for {found.texts:,} texts"
    figure = Figure(name, "", [float(found.bill.requests)], "fewest", fewest, at_most=1.0)
    return Part([], [figure])


def _burst() -> Part:
    ratio = [trio.run(burst)]
    return Part([], [Figure("W3, wall / slowest call", "", ratio, at_most=1.05, is_ratio=False)])


def _stages() -> Part:
    found = measure_stages()
    figures = [
        Figure("added to a lone request", "ms", [found.lone_ms], at_most=1.0, is_ratio=False),
        Figure(
            "calls for 1,000 identical requests",
            "",
            [float(found.identical_calls)],
            at_most=1.0,
            is_ratio=False,
        ),
        Figure("replies", "", [float(found.identical_replies)], at_least=1000.0, is_ratio=False),
        Figure("cache hit in memory", "us", [found.memory_us], at_most=100.0, is_ratio=False),
        Figure("cache hit on disk", "us", [found.disk_us], at_most=1000.0, is_ratio=False),
    ]
    return Part([], figures)


def _books() -> Part:
    table = make_table(
        ["ledger beside provider"],
        ["answered", "billed", "spent", "surplus", "possibly billed, at most"],
    )
    figures: list[Figure] = []
    for name, everything in (("rejections", False), ("all faults, cancelled calls, crashes", True)):
        found: BookFigures = trio.run(partial(books, everything=everything))
        usages = (found.bill.usage, found.spent, found.surplus, found.maybe)
        table.add_row(
            name,
            f"{found.answered:,}",
            *(f"{usage.input_tokens:,} + {usage.output_tokens:,}" for usage in usages),
        )
        surplus, maybe = found.surplus, found.maybe
        is_told = (
            0 <= surplus.input_tokens <= maybe.input_tokens
            and 0 <= surplus.output_tokens <= maybe.output_tokens
        )
        if everything:
            figures.append(
                Figure(
                    "surplus within possibly billed",
                    "",
                    [float(is_told)],
                    at_least=1.0,
                    is_ratio=False,
                )
            )
        else:
            off = 0.0 + abs(surplus.input_tokens) + abs(surplus.output_tokens)
            figures.append(
                Figure("ledger error in tokens", "", [float(off)], at_most=0.0, is_ratio=False)
            )
            cents = abs(float(found.spent_usd - found.bill.usd))
            figures.append(Figure("ledger error in USD", "", [cents], at_most=0.0, is_ratio=False))
    return Part([table], figures)


def _reserved() -> Part:
    """Print what caution costs a budget while calls are in flight."""
    figures: list[Figure] = []
    workloads: tuple[tuple[str, WorkloadName, float | None], ...] = (
        ("W1", "post", 3.0),
        ("W2", "posts", 3.0),
        ("W4", "reviews", None),
    )
    for title, name, at_most in workloads:
        by_bytes, by_tokens = reserved(name).medians
        for how, median in (("", by_bytes), (", with a tokeniser", by_tokens)):
            figures.append(
                Figure(
                    f"{title}, reserved / billed{how}",
                    "",
                    [median],
                    at_most=at_most,
                    is_ratio=False,
                )
            )
    return Part([], figures)


def _caching() -> Part:
    """Print what a provider's prompt cache saves of the cost of a long instruction."""
    title = "1,000 reviews, an instruction of 2,000 tokens"
    table = make_table([title, "caching"], ["in", "read", "written", "USD", "of uncached"])
    figures: list[Figure] = []

    def show(model: str, how: str, found: CachingFigures) -> None:
        counts = found.billed.input_tokens, found.billed.cached_tokens, found.billed.written_tokens
        tokens = (f"{count:,}" for count in counts)
        table.add_row(model, how, *tokens, f"{found.usd:.4f}", f"{found.share:.3f}")

    marked = next(iter(MODELS))  # Anthropic's
    for mode in MODES[:2]:
        show(marked, f"own marks, {mode}", prompt_caching(marked, mode, own_marks=True))
    for model in MODELS:
        by_mode = {mode: prompt_caching(model, mode) for mode in MODES}
        for mode, found in by_mode.items():
            show(model, mode, found)
        found = by_mode["auto"]
        usd, uncached = [float(found.usd)], [float(found.uncached_usd)]
        name = f"W4, 2,000 tokens, {model}"
        waits = [found.longest_wait_s], [found.first_token_s]
        figures += [
            Figure(name, "USD", usd, "uncached", uncached, at_most=0.25),
            Figure(f"{name}, wait", "s", waits[0], "first token", waits[1], at_most=1.0),
        ]
    return Part([table], figures)


def _autobatcher(python: str | None) -> Part:
    """Print what the same work costs by autobatcher, and what it costs to be killed in a batch.

    Args:
        python: an interpreter that has autobatcher; None leaves the part out.
    """
    if python is None:
        return Part([], [], [MISSING])
    titles = ["live calls", "control calls", "in", "out", "USD", "of single", "s", "same answers"]
    table = make_table(["work", "way"], titles)
    figures: list[Figure] = []
    workloads: tuple[tuple[str, WorkloadName, float], ...] = (
        ("W1", "post", 1.0),
        ("W2", "posts", 1.0),
        ("W4", "reviews", 0.20),
    )
    for title, name, at_most in workloads:
        ways = trio.run(beside, name, python)
        for way, found in ways.items():
            table.add_row(title, way, *_way_cells(found, ways["one call each"]))
        ours = [_musd(ways[DAY].bill)]
        theirs = [min(_musd(ways[way].bill) for way in AUTOBATCHER)]
        figures.append(
            Figure(f"{title}, 24 h deadline", "mUSD", ours, "autobatcher", theirs, at_most)
        )
    killed = make_table(
        ["killed while the provider works, then run again"], ["answers", "USD", "of one run"]
    )
    for way, both in trio.run(kills, python).items():
        ratio = float(both.twice / both.once)
        killed.add_row(way, f"{both.answers:,}", f"{both.twice:.6f}", f"{ratio:.2f}")
        if way not in AUTOBATCHER:
            figures.append(
                Figure("killed and run again / one run", "", [ratio], at_most=1.0, is_ratio=False)
            )
    times = (
        f"s are seconds of the provider, whose batches take {BATCH_TIME_S} s here, and whose flex "
        "tier is as fast as the usual one. Real ones are slower."
    )
    return Part([table, killed], figures, [times, versions(python)])


def _way_cells(found: WayFigures, each: WayFigures) -> tuple[str, ...]:
    bill = found.bill
    return (
        f"{bill.requests:,}",
        f"{bill.control_requests:,}",
        f"{bill.usage.input_tokens:,}",
        f"{bill.usage.output_tokens:,}",
        f"{bill.usd:.6f}",
        f"{float(bill.usd / each.bill.usd):.3f}",
        f"{found.seconds:.0f}",
        f"{found.same:,} of {found.answers:,}",
    )


_PARTS: dict[str, Callable[[], Part]] = {
    "reviews": _reviews,
    "embeddings": _embeddings,
    "burst": _burst,
    "stages": _stages,
    "books": _books,
    "reserved": _reserved,
    "caching": _caching,
}


@click.command()
@click.option(
    "--only",
    type=click.Choice([*_PARTS, "autobatcher"]),
    multiple=True,
    help="Run only this part.",
)
@click.option("--check", is_flag=True, help="Exit with 1 if a target is missed.")
@click.option(
    "--autobatcher",
    "python",
    type=click.Path(exists=True, dir_okay=False),
    help="An interpreter that has autobatcher. Default: this one, if it has it.",
)
def main(*, only: Sequence[str], check: bool, python: str | None) -> None:
    """Measure the cost of the same work done in different ways."""
    # The crashes are intended, so their log is left out.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        python = find_autobatcher(python)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--autobatcher") from None
    tables: list[Table] = []
    figures: list[Figure] = []
    notes: list[str] = []
    parts: dict[str, Callable[[], Part]] = {
        **_PARTS,
        "autobatcher": partial(_autobatcher, python),
    }
    for name, measure in parts.items():
        if only and name not in only:
            continue
        click.echo(f"{name} ...", err=True)
        part = measure()
        tables += part.tables
        figures += part.figures
        notes += part.notes
    if figures:
        tables.append(figures_table(figures))
    print_tables(tables, notes)
    if check and any(figure.has_target and not figure.is_reached for figure in figures):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
