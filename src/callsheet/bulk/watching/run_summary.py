"""Sum up a bulk run at its end, for a terminal. Pure (R14)."""

from rich import box
from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ...wording import dollars, duration, printable, rate, retries, seconds
from ..progress import Progress
from .outlook import mean_rate
from .panel import budget_text, invalid_rows, reused_rows, rows_text, run_state
from .series import RELATIVE_ERROR, Series

PERCENTILES = (50, 90, 99)
"""The percentiles of the latency that summary and report have."""

_KINDS = 8
_KIND_COLUMNS = 24


def summary(series: Series, progress: Progress) -> RenderableType:
    """Return the summary of a run; it fits into 80 columns.

    Args:
        series: the totals of the run.
        progress: the progress at the end of the run.
    """
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, words in _summary_lines(series, progress):
        table.add_row(name, Text(words))
    if not series.errors:
        return table
    return Group(table, _error_table(series))


def _summary_lines(series: Series, progress: Progress) -> list[tuple[str, str]]:
    passed = progress.now - progress.started_at
    lines = [(run_state(progress, is_over=True), f"{rows_text(progress)} in {duration(passed)}")]
    parts = [f"{series.answered:,} response{'s' if series.answered != 1 else ''}"]
    parts += [reused] if (reused := reused_rows(progress, is_over=True)) else []
    parts += [f"{progress.failed:,} failed"] if progress.failed else []
    parts += [invalid_rows(progress)] if progress.bad else []
    parts += [f"{progress.in_flight:,} cancelled"] if progress.in_flight else []
    lines.append(("rows", ", ".join(parts)))
    if progress.total is not None and progress.ended < progress.total:
        unread = progress.total - progress.read
        left = f"{progress.total - progress.ended:,} for the next run"
        lines.append(("left", f"{left}, {unread:,} of them not read" if unread > 0 else left))
    lines.append(("speed", f"{rate(mean_rate(progress))} rows/s on average"))
    if series.latency.count:
        times = (f"p{p} {seconds(series.latency.percentile(p) or 0.0)}" for p in PERCENTILES)
        slowest = seconds(series.latency.most)
        within = f"(within {100 * RELATIVE_ERROR:.0f} %)"
        lines.append(("latency", f"{', '.join(times)} {within}, slowest {slowest}"))
    requests = max(series.attempts, progress.requests)
    lines.append(("requests", ", ".join(filter(None, (f"{requests:,}", retries(series.retries))))))
    usage = progress.usage
    lines.append(("tokens", f"{usage.input_tokens:,} in, {usage.output_tokens:,} out"))
    cost = dollars(progress.cost_usd)
    if progress.unpriced:
        cost += f", and {progress.unpriced:,} responses of unknown cost"
    lines.append(("cost", cost))
    lines += _bound_lines(progress)
    if budget := budget_text(progress):
        lines.append(("budget", f"{budget} spent"))
    if (shared := progress.shared) is not None:
        again = f", {shared.again:,} rows given again" if shared.again else ""
        lines.append(("workers", f"{shared.most_workers:,} at the same time{again}"))
    if series.routes.keys() - {"live"}:
        routes = (f"{printable(name)} {count:,}" for name, count in series.routes.most_common())
        lines.append(("routes", ", ".join(routes)))
    return lines


def _bound_lines(progress: Progress) -> list[tuple[str, str]]:
    """Return the most that is not known to have been billed, of this run and earlier ones (L13)."""
    named = (
        ("unknown", progress.unknown_usd, "for responses that do not tell their cost"),
        ("maybe", progress.maybe_usd, "for requests that may have been billed"),
    )
    return [(name, f"at most {dollars(usd)} {why}") for name, usd, why in named if usd]


def _error_table(series: Series) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 2, 0, 0),
        pad_edge=False,
        header_style="bold",
        expand=True,
    )
    shown = series.errors.most_common(_KINDS)
    kinds = min(_KIND_COLUMNS, max(cell_len(printable(kind)) for kind, _ in shown))
    table.add_column("error", overflow="ellipsis", no_wrap=True, width=max(kinds, len("others")))
    table.add_column(
        "rows", justify="right", no_wrap=True, min_width=max(4, len(f"{shown[0][1]:,}"))
    )
    table.add_column("example", overflow="fold", ratio=1)  # its end may be the remedy
    for kind, count in shown:
        example = Text(printable(series.examples.get(kind, "")))
        table.add_row(Text(printable(kind)), f"{count:,}", example)
    if rest := sum(count for _, count in series.errors.most_common()[_KINDS:]):
        table.add_row("others", f"{rest:,}", "")
    return table
