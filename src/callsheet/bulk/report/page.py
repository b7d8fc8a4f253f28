"""Render a finished run as one self-contained HTML page: figures, plots and tables.

Texts from rows and providers are escaped.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs
from markupsafe import Markup

from ..._version import __version__
from ...actors import how_to_install
from ...templates import PageFigure, page_template
from ...wording import amount, dollars, duration, printable, rate, retries, seconds
from ..progress import Progress
from ..watching.outlook import mean_rate
from ..watching.panel import bounds, budget_text, invalid_rows, reused_rows, run_state
from ..watching.run_summary import PERCENTILES
from ..watching.series import RELATIVE_ERROR, Series
from .plots import Plot, draw_plots, has_matplotlib

_PERIODS = 12  # rows of the table "Over time"


@attrs.frozen(kw_only=True)
class ReportMeta:
    """The title and the settings of a run.

    Args:
        title: the title of the report, such as the name of the output file.
        settings: {name: value} in display order; without keys (L8).
    """

    title: str
    settings: Mapping[str, str] = attrs.field(factory=dict[str, str])


def write_report(path: Path, series: Series, progress: Progress, meta: ReportMeta) -> None:
    """Write the page of a run. It takes about a second, most of it in Matplotlib.

    Args:
        path: the file; an existing one is overwritten.
        series: the totals of the run.
        progress: the progress at the end of the run.
        meta: the title and the settings.

    Raises:
        OSError: the file cannot be written.
    """
    # A lone surrogate from a file name cannot be encoded.
    path.write_bytes(report_page(series, progress, meta).encode(errors="replace"))


def is_report(head: bytes) -> bool:
    """Return whether a file that begins with some bytes is a page of `write_report`."""
    return head.startswith(b"<!doctype html>") and b" \xc2\xb7 Callsheet</title>" in head


def report_page(series: Series, progress: Progress, meta: ReportMeta) -> str:
    """Return the HTML page of a run; it loads no other file and runs no script.

    Without Matplotlib it has no plots, and shows how to install it.

    Args:
        series: the totals of the run.
        progress: the progress at the end of the run.
        meta: the title and the settings.
    """
    has_plots = has_matplotlib()
    return page_template("bulk.html.j2").render(
        title=printable(meta.title),
        figures=list(_figures(series, progress)),
        has_plots=has_plots,
        how_to_plot=how_to_install("plot"),
        plots=[_shown(plot) for plot in draw_plots(series)] if has_plots else [],
        percentiles=list(_percentiles(series)),
        within=f"{100 * RELATIVE_ERROR:.0f} %",
        errors=list(_errors(series)),
        slowest=[
            attrs.evolve(row, custom_id=printable(row.custom_id), route=printable(row.route))
            for row in series.slowest
        ],
        routes=[(printable(name) or "-", count) for name, count in series.routes.most_common()],
        periods=list(_periods(series)),
        settings=[(printable(name), printable(text)) for name, text in meta.settings.items()],
        seconds=seconds,
        version=__version__,
    )


@attrs.frozen
class _Shown:
    title: str
    legend: list[tuple[str, str]]
    svg: Markup
    narrow: Markup
    is_wide: bool


def _shown(plot: Plot) -> _Shown:
    legend = [(color, printable(words)) for color, words in plot.legend]
    # Matplotlib's output, which has no text of rows or providers
    picture, narrow = Markup(plot.svg), Markup(plot.narrow)  # noqa: S704
    return _Shown(plot.title, legend, picture, narrow, plot.is_wide)


def _figures(series: Series, progress: Progress) -> Iterator[PageFigure]:
    of = "" if progress.total is None else f"of {progress.total:,}, "
    yield PageFigure("Rows", f"{progress.ended:,}", f"{of}{run_state(progress, is_over=True)}")
    reused = reused_rows(progress, is_over=True)
    yield PageFigure("Responses", f"{series.answered:,}", f"and {reused}" if reused else "")
    bad = f"and {invalid_rows(progress)}" if progress.bad else ""
    yield PageFigure("Failed", f"{progress.failed:,}", bad)
    passed = progress.now - progress.started_at
    yield PageFigure("Time", duration(passed), f"{rate(mean_rate(progress))} rows/s")
    median, high = (series.latency.percentile(p) for p in (50, 99))
    if median is not None and high is not None:
        yield PageFigure("Median latency", seconds(median), f"p99 {seconds(high)}")
    requests = max(series.attempts, progress.requests)
    yield PageFigure("Requests", f"{requests:,}", retries(series.retries))
    usage = progress.usage
    tokens = f"{usage.input_tokens:,} in, {usage.output_tokens:,} out"
    yield PageFigure("Tokens", f"{usage.total_tokens:,}", tokens)
    yield PageFigure("Cost", dollars(progress.cost_usd), _cost_note(progress))


def _cost_note(progress: Progress) -> str:
    notes = [f"{progress.unpriced:,} of unknown cost"] if progress.unpriced else []
    notes += bounds(progress)
    if progress.maybe_billed:
        notes.append(f"{progress.maybe_billed:,} may have been billed without a response")
    if budget := budget_text(progress):
        notes.append(f"{budget} of the budget")
    return "; ".join(notes)


def _percentiles(series: Series) -> Iterator[tuple[str, str]]:
    latency = series.latency
    if not latency.count:
        return
    yield "fastest", seconds(latency.least)
    for percent in PERCENTILES:
        yield f"p{percent}", seconds(latency.percentile(percent) or 0.0)
    yield "slowest", seconds(latency.most)
    yield "mean", seconds(latency.total / latency.count)


def _errors(series: Series) -> Iterator[tuple[str, int, str]]:
    for kind, count in series.errors.most_common():
        yield printable(kind), count, printable(series.examples.get(kind, ""))


@attrs.frozen
class _Period:
    """A row of the table "Over time"."""

    since: str
    rows_per_s: str
    requests_per_s: str
    limit: str
    failed: int
    cost: str


def _periods(series: Series) -> Iterator[_Period]:
    buckets = series.buckets.coarser(_PERIODS)
    rows = buckets.rates([bucket.rows for bucket in buckets])
    requests = buckets.rates([bucket.attempts for bucket in buckets])
    for number, bucket in enumerate(buckets):
        limit, since = bucket.request_limit, number * buckets.width_s
        yield _Period(
            seconds(since) if buckets.width_s < 1 else duration(since),
            rate(rows[number]),
            rate(requests[number]),
            "" if limit is None else amount(limit),
            bucket.failed,
            dollars(bucket.cost_usd),
        )
