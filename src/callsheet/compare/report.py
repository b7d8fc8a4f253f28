"""A comparison before a person: the table, what bounds its figures, and how to read them."""

from rich import box
from rich.table import Table

from ..wording import dollars, seconds
from .comparison import Comparison
from .run import ModeResult

__all__ = ["bounds", "footer", "summary_table"]

_COLUMNS = (
    "wall\ns", "p50\ns", "p99\ns", "HTTP\nrequests", "tokens\nin", "\nout", "cost", "429s", "ratio",
)  # fmt: skip


def summary_table(comparison: Comparison) -> Table:
    """A row for each way; it fits into 80 columns."""
    table = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False, header_style="bold")
    table.add_column("way", no_wrap=True, vertical="bottom")
    for name in _COLUMNS:
        table.add_column(name, justify="right", no_wrap=True, vertical="bottom")
    for mode, result in comparison.modes.items():
        style = "bold" if mode == "callsheet" else None
        table.add_row(mode, *_cells(result, comparison.critical_path_s), style=style)
    return table


def _cells(result: ModeResult, critical_path_s: float) -> tuple[str, ...]:
    return (
        *(f"{value:.2f}" for value in (result.wall_s, result.p50_s, result.p99_s)),
        f"{result.http_requests:,}",
        f"{result.usage.input_tokens:,}",
        f"{result.usage.output_tokens:,}",
        dollars(result.cost_usd),
        f"{result.rejected:,}",
        f"{result.wall_s / critical_path_s:.2f}",
    )


def bounds(comparison: Comparison) -> str:
    """What bounds the result, whatever the way."""
    rehearsal = comparison.rehearsal
    slowest = rehearsal.slowest
    least_s, path = slowest.critical_path
    if comparison.workload.shares_calls:
        found = (
            f"Made one call each, the {len(rehearsal.items):,} items take at least "
            f"{seconds(least_s)}, which is the slowest of them. Callsheet makes one call of many."
        )
    elif len(slowest.calls) == 1:
        found = (
            f"Each of the {len(rehearsal.items):,} items is one call; no way can be faster than "
            f"the slowest of them, {seconds(least_s)}."
        )
    else:
        whose = "The" if len(rehearsal.items) == 1 else "The slowest item's"
        one_by_one_s = max(item.one_by_one_s for item in rehearsal.items)
        found = (
            f"{whose} critical path is {len(path)} of {len(slowest.calls)} calls: "
            f"{', '.join(path)}; no order of calls can be faster than {seconds(least_s)}. One "
            f"after another an item's calls take up to {seconds(one_by_one_s)}, so that nothing "
            f"can be more than {one_by_one_s / least_s:.1f} times as fast as sequential."
        )
    return found + _in_flight_bound(comparison)


def _in_flight_bound(comparison: Comparison) -> str:
    """What the places in flight add to that; nothing where there are enough of them."""
    rehearsal, places = comparison.rehearsal, comparison.workload.in_flight
    if rehearsal.calls <= places:
        return ""
    all_s = sum(item.one_by_one_s for item in rehearsal.items)
    found = (
        f" With {places} calls in flight at a time, {rehearsal.calls:,} calls take at least "
        f"{seconds(all_s / places)}"
    )
    distinct = len(rehearsal.distinct_s)
    if distinct < rehearsal.calls:
        found += f", and the {distinct:,} that differ {seconds(sum(rehearsal.distinct_s) / places)}"
    return f"{found}."


def footer(comparison: Comparison) -> str:
    """How to read the figures."""
    return (
        "ratio: wall to critical path. Times, in seconds, are at time scale "
        f"{comparison.time_scale:g}, which multiplies the provider's latencies and the fixed "
        "window's waiting times; their ratios are what counts. p50 and p99 are over the items, by "
        "nearest rank, from asking for the first item to the end of each."
    )
