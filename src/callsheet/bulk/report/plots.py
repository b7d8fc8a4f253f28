"""The plots of a run, as SVG elements of a page. They need Matplotlib, the extra `plot`.

They contain no text from rows or providers: the page has it beside them, escaped. Colours are drawn
as placeholders and replaced by CSS variables of the page, so that they follow its light and dark
styles.
"""

# Matplotlib leaves its keyword arguments untyped.
# pyright: reportUnknownMemberType=false

import importlib
import io
import math
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import attrs

from ..watching.series import Series, TimeBuckets

if TYPE_CHECKING:
    from matplotlib.axes import Axes


MOST_KINDS = 5
"""The number of kinds of errors with a colour of their own; all others share one."""

_SIZE, _WIDE = (6.4, 2.7), (13.2, 2.9)  # inches
_MOST_TICKS = 5

# {CSS variable of the page: the placeholder colour}
_MARKS = {
    name: f"#fe01{number:02x}"
    for number, name in enumerate(
        ("ink", "soft", "line", "ours", "bound", *(f"kind{n}" for n in range(MOST_KINDS + 1)))
    )
}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text, in the page's font
    "svg.hashsalt": "callsheet",  # the same run gives the same page
    "font.family": "sans-serif",
    "font.size": 9.0,
    "text.parse_math": False,
    "text.color": _MARKS["soft"],
    "axes.edgecolor": _MARKS["line"],
    "axes.labelcolor": _MARKS["soft"],
    "xtick.color": _MARKS["line"],
    "ytick.color": _MARKS["line"],
    "xtick.labelcolor": _MARKS["soft"],
    "ytick.labelcolor": _MARKS["soft"],
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
}

_POINTS = 120  # along a time axis
_BINS = 48
_MINUTES_FROM_S, _HOURS_FROM_S = 180.0, 3 * 3600.0
_VISIBLE_RATIO = 2.5  # a limit above this multiple of the highest rate would flatten the plot


@attrs.frozen
class Plot:
    """A plot.

    Args:
        title: the title above the plot.
        legend: (CSS variable of the colour, text) of each entry.
        svg: the SVG element.
        narrow: the same for a narrow screen, if `svg` has the width of two plots; else "".
    """

    title: str
    legend: tuple[tuple[str, str], ...]
    svg: str
    narrow: str = ""

    @property
    def is_wide(self) -> bool:
        """Whether the plot has the width of two."""
        return bool(self.narrow)


def draw_plots(series: Series) -> Iterator[Plot]:
    """Draw the plots that the run has data for.

    Raises:
        ImportError: Matplotlib is not installed; see `has_matplotlib`.
    """
    buckets = series.buckets.coarser(_POINTS)
    if series.answered or series.failed:
        rows = [bucket.rows for bucket in buckets]
        yield _rates(buckets, "rows", rows, "requests", [b.request_limit for b in buckets])
    limits = [bucket.token_limit for bucket in buckets]
    if series.usage.total_tokens and any(limit is not None for limit in limits):
        yield _rates(buckets, "tokens", [bucket.tokens for bucket in buckets], "tokens", limits)
    if series.latency.count:
        yield _latency(series)
    if series.cost_usd:
        yield _cost(buckets)
    if series.errors:
        yield _errors(buckets, [kind for kind, _ in series.errors.most_common(MOST_KINDS)])


def _rates(
    buckets: TimeBuckets,
    what: str,
    counts: Sequence[int],
    limited: str,
    sampled: Sequence[float | None],
) -> Plot:
    """Draw the rate over time, and its limit in each bucket."""
    rates = buckets.rates(counts)
    limits = _carried_on(sampled)
    known = [value for value in limits if not math.isnan(value)]
    legend = [("ours", what)]
    top = max(rates)
    is_visible = bool(known) and min(known) <= _VISIBLE_RATIO * top
    if is_visible:
        legend.append(("bound", f"limit of {limited}"))
        top = max(top, min(max(known), _VISIBLE_RATIO * top))
    elif known:
        legend.append(("bound", f"limit of {limited}: {min(known):,.0f} a second, above the plot"))

    def draw(axes: "Axes") -> None:
        edges, _ = _time_axis(axes, buckets)
        axes.stairs(rates, edges, fill=True, color=color_of("ours"), alpha=0.25)
        axes.stairs(rates, edges, color=color_of("ours"), linewidth=1.4, baseline=None)
        if is_visible:
            axes.stairs(
                limits,
                edges,
                baseline=None,
                color=color_of("bound"),
                linewidth=1.4,
                linestyle=(0, (4, 2.5)),
            )
        axes.set_ylim(0, top * 1.12)

    title = f"{what.capitalize()} a second"
    if what != "rows":
        return Plot(title, tuple(legend), svg(draw, title))
    narrow = svg(draw, f"{title}, narrow")
    return Plot(title, tuple(legend), svg(draw, title, is_wide=True), narrow)


def _carried_on(sampled: Sequence[float | None]) -> list[float]:
    """Fill gaps with the last known limit; NaN before the first one."""
    limits, last = list[float](), math.nan
    for value in sampled:
        last = last if value is None else value
        limits.append(last)
    return limits


