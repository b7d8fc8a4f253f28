"""Run `callsheet run`: open the provider, handle signals, and display the progress."""

import contextlib
import signal
from collections.abc import Callable, Generator, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path

import attrs
import click
import trio
from rich.console import Console
from rich.text import Text

from ...actors import (
    CallEvent,
    CallStage,
    Endpoint,
    InspectionUnavailable,
    Limits,
    Observer,
    StageObserver,
    StorageError,
    TroupeSettings,
    UnwrittenCosts,
    log_call,
    write_remedy,
)
from ...bulk import bulk
from ...bulk.engine.run import BulkRun
from ...bulk.errors import BulkRefused, BulkStopped, RunEnding
from ...bulk.progress import Progress
from ...bulk.reading.settings import ReadSettings
from ...bulk.row import BadRow, Row
from ...bulk.settings import BulkSettings
from ...bulk.shared.local_workers import NoServer
from ...bulk.spending import BudgetRoom
from ...bulk.watching.event_log import EventLog
from ...bulk.watching.panel import held_by_budget
from ...bulk.watching.series import Series
from ...bulk.watching.watch import open_watch
from ...collecting import rare_collections
from ...costs.report import ledger_words
from ...endpoints import EndpointChoice, open_endpoint
from ...runtime import RestartIntensityExceeded
from ...wording import dollars, printable
from ..signals import STOP_SIGNALS, open_signals
from .options import cannot_serve, check_metrics_address
from .sharing import open_local_sharing, open_workers

BUILT_IN = "the built-in provider"
"""The stable name of the built-in provider."""

_MOST_MISFITS = 5  # reasons
_PAUSE: int | None = getattr(signal, "SIGUSR1", None)  # not on Windows
_REREAD: int | None = getattr(signal, "SIGHUP", None)


@attrs.define
class BulkJob:
    """The options of one run, and its state.

    Args:
        source: the path of the input; "-" for standard input.
        rows: the rows of the input.
        output: the file for the responses.
        reading: the settings that the rows were read with.
        choice: the provider that the options and the environment name.
        settings: the settings of the run.
        troupe: makes the settings of the troupe for an endpoint.
        reread: reads the limits again.
        has_limits_file: whether the limits come from a file.
        events: the file for the outcome of each row; None for none.
        page: the file for a page about the run; None for none.
        is_verbose: whether every call is logged.
        console: where the display is drawn.
        unwritten: gets what could not be written to the ledger.
        workers: how many processes of this machine send rows, this one included.
        series: the sums and samples for the report.
        run: the run, once it has started.
        progress: the progress at the end.
        ending: the reason why the run ended before its input; None if it did not.
        is_complete: whether every row has an outcome.
        interrupted: whether a signal stopped the run.
        crash: the error that no supervisor handled.
        refused: the reason why the run did not start.
        problems: what else failed, such as the report.
        provider: the name and the host of the provider, for the report.
        ended_at: the time at which the run ended.
    """

    source: str
    rows: Iterator[Row | BadRow]
    output: Path
    reading: ReadSettings
    choice: EndpointChoice
    settings: BulkSettings
    troupe: Callable[[Endpoint], TroupeSettings]
    reread: Callable[[], Limits]
    has_limits_file: bool
    events: Path | None
    page: Path | None
    is_verbose: bool
    console: Console
    unwritten: list[UnwrittenCosts]
    workers: int = 1
    series: Series = attrs.field(factory=lambda: Series(0.0))
    run: BulkRun | None = None
    progress: Progress | None = None
    ending: RunEnding | None = None
    is_complete: bool = False
    interrupted: bool = False
    crash: str | None = None
    refused: str | None = None
    problems: list[str] = attrs.field(factory=list[str])
    provider: str = ""
    ended_at: datetime = attrs.field(factory=lambda: datetime.now(UTC))


async def run_job(job: BulkJob) -> None:
    """Run until every row has an outcome, or time, money or disk space runs out."""
    refusals: tuple[type[Exception], ...] = (InspectionUnavailable, NoServer, *cannot_serve())
    with rare_collections(), trio.CancelScope() as scope:
        try:
            await _with_provider(job, scope)
        except BulkRefused as error:
            job.refused = str(error)
        except RestartIntensityExceeded as error:
            job.crash = str(error)
        except StorageError as error:  # of the ledger: the run reports its own files itself
            job.refused = ledger_words(error)
        except refusals as error:
            job.refused = str(error)
    job.ended_at = datetime.now(UTC)
    if (run := job.run) is not None:
        job.progress, job.ending, job.is_complete = run.progress(), run.ending, run.is_complete


async def _with_provider(job: BulkJob, scope: trio.CancelScope) -> None:
    await check_metrics_address()
    async with open_endpoint(job.choice) as endpoint:
        click.echo(job.choice.describe(endpoint), err=True)
        job.provider = f"{endpoint.vendor.title} at {endpoint.host}"
        troupe = job.troupe(endpoint)
        if job.is_verbose:
            troupe = attrs.evolve(troupe, observer=log_call)
        troupe = attrs.evolve(troupe, observer=(_reroutes_told(job), troupe.observer))
        name = BUILT_IN if job.choice.endpoint is None else None
        job.series = series = Series(trio.current_time())
        with _event_log(job) as log:
            logs = [] if log is None else [log]
            async with (
                open_local_sharing(job.settings, job.workers) as (settings, url),
                bulk(
                    job.rows,
                    job.output,
                    troupe,
                    settings,
                    provider=name,
                    reading=job.reading,
                    observers=[series.observe, *(one.observe for one in logs)],
                ) as run,
                open_workers(run, url, job.workers, partial(_print, job)),
            ):
                job.run = run
                if run.remark:
                    _print(job, run.remark)
                watch = open_watch(
                    run.progress,
                    job.console,
                    observers=[
                        series.sample,
                        _misfits_told(job),
                        _budget_told(job),
                        *(one.sample for one in logs),
                    ],
                )
                # The report states why the run ended early.
                with contextlib.suppress(BulkStopped):
                    async with _signals_handled(job, run, scope), watch:
                        await run.wait()


