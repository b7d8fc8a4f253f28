"""What is left to say when `callsheet run` is over.

What `callsheet run --dry-run` prints.
"""

from pathlib import Path

import click
from rich import box
from rich.console import Console
from rich.table import Table

from ...actors import Limits, StorageError, lines_in
from ...bulk.forecast import Forecast
from ...bulk.progress import Progress
from ...bulk.report import summary
from ...bulk.report.meta import ReportMeta
from ...bulk.report.page import write_report
from ...bulk.settings import BulkSettings, Paths
from ...wording import dollars, printable, seconds
from .job import BulkJob

__all__ = [
    "print_forecast",
    "report",
    "rows_in_batches",
]


_INTERRUPTED = 130  # 128 + SIGINT, as shells have it
_REFUSED = 2


def report(job: BulkJob) -> int:
    """Say how it went.

    Returns:
        The exit status: 0, 1 if any row has no answer, 2 if nothing was begun, 130 if the run was
        interrupted.
    """
    if job.refused is not None:
        _say(f"Error: {job.refused}")
        return _REFUSED
    now = job.progress
    has_page = True
    if now is not None:
        job.console.print(summary(job.series, now))
        for line in _remarks(job, now):
            _say(line)
        has_page = _wrote_page(job, now)
    if job.crash is not None:
        _say(f"Error: {job.crash}. This is a bug; --verbose shows where.")
    if job.interrupted and not job.is_complete:
        _say("Interrupted: the same command goes on from there.")
        return _INTERRUPTED
    if job.ending is not None:
        _say(f"Error: {job.ending}")
        if _nothing_was_paid(job):
            return _REFUSED
    is_whole = job.is_complete and now is not None and not now.failed and not now.bad
    return 0 if is_whole and has_page and job.crash is None else 1


def _nothing_was_paid(job: BulkJob) -> bool:
    """Whether the money was not enough, or could not be counted, from the first row on."""
    now, ending = job.progress, job.ending
    is_unpaid = ending is not None and ending.kind == "unpaid"
    return is_unpaid and now is not None and now.answered == now.reused and not now.failed


def _wrote_page(job: BulkJob, now: Progress) -> bool:
    """Write the page about the run, if it is wanted; whether nothing went wrong with that."""
    if job.page is None:
        return True
    settings = {
        "ended": f"{job.ended_at:%Y-%m-%d %H:%M} UTC",
        "provider": job.provider,
        "input": job.source,
        "output": str(job.output),
        "route": job.settings.route,
        "order": "of the input" if job.settings.ordered else "as they came",
    }
    if job.ending is not None:
        settings["why it ended"] = str(job.ending)
    try:
        write_report(
            job.page, job.series, now, ReportMeta(title=Path(job.source).name, settings=settings)
        )
    except OSError as error:
        _say(f"Error: --report: cannot write {job.page}: {error.strerror}")
        return False
    return True


def _remarks(job: BulkJob, now: Progress) -> list[str]:
    """Where to look, and what cannot be known."""
    lines: list[str] = []
    if now.failed or now.bad:
        where = Paths(job.output).errors
        lines.append(f"{_rows(now.failed + now.bad)} without an answer: see {where}.")
    if not job.is_complete and (count := rows_in_batches(job.output)):
        lines.append(
            f"{_rows(count)} in batches at the provider, which will be billed: the same command "
            "has their answers."
        )
    if now.maybe_billed:
        lost = 0 if job.run is None else job.run.lost_before
        before = f", {lost:,} of them in earlier runs" if lost else ""
        lines.append(
            f"Up to {now.maybe_billed:,} calls may have been billed without an answer{before}."
        )
    return lines


def rows_in_batches(output: Path) -> int:
    """How many rows the journal of a run has; 0 if that cannot be known now."""
    try:
        return lines_in(Paths(output).batches)
    except StorageError:
        return 0


def _rows(count: int) -> str:
    return f"{count:,} row" if count == 1 else f"{count:,} rows"


def _say(text: str) -> None:
    click.echo(printable(text), err=True)


_BATCH_FROM_S = 3600.0


def print_forecast(
    found: Forecast, limits: Limits, settings: BulkSettings, in_batches: int
) -> None:
    """Print what a run would take.

    Args:
        found: it.
        limits: how fast calls would go.
        settings: of the run.
        in_batches: rows that are in batches at the provider.
    """
    console = Console(highlight=False)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("model")
    for name in ("rows", "input tokens", "output tokens", "live", "by batches"):
        table.add_column(name, justify="right")
    for name, model in sorted(found.models.items()):
        table.add_row(
            printable(name),
            f"{model.rows:,}",
            f"{model.usage.input_tokens:,}",
            f"{model.usage.output_tokens:,}",
            dollars(model.live_usd),
            dollars(model.batch_usd),
        )
    if found.models:
        console.print(table)
    if in_batches:
        console.print(f"In batches at the provider already: {in_batches:,} of the rows.")
    for line in _words(found, limits, settings):
        console.print(line, markup=False, soft_wrap=True)


def _words(found: Forecast, limits: Limits, settings: BulkSettings) -> list[str]:
    fate = f"{found.answered:,} have an answer and {found.bad:,} cannot be read"
    lines = [
        f"Rows: {found.read:,}, of which {found.to_ask:,} would be asked for, {fate}.",
        f"Duplicates: {found.doubles:,} rows ask for what another one asks for.",
    ]
    if found.first_bad is not None:
        reason = printable(found.first_bad.reason)
        lines.append(f"The first that cannot be read is row {found.first_bad.number}: {reason}")
    least_s = found.least_s(limits)
    lines.append(
        "Time: no limit is set; as fast as the provider answers."
        if least_s is None
        else f"Time: at least {seconds(least_s)}, by the limits that are set."
    )
    if settings.deadline_s is not None and least_s is not None and least_s > settings.deadline_s:
        lines.append(f"--deadline {settings.deadline_s:g} would end it before its last row.")
    lines += _cost(found, settings)
    lines.append(f"Route: {_route(settings)}")
    lines.append("Tokens are estimates, and so is what they cost. Nothing was asked for.")
    return lines


def _cost(found: Forecast, settings: BulkSettings) -> list[str]:
    usd, most = found.usd(settings.route), settings.max_cost
    if found.unpriced:
        names = ", ".join(map(printable, found.unpriced))
        lines = [f"Cost: unknown, because no price is known for {names}; give it (--prices)."]
        refused = f"With --max-cost {most} nothing of unknown price would be asked for."
        return lines if most is None else [*lines, refused]
    before = f", and {dollars(found.spent_usd)} is spent" if found.spent_usd else ""
    lines = [f"Cost: about {dollars(usd)}{before}."]
    if most is not None and usd is not None and found.spent_usd + usd > most:
        lines.append(f"--max-cost {most} would end it before its last row.")
    return lines


def _route(settings: BulkSettings) -> str:
    if settings.route != "auto":
        return f"{settings.route}, as it was said."
    if settings.deadline_s is None or settings.deadline_s < _BATCH_FROM_S:
        return "live; with --deadline of an hour or more, what is cheapest in that time."
    return "what is cheapest within the deadline, the Batch API where there is one."
