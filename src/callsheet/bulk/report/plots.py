"""The plots of a run.

No text that others wrote is in them: the page has it beside them, where it is escaped.
"""

# Matplotlib leaves its keyword arguments untyped.
# pyright: reportUnknownMemberType=false

import math
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

import attrs

from ..watching.series import Series
from ..watching.strip import Strip
from .picture import MOST_KINDS, color_of, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Plot", "draw_plots"]

_POINTS = 120  # along a time axis
_BINS = 48
_MINUTES_FROM_S, _HOURS_FROM_S = 180.0, 3 * 3600.0
_IN_SIGHT = 2.5  # a limit that is so many times as high as the plot would make it flat


@attrs.frozen
class Plot:
    """A picture.

    Args:
        title: what it shows.
        legend: what its colours mean: variables of the page's style, and words.
        svg: the picture.
        is_wide: it is as wide as two others.
    """

    title: str
    legend: tuple[tuple[str, str], ...]
    svg: str
    is_wide: bool = False


def draw_plots(series: Series) -> Iterator[Plot]:
    """Draw what there is to see of a run.

    Raises:
        ImportError: Matplotlib is not installed; see `picture.has_matplotlib`.
    """
    strip = series.strip.coarser(_POINTS)
    if series.answered or series.failed:
        rows = [bucket.rows for bucket in strip]
        yield _rates(strip, "rows", rows, "requests", [b.request_limit for b in strip])
    limits = [bucket.token_limit for bucket in strip]
    if series.usage.total_tokens and any(limit is not None for limit in limits):
        yield _rates(strip, "tokens", [bucket.tokens for bucket in strip], "tokens", limits)
    if series.latency.count:
        yield _latency(series)
    if series.cost_usd:
        yield _cost(strip)
    if series.errors:
        yield _errors(strip, [kind for kind, _ in series.errors.most_common(MOST_KINDS)])


def _rates(
    strip: Strip,
    what: str,
    counts: Sequence[int],
    limited: str,
    sampled: Sequence[float | None],
) -> Plot:
    """So many a second over time, and the limit of them, in each bucket."""
    rates = strip.rates(counts)
    limits = _carried_on(sampled)
    known = [value for value in limits if not math.isnan(value)]
    legend = [("ours", what)]
    top = max(rates)
    is_seen = bool(known) and min(known) <= _IN_SIGHT * top
    if is_seen:
        legend.append(("bound", f"limit of {limited}"))
        top = max(top, min(max(known), _IN_SIGHT * top))
    elif known:
        legend.append(("bound", f"limit of {limited}: {min(known):,.0f} a second, out of sight"))

    def draw(axes: "Axes") -> None:
        edges, _ = _time_axis(axes, strip)
        axes.stairs(rates, edges, fill=True, color=color_of("ours"), alpha=0.25)
        axes.stairs(rates, edges, color=color_of("ours"), linewidth=1.4, baseline=None)
        if is_seen:
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
    is_wide = what == "rows"
    return Plot(title, tuple(legend), svg(draw, title, is_wide=is_wide), is_wide)


def _carried_on(sampled: Sequence[float | None]) -> list[float]:
    """Where nobody looked, a limit is what it was before; not a number before it was known."""
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
        "Latency of answers", (("ours", "answers"),), svg(draw, "Latency of answers", is_count=True)
    )


def _cost(strip: Strip) -> Plot:
    spent = [0.0, *accumulate(float(bucket.cost_usd) for bucket in strip)]

    def draw(axes: "Axes") -> None:
        edges, _ = _time_axis(axes, strip)
        axes.fill_between(edges, spent, color=color_of("ours"), alpha=0.18, linewidth=0)
        axes.plot(edges, spent, color=color_of("ours"), linewidth=1.6)
        axes.set_ylim(0, spent[-1] * 1.12)

    return Plot("Cost so far, USD", (), svg(draw, "Cost"))


def _errors(strip: Strip, kinds: Sequence[str]) -> Plot:
    shown = frozenset(kinds)
    counts = [[bucket.errors[kind] for bucket in strip] for kind in kinds]
    others = [sum(n for kind, n in b.errors.items() if kind not in shown) for b in strip]
    legend = [(f"kind{number}", kind) for number, kind in enumerate(kinds)]
    if any(others):
        counts.append(others)
        legend.append((f"kind{MOST_KINDS}", "others"))

    def draw(axes: "Axes") -> None:
        edges, step = _time_axis(axes, strip)
        below = [0] * len(strip)
        for (name, _), values in zip(legend, counts, strict=True):
            axes.bar(edges[:-1], values, step, below, align="edge", color=color_of(name))
            below = [low + value for low, value in zip(below, values, strict=True)]
        axes.set_ylim(0, max(below) * 1.12)

    title = f"Errors, in each {strip.width_s:,.3g} s"
    return Plot(title, tuple(legend), svg(draw, "Errors", is_count=True))


def _time_axis(axes: "Axes", strip: Strip) -> tuple[list[float], float]:
    """Where the buckets begin and end, in the unit of the axis, and the width of one."""
    whole_s = strip.width_s * len(strip)
    unit, name = 1.0, "seconds"
    if whole_s >= _HOURS_FROM_S:
        unit, name = 3600.0, "hours"
    elif whole_s >= _MINUTES_FROM_S:
        unit, name = 60.0, "minutes"
    step = strip.width_s / unit
    axes.set_xlabel(f"{name} since the start")
    axes.set_xlim(0, whole_s / unit)
    return [n * step for n in range(len(strip) + 1)], step


def _plain_log_ticks(axes: "Axes", low: float, high: float) -> None:
    """Ticks at 1, 2 and 5 of each power of ten; only at 1 where there would be too many."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if len(powers) <= 4 else (1,)  # noqa: PLR2004 - more would overlap
    ticks = [step * 10.0**power for power in powers for step in steps]
    ticks = [tick for tick in ticks if low <= tick <= high]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