def _reroutes_told(job: BulkJob) -> Observer:
    """Return an observer that prints why a row is sent live, for the first such row."""
    is_told = False

    def observe(event: CallEvent) -> None:
        nonlocal is_told
        if not is_told:
            is_told = True
            _print(job, printable(f"Sent live, and not in a batch: {event.error}."))

    return StageObserver(observe, frozenset[CallStage]({"rerouted"}))


def _misfits_told(job: BulkJob) -> Callable[[Progress], None]:
    """Return an observer that prints why rows cannot be in a pack, each reason once."""
    told: set[str] = set()

    def sample(_: Progress) -> None:
        for reason in () if job.run is None else tuple(job.run.misfits):
            if reason not in told and len(told) < _MOST_MISFITS:
                told.add(reason)
                _print(job, f"Rows are sent alone, and not in packs: {reason}.")

    return sample


def _budget_told(job: BulkJob) -> Callable[[Progress], None]:
    """Return an observer that prints what holds --max-cost, and how few calls it allows, once."""
    is_open_told = is_room_told = False

    def sample(progress: Progress) -> None:
        nonlocal is_open_told, is_room_told
        open_usd = progress.unknown_usd + progress.maybe_usd
        if not is_open_told and progress.budget_usd is not None and open_usd:
            _print(job, _open_words(progress, progress.budget_usd, open_usd))
        is_open_told = True  # what this run adds is in the display
        room = held_by_budget(progress)
        if not is_room_told and room is not None:
            is_room_told = True
            _print(job, _room_words(room))

    return sample


def _open_words(progress: Progress, budget_usd: Decimal, open_usd: Decimal) -> str:
    calls = f"{progress.maybe_billed:,} calls that may have been billed without a response"
    what = calls if progress.maybe_billed else "responses that told no cost"
    return (
        f"Of --max-cost {dollars(budget_usd)}, {dollars(open_usd)} count for {what}, each at the "
        "most that it can have cost."
    )


def _room_words(room: BudgetRoom) -> str:
    calls = "1 call" if room.calls == 1 else f"{room.calls:,} calls"
    words = f"--max-cost allows {calls} in flight: each may cost up to {dollars(room.call_usd)}"
    if room.max_tokens is None:
        return f"{words}."
    return f"{words}; --max-tokens {room.max_tokens:,} would allow {room.calls_then:,}."


@contextlib.contextmanager
def _event_log(job: BulkJob) -> Generator[EventLog | None]:
    if job.events is None:
        yield None
        return
    was_there = job.events.exists()
    try:
        log = EventLog(job.events, on_error=partial(_note_problem, job))
    except OSError as error:
        why = f"--events: cannot write {job.events}: {error.strerror}"
        raise BulkRefused(why, write_remedy(error) or "choose another file") from None
    try:
        with log:
            yield log
    except BaseException:
        if not was_there and job.run is None and not job.events.stat().st_size:
            job.events.unlink()  # a run that was refused leaves no file
        raise


def _signals_handled(
    job: BulkJob, run: BulkRun, scope: trio.CancelScope
) -> contextlib.AbstractAsyncContextManager[None]:
    """Handle signals until the block ends."""
    # Without a limits file, SIGHUP means that the terminal is gone; it drains as Ctrl-C does.
    rereads = set[int]() if _REREAD is None or not job.has_limits_file else {_REREAD}
    hangs_up = set[int]() if _REREAD is None else {_REREAD} - rereads

    def stop() -> None:
        if job.interrupted:
            scope.cancel()
        else:
            job.interrupted = True
            _print(job, _drain_notice(run.drain()))

    async def pause_or_reread(number: int) -> None:
        if number in rereads:
            await _change_limits(job, run)
        else:
            _toggle(job, run)

    return open_signals(
        stop,
        stops={*STOP_SIGNALS, *hangs_up},
        others=rereads if _PAUSE is None else {*rereads, _PAUSE},
        on_other=pause_or_reread,
    )


def _drain_notice(in_flight: int) -> str:
    if not in_flight:
        return "Stopping. No call is in flight."
    calls = "1 call" if in_flight == 1 else f"{in_flight:,} calls"
    return f"Waiting for {calls} in flight. Press Ctrl-C again to stop now."


def _toggle(job: BulkJob, run: BulkRun) -> None:
    if run.is_paused:
        run.resume()
        _print(job, "Resumed.")
    else:
        run.pause()
        _print(job, "Paused. Send SIGUSR1 again to resume.")


async def _change_limits(job: BulkJob, run: BulkRun) -> None:
    try:
        await run.change_limits(job.reread())
    except click.UsageError as error:
        _print(job, f"The limits are unchanged: {error.message}")
        return
    except ValueError as error:  # the run is shared
        _print(job, f"The limits are unchanged: {error}")
        return
    _print(job, "The limits file was read again.")


def _note_problem(job: BulkJob, text: str) -> None:
    job.problems.append(text)
    _print(job, text)


def _print(job: BulkJob, text: str) -> None:
    """Print a line above the live display, through the console that draws it."""
    job.console.print(Text(text), soft_wrap=True)
