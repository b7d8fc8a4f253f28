"""What is left to say when `callsheet run` is over."""

import sqlite3
from pathlib import Path

import click

from ..actors import lines_in
from ..bulk.progress import Progress
from ..bulk.report import summary
from ..bulk.report.meta import ReportMeta
from ..bulk.report.page import write_report
from ..bulk.settings import Paths
from ..wording import printable
from .bulk_job import BulkJob

__all__ = ["report", "rows_in_batches"]

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
    except sqlite3.Error:
        return 0


def _rows(count: int) -> str:
    return f"{count:,} row" if count == 1 else f"{count:,} rows"


def _say(text: str) -> None:
    click.echo(printable(text), err=True)