def _latency(series: Series) -> Plot:
    bins = list(series.latency.bins(_BINS))
    percentiles = [(p, series.latency.percentile(p) or 0.0) for p in (50, 90, 99)]

    def draw(axes: "Axes") -> None:
        edges = [*(start for start, _, _ in bins), bins[-1][1]]
        counts = [count for _, _, count in bins]
        axes.set_xscale("log")
        axes.stairs(counts, edges, fill=True, color=color_of("ours"), alpha=0.65)
        axes.set_ylim(0, max(counts) * 1.25)
        for (p, value), height in zip(percentiles, (0.97, 0.87, 0.77), strict=True):
            axes.axvline(value, color=color_of("bound"), linewidth=1.1, linestyle=(0, (4, 2.5)))
            axes.text(
                value,
                height,
                f" p{p}",
                transform=axes.get_xaxis_transform(),
                va="top",
                color=color_of("ink"),
                fontsize=8,
            )
        axes.set_xlim(edges[0] * 0.9, edges[-1] * 1.1)
        axes.set_xlabel("seconds")
        _plain_log_ticks(axes, edges[0] * 0.9, edges[-1] * 1.1)

    return Plot(
        "Latency of responses",
        (("ours", "responses"),),
        svg(draw, "Latency of responses", is_count=True),
    )


def _cost(buckets: TimeBuckets) -> Plot:
    spent = [0.0, *accumulate(float(bucket.cost_usd) for bucket in buckets)]

    def draw(axes: "Axes") -> None:
        edges, _ = _time_axis(axes, buckets)
        axes.fill_between(edges, spent, color=color_of("ours"), alpha=0.18, linewidth=0)
        axes.plot(edges, spent, color=color_of("ours"), linewidth=1.6)
        axes.set_ylim(0, spent[-1] * 1.12)

    return Plot("Cost so far, USD", (), svg(draw, "Cost"))


def _errors(buckets: TimeBuckets, kinds: Sequence[str]) -> Plot:
    shown = frozenset(kinds)
    counts = [[bucket.errors[kind] for bucket in buckets] for kind in kinds]
    others = [sum(n for kind, n in b.errors.items() if kind not in shown) for b in buckets]
    legend = [(f"kind{number}", kind) for number, kind in enumerate(kinds)]
    if any(others):
        counts.append(others)
        legend.append((f"kind{MOST_KINDS}", "others"))

    def draw(axes: "Axes") -> None:
        edges, step = _time_axis(axes, buckets)
        below = [0] * len(buckets)
        for (name, _), values in zip(legend, counts, strict=True):
            axes.bar(edges[:-1], values, step, below, align="edge", color=color_of(name))
            below = [low + value for low, value in zip(below, values, strict=True)]
        axes.set_ylim(0, max(below) * 1.12)

    title = f"Errors, in each {buckets.width_s:,.3g} s"
    return Plot(title, tuple(legend), svg(draw, "Errors", is_count=True))


def _time_axis(axes: "Axes", buckets: TimeBuckets) -> tuple[list[float], float]:
    """Set up the time axis; return the edges of the buckets in its unit, and the width of one."""
    whole_s = buckets.width_s * len(buckets)
    unit, name = 1.0, "seconds"
    if whole_s >= _HOURS_FROM_S:
        unit, name = 3600.0, "hours"
    elif whole_s >= _MINUTES_FROM_S:
        unit, name = 60.0, "minutes"
    step = buckets.width_s / unit
    axes.set_xlabel(f"{name} since the start")
    axes.set_xlim(0, whole_s / unit)
    return [n * step for n in range(len(buckets) + 1)], step


def _plain_log_ticks(axes: "Axes", low: float, high: float) -> None:
    """Set ticks at 1, 2 and 5 of each power of ten, or only at 1 if there are many powers."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if len(powers) <= 4 else (1,)  # noqa: PLR2004 - more would overlap
    ticks = [step * 10.0**power for power in powers for step in steps]
    ticks = [tick for tick in ticks if low <= tick <= high]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)


def has_matplotlib() -> bool:
    """Return whether Matplotlib is installed."""
    try:
        importlib.import_module("matplotlib.figure")
    except ImportError:
        return False
    return True


def color_of(variable: str) -> str:
    """Return the Matplotlib colour of a CSS variable: "ink", "ours", "kind0" and so on."""
    return _MARKS[variable]


def svg(
    draw: Callable[["Axes"], None], name: str, *, is_wide: bool = False, is_count: bool = False
) -> str:
    """Return a plot as an SVG element.

    Args:
        draw: draws into the axes that it is given.
        name: the accessible name; unique on the page.
        is_wide: True for the width of two plots.
        is_count: True if the values are integers.
    """
    # Without pyplot, which needs a display and keeps global state.
    import matplotlib as mpl  # noqa: PLC0415 - an optional extra, slow to import
    from matplotlib.figure import Figure  # noqa: PLC0415
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415

    with mpl.rc_context({**_STYLE, "svg.hashsalt": f"callsheet {name}"}):
        figure = Figure(figsize=_WIDE if is_wide else _SIZE, layout="constrained")
        axes = figure.subplots()
        draw(axes)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.grid(axis="y", color=_MARKS["line"], linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(length=0)
        axes.yaxis.set_major_locator(MaxNLocator(_MOST_TICKS, integer=is_count))
        axes.yaxis.set_major_formatter(lambda value, _: _plain(value))
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return _embedded(file.getvalue(), name)


def _plain(value: float) -> str:
    """Format a number without an exponent and without trailing zeros."""
    text = f"{value:,.10f}"
    return text.rstrip("0").rstrip(".")


def _embedded(svg: str, name: str) -> str:
    """Return the SVG as an element of the page: without a fixed size, in the page's colours."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg\b[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg\b[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{name}"', 1)
    for variable, mark in _MARKS.items():
        svg = svg.replace(mark, f"var(--{variable})")
    return svg
