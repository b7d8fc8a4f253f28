"""One run of `callsheet run`: provider, signals and watchers around the rows."""

import contextlib
import signal
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import attrs
import click
import trio
from rich.console import Console
from rich.text import Text

from ...actors import Endpoint, Limits, StorageError, TroupeSettings, log_call
from ...bulk import bulk
from ...bulk.engine.run import BulkRun
from ...bulk.errors import BulkRefused, BulkStopped, RunEnding
from ...bulk.progress import Progress
from ...bulk.row import BadRow, Row
from ...bulk.settings import BulkSettings
from ...bulk.watching.event_log import EventLog
from ...bulk.watching.series import Series
from ...bulk.watching.watch import open_watch
from ...endpoints import EndpointChoice, open_endpoint
from ...runtime import RestartIntensityExceeded, open_collapsing_nursery

__all__ = [
    "BulkJob",
    "run_job",
]


_BUILT_IN = "the built-in provider"
_PAUSE: int | None = getattr(signal, "SIGUSR1", None)  # not on Windows
_REREAD: int | None = getattr(signal, "SIGHUP", None)


@attrs.define
class BulkJob:
    """What one command is to do, and how far it has come.

    Args:
        source: where the rows come from.
        rows: of the input.
        output: where the answers go.
        choice: the provider.
        settings: of the run.
        troupe: makes the settings of whom to ask.
        reread: the limits as they are in their file now.
        has_limits_file: whether there is one.
        events: a file for what becomes of each row; None for none.
        page: a file for a page about the run; None for none.
        is_verbose: log every call.
        console: where the display goes.
        series: what is kept of it for the report.
        run: it, once it has begun.
        progress: how it stood at the end.
        ending: why it has ended before its input.
        is_complete: every row has ended.
        interrupted: a signal has stopped it.
        crash: what no supervisor could handle.
        refused: why nothing was begun.
        provider: who answers, for people.
        ended_at: when that was.
    """

    source: str
    rows: Iterator[Row | BadRow]
    output: Path
    choice: EndpointChoice
    settings: BulkSettings
    troupe: Callable[[Endpoint], TroupeSettings]
    reread: Callable[[], Limits]
    has_limits_file: bool
    events: Path | None
    page: Path | None
    is_verbose: bool
    console: Console
    series: Series = attrs.field(factory=lambda: Series(0.0))
    run: BulkRun | None = None
    progress: Progress | None = None
    ending: RunEnding | None = None
    is_complete: bool = False
    interrupted: bool = False
    crash: str | None = None
    refused: str | None = None
    provider: str = ""
    ended_at: datetime = attrs.field(factory=lambda: datetime.now(UTC))


async def run_job(job: BulkJob) -> None:
    """Answer every row, or as many as there is time, money and room for."""
    with trio.CancelScope() as scope:
        try:
            await _with_provider(job, scope)
        except BulkRefused as error:
            job.refused = str(error)
        except RestartIntensityExceeded as error:
            job.crash = str(error)
        except StorageError as error:
            job.refused = str(error)
    job.ended_at = datetime.now(UTC)
    if (run := job.run) is not None:
        job.progress, job.ending, job.is_complete = run.progress(), run.ending, run.is_complete


async def _with_provider(job: BulkJob, scope: trio.CancelScope) -> None:
    async with open_endpoint(job.choice) as endpoint:
        click.echo(job.choice.describe(endpoint), err=True)
        job.provider = f"{endpoint.vendor.title} at {endpoint.host}"
        troupe = job.troupe(endpoint)
        if job.is_verbose:
            troupe = attrs.evolve(troupe, observer=log_call)
        name = _BUILT_IN if job.choice.endpoint is None else None
        job.series = series = Series(trio.current_time())
        with _event_log(job) as log:
            logs = [] if log is None else [log]
            async with bulk(
                job.rows,
                job.output,
                troupe,
                job.settings,
                provider=name,
                observers=[series.observe, *(one.observe for one in logs)],
            ) as run:
                job.run = run
                watch = open_watch(
                    run.progress,
                    job.console,
                    observers=[series.sample, *(one.sample for one in logs)],
                )
                # What ends it before the input does is told of at the end.
                with contextlib.suppress(BulkStopped):
                    async with _steered(job, run, scope), watch:
                        await run.wait()


@contextlib.contextmanager
def _event_log(job: BulkJob) -> Generator[EventLog | None]:
    if job.events is None:
        yield None
        return
    try:
        log = EventLog(job.events, tell=lambda text: _say(job, text))
    except OSError as error:
        why = f"--events: cannot write {job.events}: {error.strerror}"
        raise BulkRefused(why, "name another file") from None
    with log:
        yield log


@contextlib.asynccontextmanager
async def _steered(job: BulkJob, run: BulkRun, scope: trio.CancelScope) -> AsyncGenerator[None]:
    """Heed signals for as long as the block runs."""
    # Without limits to read again, the terminal that is gone ends it as gently as a Ctrl-C.
    ends = {signal.SIGINT, signal.SIGTERM}
    others = {_PAUSE, _REREAD} - {None}
    async with open_collapsing_nursery() as nursery:
        await nursery.start(_heed, job, run, scope, {*ends, *others})
        yield
        nursery.cancel_scope.cancel()


async def _heed(
    job: BulkJob,
    run: BulkRun,
    scope: trio.CancelScope,
    heeded: set[int],
    task_status: trio.TaskStatus[None],
) -> None:
    with trio.open_signal_receiver(*heeded) as signals:
        task_status.started()
        async for one in signals:
            if one == _PAUSE:
                _toggle(job, run)
            elif one == _REREAD and job.has_limits_file:
                await _change_limits(job, run)
            elif job.interrupted:
                scope.cancel()
            else:
                job.interrupted = True
                waiting = run.drain()
                wait = f"Waiting for {waiting} that were sent; Ctrl-C again does not."
                _say(job, wait if waiting else "Stopping; nothing is under way.")


def _toggle(job: BulkJob, run: BulkRun) -> None:
    if run.is_paused:
        run.resume()
        _say(job, "Going on.")
    else:
        run.pause()
        _say(job, "Paused; SIGUSR1 goes on.")


async def _change_limits(job: BulkJob, run: BulkRun) -> None:
    try:
        limits = job.reread()
    except click.UsageError as error:
        _say(job, f"The limits stay as they were: {error.message}")
        return
    await run.change_limits(limits)
    _say(job, "The limits were read again.")


def _say(job: BulkJob, text: str) -> None:
    """Print a line above the display, which would overwrite what goes past the console."""
    job.console.print(Text(text), soft_wrap=True)
