"""What is left to say when `callsheet run` is over."""

import click

from ..bulk import Paths, Progress
from ..wording import dollars, printable, seconds
from .bulk_job import BulkJob

__all__ = ["report"]

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
    if now is not None:
        for line in _summary(job, now):
            _say(line)
    if job.crash is not None:
        _say(f"Error: {job.crash}. This is a bug; --verbose shows where.")
    if job.interrupted and not job.is_complete:
        _say("Interrupted: the same command goes on from there.")
        return _INTERRUPTED
    if job.ending is not None:
        _say(f"Error: {job.ending}")
    is_whole = job.is_complete and now is not None and not now.failed and not now.bad
    return 0 if is_whole and job.crash is None else 1


def _summary(job: BulkJob, now: Progress) -> list[str]:
    took = now.now - now.started_at
    fresh = now.answered - now.reused
    rate = f", {fresh / took:,.1f} a second" if took > 0 and fresh else ""
    spent = f"{now.usage.total_tokens:,} tokens, {_cost(now)}"
    lines = [f"{_rows(now.answered)} answered in {seconds(took)}{rate}: {spent}."]
    if now.reused:
        lines.append(f"{now.reused:,} of them had an answer from an earlier run.")
    if now.failed or now.bad:
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in sorted(now.errors.items()))
        bad = f"{_rows(now.bad)} cannot be read" if now.bad else ""
        failed = f"{_rows(now.failed)} failed ({kinds})" if now.failed else ""
        where = Paths(job.output).errors
        lines.append(f"{' and '.join(filter(None, (failed, bad)))}: see {where}.")
    if now.maybe_billed:
        lost = 0 if job.run is None else job.run.lost_before
        before = f", {lost:,} of them in earlier runs" if lost else ""
        lines.append(
            f"Up to {now.maybe_billed:,} calls may have been billed without an answer{before}."
        )
    return lines


def _cost(now: Progress) -> str:
    fresh = now.answered - now.reused
    if now.unpriced and now.unpriced == fresh:
        return "at a price that is not known"
    more = f" and {now.unpriced:,} calls whose price is not known" if now.unpriced else ""
    return f"{dollars(now.cost_usd)}{more}"


def _rows(count: int) -> str:
    return f"{count:,} row" if count == 1 else f"{count:,} rows"


def _say(text: str) -> None:
    click.echo(printable(text), err=True)
