"""A comparison as a picture. It needs Matplotlib: the optional extra `callsheet[plot]`."""

# Matplotlib leaves its keyword arguments untyped.
# pyright: reportUnknownMemberType=false

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..wording import dollars, seconds
from .comparison import Comparison

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["SUFFIXES", "PlotMissing", "draw", "load_matplotlib"]

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
