"""Show a comparison: a table, an explanation of its figures, and a chart.

The chart needs Matplotlib, the extra `plot`.
"""

# Matplotlib leaves its keyword arguments untyped.
# pyright: reportUnknownMemberType=false

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from ..actors import how_to_install
from ..wording import dollars, seconds
from .comparison import Comparison
from .run import ModeResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes


_COLUMNS = (
    "wall\ns", "p50\ns", "p99\ns", "HTTP\nrequests", "tokens\nin", "\nout", "cost", "429s", "ratio",
)  # fmt: skip


def summary_table(comparison: Comparison) -> Table:
    """Return a table with a row for each mode; it fits into 80 columns."""
    table = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False, header_style="bold")
    table.add_column("mode", no_wrap=True, vertical="bottom")
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


def bounds_text(comparison: Comparison) -> str:
    """Return sentences about the shortest time that any mode can take."""
    lower_bound = comparison.lower_bound
    slowest = lower_bound.slowest
    least_s, path = slowest.critical_path
    if comparison.workload.shares_calls:
        found = (
            f"With one call for each of the {len(lower_bound.items):,} items, the run takes at "
            f"least {seconds(least_s)}, the time of the slowest call. Callsheet puts many items "
            "into one call."
        )
    elif len(slowest.calls) == 1:
        found = (
            f"Each of the {len(lower_bound.items):,} items is one call. No mode can be faster than "
            f"the slowest call, {seconds(least_s)}."
        )
    else:
        whose = "The" if len(lower_bound.items) == 1 else "The slowest item's"
        one_by_one_s = max(item.one_by_one_s for item in lower_bound.items)
        found = (
            f"{whose} critical path is {len(path)} of {len(slowest.calls)} calls: "
            f"{', '.join(path)}. No order of calls can be faster than {seconds(least_s)}. One "
            f"after another, the calls of an item take up to {seconds(one_by_one_s)}, so no mode "
            f"can be more than {one_by_one_s / least_s:.1f} times as fast as sequential."
        )
    return found + _in_flight_bound(comparison)


def _in_flight_bound(comparison: Comparison) -> str:
    """Return a sentence about the limit on calls in flight, or "" if it delays no call."""
    lower_bound, in_flight = comparison.lower_bound, comparison.workload.in_flight
    if lower_bound.calls <= in_flight:
        return ""
    all_s = sum(item.one_by_one_s for item in lower_bound.items)
    found = (
        f" With {in_flight} calls in flight at a time, {lower_bound.calls:,} calls take at least "
        f"{seconds(all_s / in_flight)}"
    )
    distinct = len(lower_bound.distinct_s)
    if distinct < lower_bound.calls:
        distinct_s = sum(lower_bound.distinct_s) / in_flight
        found += f"; the {distinct:,} distinct calls among them take {seconds(distinct_s)}"
    return f"{found}."


def footer_text(comparison: Comparison) -> str:
    """Return an explanation of the columns."""
    return (
        "ratio: wall time divided by the critical path. All times are in seconds at time scale "
        f"{comparison.time_scale:g}, which multiplies the provider's latencies and the waiting "
        "times of fixed_window; compare the ratios, not the seconds. p50 and p99 are percentiles "
        "of the items (nearest rank), each from the start of the run to the end of the item."
    )


SUFFIXES = (".png", ".svg", ".pdf")

_INK, _FAINT = "#1f2933", "#9aa5b1"
_BASELINE, _CALLSHEET, _BOUND = "#b8c4d0", "#0f766e", "#c2410c"
_BAR = 0.62
_DPI = 160


class PlotMissing(Exception):
    """Matplotlib is not installed; the text has the command that installs it."""


def load_matplotlib() -> None:
    """Import Matplotlib, so that a missing installation is reported before the run.

    Raises:
        PlotMissing: Matplotlib is not installed.
    """
    try:
        importlib.import_module("matplotlib.figure")
    except ImportError:
        how = how_to_install("plot")
        raise PlotMissing(f"needs Matplotlib; {how}") from None


def draw(comparison: Comparison, path: Path) -> None:
    """Draw the wall time, the p99 and the cost of every mode, and the critical path.

    Args:
        comparison: the results of all modes.
        path: the file to write; its suffix is one of `SUFFIXES`.

    Raises:
        OSError: the file cannot be written.
    """
    # Without pyplot, which needs a display and keeps global state.
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
    panels[0].invert_yaxis()  # the panels share it: the first mode is on top in each
    figure.suptitle(
        f"{comparison.workload.name}: {len(comparison.workload.items):,} items in each mode, at "
        f"time scale {comparison.time_scale:g}",
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
    """Draw one bar for each mode, with its figure at the end of the bar."""
    colors = [_CALLSHEET if mode == "callsheet" else _BASELINE for mode in comparison.modes]
    bars = panel.barh(list(comparison.modes), values, height=_BAR, color=colors)
    panel.bar_label(bars, labels=labels, padding=4, color=_INK, size=9.5)
    panel.set_title(title, loc="left", color=_INK, size=11)
    panel.set_xlim(0, max(*values, comparison.critical_path_s * (title != "cost"), 1e-9) * 1.28)
    panel.set_xticks([])  # each bar has its figure as a label
    panel.tick_params(length=0, labelcolor=_INK)
    panel.spines[["top", "right", "bottom"]].set_visible(False)
    panel.spines["left"].set_color(_FAINT)
