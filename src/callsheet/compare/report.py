"""A comparison before a person: the table, what bounds its figures, and how to read them.

A comparison as a picture. It needs Matplotlib: the optional extra `callsheet[plot]`.
"""

# Matplotlib leaves its keyword arguments untyped.
# pyright: reportUnknownMemberType=false

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from ..wording import dollars, seconds
from .comparison import Comparison
from .run import ModeResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "SUFFIXES",
    "PlotMissing",
    "bounds",
    "draw",
    "footer",
    "load_matplotlib",
    "summary_table",
]


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


SUFFIXES = (".png", ".svg", ".pdf")

_INK, _FAINT = "#1f2933", "#9aa5b1"
_RIVAL, _OURS, _BOUND = "#b8c4d0", "#0f766e", "#c2410c"
_BAR = 0.62
_DPI = 160


class PlotMissing(Exception):
    """Matplotlib is not installed; the text says how to install it."""


def load_matplotlib() -> None:
    """See that Matplotlib is there, before a run whose picture could not be drawn.

    Raises:
        PlotMissing: it is not.
    """
    try:
        importlib.import_module("matplotlib.figure")
    except ImportError:
        raise PlotMissing(
            "needs Matplotlib; install it with: pip install 'callsheet[plot]'"
        ) from None


def draw(comparison: Comparison, path: Path) -> None:
    """Draw wall, p99 and cost of every way, and the critical path.

    Args:
        comparison: what to draw.
        path: where to write it; its suffix is one of `SUFFIXES`.

    Raises:
        OSError: it cannot be written.
    """
    # A figure of its own, without pyplot: no display, no state that outlives it.
    from matplotlib.figure import Figure  # noqa: PLC0415 - an optional extra, slow to import

    results = comparison.modes.values()
    walls, p99s = [r.wall_s for r in results], [r.p99_s for r in results]
    costs = [float(r.cost_usd or 0) for r in results]
    figure = Figure(figsize=(11, 1.6 + 0.5 * len(costs)), layout="constrained", dpi=_DPI)
    panels: tuple[Axes, Axes, Axes] = figure.subplots(1, 3, sharey=True, width_ratios=(3, 3, 2))
    _bars(panels[0], "wall", comparison, walls, [seconds(value) for value in walls])
    _bars(panels[1], "p99 per item", comparison, p99s, [seconds(value) for value in p99s])
    _bars(panels[2], "cost", comparison, costs, [dollars(r.cost_usd) for r in results])
    bound_s = comparison.critical_path_s
    for panel in panels[:2]:
        panel.axvline(bound_s, color=_BOUND, linestyle=(0, (4, 3)), linewidth=1.4)
    panels[0].invert_yaxis()  # shared: the first way on top everywhere
    figure.suptitle(
        f"{comparison.workload.name}: {len(comparison.workload.items):,} done in each way, at time "
        f"scale {comparison.time_scale:g}",
        x=0.01, ha="left", color=_INK, fontweight="bold",
    )  # fmt: skip
    figure.supxlabel(
        f"dashed: the critical path, {seconds(bound_s)}", x=0.01, ha="left", color=_BOUND, size=9.5
    )
    figure.savefig(path)


def _bars(
    panel: "Axes",
    title: str,
    comparison: Comparison,
    values: Sequence[float],
    labels: Sequence[str],
) -> None:
    """One bar for each way, its figure at its end."""
    colors = [_OURS if mode == "callsheet" else _RIVAL for mode in comparison.modes]
    bars = panel.barh(list(comparison.modes), values, height=_BAR, color=colors)
    panel.bar_label(bars, labels=labels, padding=4, color=_INK, size=9.5)
    panel.set_title(title, loc="left", color=_INK, size=11)
    panel.set_xlim(0, max(*values, comparison.critical_path_s * (title != "cost"), 1e-9) * 1.28)
    panel.set_xticks([])  # the figures stand at the bars
    panel.tick_params(length=0, labelcolor=_INK)
    panel.spines[["top", "right", "bottom"]].set_visible(False)
    panel.spines["left"].set_color(_FAINT)
